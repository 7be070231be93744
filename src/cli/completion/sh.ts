import { type CommandSyntax, flagsWithValue, LIST_SESSIONS, type OptionSyntax } from "./syntax.ts";

/** What differs between bash and zsh; the rest is shell that both understand. */

const BASH = {
  before: `# Completion of kvm-irq for bash.
_kvm_irq_words() { COMPREPLY+=($(compgen -W "$1" -- "$word")); }
_kvm_irq_files() {
  local -a files
  mapfile -t files < <(compgen -f -- "$word")
  COMPREPLY+=("\${files[@]}")
  compopt -o filenames 2>/dev/null
}
_kvm_irq() {
  local word=\${COMP_WORDS[COMP_CWORD]} option=\${COMP_WORDS[COMP_CWORD-1]} assigned=
  local -a line=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
  COMPREPLY=()
  # The = of --option=value is a word to bash.
  if [[ $word == = ]]; then word= assigned=1
  elif [[ $option == = ]]; then option=\${COMP_WORDS[COMP_CWORD-2]} assigned=1; fi`,
  after: "complete -F _kvm_irq kvm-irq",
};

const ZSH = {
  before: `#compdef kvm-irq
_kvm_irq_words() { compadd -- \${=1} }
_kvm_irq_files() { _files }
_kvm-irq() {
  local word=$words[CURRENT] option=$words[CURRENT-1] assigned=
  local -a line=("\${(@)words[2,CURRENT-1]}")
  if [[ $word == *=* ]]; then
    option=\${word%%=*} assigned=1
    compset -P 1 '*='
  fi`,
  // As a file in $fpath, it is run where its function is to be.
  after: `if [[ $funcstack[1] == _kvm-irq ]]; then _kvm-irq "$@"; else compdef _kvm-irq kvm-irq; fi`,
};

/** A completion script for bash. */
export const completeBash = scriptIn(BASH);
/** A completion script for zsh, to be sourced after compinit or put into a folder of `$fpath`. */
export const completeZsh = scriptIn(ZSH);

function scriptIn({ before, after }: typeof BASH) {
  return (program: CommandSyntax, commands: readonly CommandSyntax[]): string => {
    // The same option has other values in another command: `dump --format`, `trace --format`.
    const values = [{ ...program, name: "*" }, ...commands].flatMap(({ name, options }) =>
      options.filter(({ takesValue }) => takesValue).map((option) => valueCase(name, option)),
    );
    const names = commands.map(({ name }) => name);
    const start = { ...program, name: "''", choices: names, options: [] };
    return `${before}
  local command= value= each
  for each in "\${line[@]}"; do
    if [[ -n $value && $each != = ]]; then value=; continue; fi
    case $each in
      ${flagsWithValue(program).join("|")}) value=1 ;;
      ${names.join("|")}) command=$each; break ;;
    esac
  done
  case "$command $option" in
${values.join("\n")}
  esac
  [[ -n $assigned ]] && return
  case $command in
${[start, ...commands].map((command) => commandCase(command, program)).join("\n")}
  esac
}
${after}
`;
  };
}

/** What completes the value of an option of a command; `*` stands for any command. */
function valueCase(command: string, { flags, choices, takesFile, takesSession }: OptionSyntax): string {
  const pattern = flags.map((flag) => `${command}" ${flag}"`).join("|");
  const offer = [
    ...(takesSession ? [`_kvm_irq_words "$(${LIST_SESSIONS})"`] : []),
    ...(choices.length === 0 ? [] : [`_kvm_irq_words "${choices.join(" ")}"`]),
    ...(takesFile ? ["_kvm_irq_files"] : []),
  ];
  return `    ${pattern}) ${[...offer, "return"].join("; ")} ;;`;
}

/** What completes an argument or a flag of a command. */
function commandCase({ name, choices, takes, options }: CommandSyntax, program: CommandSyntax): string {
  const words = [...choices, ...[...options, ...program.options].flatMap(({ flags }) => flags)].join(" ");
  const sessions = takes.includes("sessions") ? ` $(${LIST_SESSIONS})` : "";
  const files = takes.includes("files") ? "; _kvm_irq_files" : "";
  return `    ${name}) _kvm_irq_words "${words}${sessions}"${files} ;;`;
}
