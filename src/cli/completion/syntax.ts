/** What a command line can have, as completion scripts need it. */
export interface CommandSyntax {
  name: string;
  summary: string;
  /** Words that its arguments can be. */
  choices: string[];
  /** Whether its arguments can be files, or the names of sessions. */
  takes: { files: boolean; sessions: boolean };
  options: OptionSyntax[];
}

export interface OptionSyntax {
  flags: string[];
  description: string;
  takesValue: boolean;
  takesFile: boolean;
  takesSession: boolean;
  choices: string[];
}

/** Prints the names of living sessions, for the shell to ask for when it needs them. */
export const LIST_SESSIONS = `kvm-irq list 2>/dev/null | awk 'NF == 0 { exit } NR > 1 { print $1 }'`;

/** The flags of the options that take a value: the word behind them is no command. */
export function flagsWithValue({ options }: CommandSyntax): string[] {
  return options.filter(({ takesValue }) => takesValue).flatMap(({ flags }) => flags);
}
