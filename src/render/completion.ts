/** What a command line can have, as completion scripts need it. */
export interface CommandSyntax {
  name: string;
  summary: string;
  /** Words that its arguments can be. */
  choices: string[];
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

/** Commands whose arguments are sessions, and those whose arguments are files. */
const TAKES_SESSIONS = new Set(["destroy"]);
const TAKES_FILES = new Set(["restore", "run", "diff"]);

/** The names of living sessions, for the shell to ask for when it needs them. */
const SESSIONS = `kvm-irq list 2>/dev/null | awk 'NF == 0 { exit } NR > 1 { print $1 }'`;

/**
 * A completion script.
 *
 * @param commands the program itself first, then its commands.
 */
export function completionScript(shell: "bash" | "zsh" | "fish", commands: readonly CommandSyntax[]): string {
  const [program, ...rest] = commands;
  if (shell === "fish") return fish(program!, rest);
  const bash = bashScript(program!, rest);
  return shell === "bash" ? bash : `#compdef kvm-irq\nautoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function bashScript(program: CommandSyntax, commands: readonly CommandSyntax[]): string {
  const flags = (options: readonly OptionSyntax[]) => options.flatMap((option) => option.flags).join(" ");
  // The same option has other values in another command: `dump --format`, `trace --format`.
  const valueCases = [{ ...program, name: "*" }, ...commands].flatMap(({ name, options }) =>
    options.filter(({ takesValue }) => takesValue).map((option) => valueCase(name, option)),
  );
  const commandCases = commands.map(({ name, options, choices }) => {
    const sessions = TAKES_SESSIONS.has(name) ? ` $(${SESSIONS})` : "";
    const files = TAKES_FILES.has(name) ? ' $(compgen -f -- "$word")' : "";
    return `    ${name}) words="${[...choices, flags(options), flags(program.options)].join(" ").trim()}${sessions}${files}" ;;`;
  });
  return `# Completion of kvm-irq for bash.
_kvm_irq() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= words= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${commands.map(({ name }) => name).join("|")}) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case "$command $previous" in
${valueCases.join("\n")}
  esac
  case $command in
    '') words="${commands.map(({ name }) => name).join(" ")} ${flags(program.options)}" ;;
${commandCases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _kvm_irq kvm-irq
`;
}

/** What completes the value of an option of a command; `*` stands for any command. */
function valueCase(command: string, option: OptionSyntax): string {
  const words = option.takesSession ? `$(${SESSIONS})` : option.choices.join(" ");
  const compgen = option.takesFile ? 'compgen -f -- "$word"' : `compgen -W "${words}" -- "$word"`;
  const patterns = option.flags.map((flag) => `${command}" ${flag}"`);
  return `    ${patterns.join("|")}) COMPREPLY=($(${compgen})); return ;;`;
}

function fish(program: CommandSyntax, commands: readonly CommandSyntax[]): string {
  const quote = (text: string) => `'${text.split("\n")[0]!.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const option = (syntax: OptionSyntax, condition: string) => {
    const parts = syntax.flags.map((flag) =>
      flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
    );
    if (syntax.takesValue) parts.push(syntax.takesFile ? "-r" : "-x");
    if (syntax.takesSession) parts.push(`-a "(${SESSIONS.replaceAll("$", "\\$")})"`);
    if (syntax.choices.length > 0) parts.push(`-a ${quote(syntax.choices.join(" "))}`);
    return `complete -c kvm-irq ${condition} ${parts.join(" ")} -d ${quote(syntax.description)}`;
  };
  const lines = ["# Completion of kvm-irq for fish.", "complete -c kvm-irq -f"];
  for (const syntax of program.options) lines.push(option(syntax, ""));
  for (const { name, summary, options, choices } of commands) {
    const inside = `-n '__fish_seen_subcommand_from ${name}'`;
    lines.push(`complete -c kvm-irq -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`);
    for (const syntax of options) lines.push(option(syntax, inside));
    if (choices.length > 0) lines.push(`complete -c kvm-irq ${inside} -a ${quote(choices.join(" "))}`);
    if (TAKES_SESSIONS.has(name)) {
      lines.push(`complete -c kvm-irq ${inside} -a "(${SESSIONS.replaceAll("$", "\\$")})"`);
    }
    if (TAKES_FILES.has(name)) lines.push(`complete -c kvm-irq ${inside} -F`);
  }
  return `${lines.join("\n")}\n`;
}
