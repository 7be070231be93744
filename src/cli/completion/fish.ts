import { type CommandSyntax, flagsWithValue, LIST_SESSIONS, type OptionSyntax } from "./syntax.ts";

/** A completion script for fish. */
export function completeFish(program: CommandSyntax, commands: readonly CommandSyntax[]): string {
  return [
    `# Completion of kvm-irq for fish.
function __kvm_irq_command
    set -l value
    for word in (commandline -opc)
        if set -q value[1]
            set -e value[1]
        else if contains -- $word ${flagsWithValue(program).join(" ")}
            set value 1
        else if contains -- $word ${commands.map(({ name }) => name).join(" ")}
            echo $word
            return
        end
    end
    return 1
end
function __kvm_irq_in
    contains -- $argv[1] (__kvm_irq_command)
end
complete -c kvm-irq -f`,
    ...program.options.map((option) => optionLine("", option)),
    ...commands.flatMap(commandLines),
    "",
  ].join("\n");
}

function commandLines({ name, summary, choices, takes, options }: CommandSyntax): string[] {
  const inside = `-n '__kvm_irq_in ${name}'`;
  return [
    `complete -c kvm-irq -n 'not __kvm_irq_command' -a ${name} -d ${quote(summary)}`,
    ...options.map((option) => optionLine(` ${inside}`, option)),
    ...(choices.length === 0 ? [] : [`complete -c kvm-irq ${inside} -a ${quote(choices.join(" "))}`]),
    ...(takes.includes("sessions") ? [`complete -c kvm-irq ${inside} -a ${SESSIONS}`] : []),
    ...(takes.includes("files") ? [`complete -c kvm-irq ${inside} -F`] : []),
  ];
}

function optionLine(condition: string, option: OptionSyntax): string {
  const { flags, description, choices, takesFile, takesSession, takesValue } = option;
  const parts = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  if (takesValue) parts.push(takesFile ? "-r -F" : "-x");
  if (takesSession) parts.push(`-a ${SESSIONS}`);
  if (choices.length > 0) parts.push(`-a ${quote(choices.join(" "))}`);
  return `complete -c kvm-irq${condition} ${parts.join(" ")} -d ${quote(description)}`;
}

/** The first line of a text, as fish takes it literally. */
function quote(text: string): string {
  return `'${text.split("\n")[0]!.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

const SESSIONS = quote(`(${LIST_SESSIONS})`);
