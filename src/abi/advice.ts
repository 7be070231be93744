/** A command of this program that advice names: its words, without the options that name a VM. */
export interface AdvisedCommand {
  readonly words: readonly string[];
  /** `read` can look at a file as well, `living` needs the VM itself, and `change` changes it. */
  readonly needs: "read" | "living" | "change";
}

/** What a person is advised to do: text, with the commands in it kept apart until it is printed. */
export type Advice = string | readonly (string | AdvisedCommand)[];

/** The VM that advice is about, as a command line names it. */
export interface VmAddress {
  /** Such as `["-s", "ci"]`, or none for the default session. Absent where no command line can name it. */
  options?: readonly string[];
  /** Whether a change needs `--yes`. */
  confirm?: boolean;
  /** Whether it is a file. */
  readOnly?: boolean;
}

/** A command that looks at a VM, or at a file of one. */
export const reading = (...words: string[]): AdvisedCommand => ({ words, needs: "read" });
/** A command that looks at a living VM. */
export const looking = (...words: string[]): AdvisedCommand => ({ words, needs: "living" });
/** A command that changes a VM. */
export const changing = (...words: string[]): AdvisedCommand => ({ words, needs: "change" });

/** Advice as a template: what is filled in are commands and text. */
export function advice(texts: TemplateStringsArray, ...values: (string | AdvisedCommand)[]): Advice {
  return texts.flatMap((text, n) => [text, ...values.slice(n, n + 1)]);
}

/**
 * Advice as text. This is the one place where a command gets the options that name its VM: pasted into a
 * shell, it acts on the VM that the advice is about.
 *
 * @param address without options, commands are given as lines of a script.
 */
export function spell(advised: Advice, address: VmAddress = {}): string {
  if (typeof advised === "string") return advised;
  return advised.map((part) => (typeof part === "string" ? part : spellCommand(part, address))).join("");
}

function spellCommand({ words, needs }: AdvisedCommand, address: VmAddress): string {
  const { options, confirm, readOnly } = address;
  const line = words.map(shellWord).join(" ");
  if (readOnly && needs !== "read") {
    return `\`${line}\` on the VM itself${needs === "change" ? " (a snapshot can't be changed)" : ""}`;
  }
  if (options === undefined) return `\`${line}\``;
  const yes = confirm && needs === "change" ? ["--yes"] : [];
  return `\`${["kvm-irq", ...[...options, ...yes].map(shellWord), line].join(" ")}\``;
}

/** A word as a POSIX shell takes it: quoted where it would mean something else. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
