import { type Advice, spell, type VmAddress } from "./advice.ts";

/**
 * What can go wrong, in the words a script can match on. The exit status of the program follows from the
 * code, so that a code never ends in two different statuses.
 */
export const EXIT_STATUS = {
  /** The command line asks for something that does not exist or makes no sense. */
  usage: 2,
  "bad-gsi": 2,
  "bad-msi": 2,
  "bad-route": 2,
  "bad-chip": 2,
  "bad-path": 2,
  "bad-name": 2,
  "session-exists": 2,
  unsupported: 2,
  "needs-confirmation": 2,
  "output-failed": 2,
  /** KVM, or a part of the kernel that the command needs, can't be used on this host. */
  "kvm-unavailable": 3,
  "kvm-permission": 3,
  "kvm-capability": 3,
  "trace-unavailable": 3,
  "bpf-unavailable": 3,
  /** The target is not there, or can't be reached by this user. */
  "runtime-dir": 4,
  "no-session": 4,
  "session-gone": 4,
  "session-busy": 4,
  /** A holder of another version, or one whose answers are none. */
  "session-protocol": 4,
  "no-process": 4,
  "no-vm": 4,
  "attach-refused": 4,
  "no-file": 4,
  /** The kernel answered an ioctl or a syscall with an error. */
  "kernel-refused": 5,
  conflict: 5,
  internal: 5,
  /** A snapshot or script that does not parse or does not fit. */
  "bad-input": 6,
  interrupted: 130,
} as const;

export type ErrorCode = keyof typeof EXIT_STATUS;

export interface ErrorOptions {
  /** What the reader can do about it, as one sentence without a final full stop. */
  hint?: Advice | undefined;
  /** Further fields for `--json`, such as the ioctl and errno. */
  details?: Readonly<Record<string, unknown>> | undefined;
  cause?: unknown;
}

/** An error with what three readers need: a sentence and a hint, a stable code, and the details. */
export class KvmIrqError extends Error {
  readonly code: ErrorCode;
  readonly #hint: Advice | undefined;
  #address: VmAddress = {};
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "KvmIrqError";
    this.code = code;
    this.#hint = options.hint;
    this.details = options.details ?? {};
  }

  /** What the reader can do about it, with commands for the VM of {@link at}. */
  get hint(): string | undefined {
    return this.#hint === undefined ? undefined : spell(this.#hint, this.#address);
  }

  /** Says which VM it is about. @returns itself. */
  at(address: VmAddress): this {
    this.#address = address;
    return this;
  }

  /** The exit status that this error ends the program with. */
  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }

  /** The error as `--json` prints it and as a holder sends it. */
  toJSON(): { code: ErrorCode; message: string; hint?: string; [detail: string]: unknown } {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...this.details,
    };
  }

  /** The inverse of {@link toJSON}, for errors that came over a socket. */
  static fromJSON(value: unknown): KvmIrqError {
    const { code, message, hint, ...details } = value as Record<string, unknown>;
    const known =
      typeof code === "string" && Object.hasOwn(EXIT_STATUS, code) ? (code as ErrorCode) : "internal";
    return new KvmIrqError(known, String(message), {
      hint: typeof hint === "string" ? hint : undefined,
      details,
    });
  }
}
