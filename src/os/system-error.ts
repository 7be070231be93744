import { KvmIrqError } from "../abi/error.ts";

/** Ordinary reasons why the system refuses a file or a process, by errno(3), and what a person can do. */
const REASONS: Record<string, [why: string, hint?: string]> = {
  EACCES: ["no permission", "use another place, or run as a user with permission"],
  EDQUOT: ["the disk quota is used up", "make room, or use another place"],
  EFBIG: ["it would be larger than a file may be here", "raise `ulimit -f`, or use another place"],
  EIO: ["the device failed", "`dmesg` may say why"],
  EISDIR: ["it is a folder", "give the name of a file in it"],
  ELOOP: ["its symbolic links lead in a circle"],
  EMFILE: ["too many open files in this process", "raise `ulimit -n`"],
  ENAMETOOLONG: ["the name is too long", "use a shorter one"],
  ENFILE: ["too many open files on this host", "raise `sysctl fs.file-max`"],
  ENOENT: ["there is no such file or folder", "paths start at the current folder"],
  ENOMEM: ["no memory left", "end something else first"],
  ENOSPC: ["no space left on the device", "make room, or use another place"],
  ENOTDIR: ["a part of the path is not a folder"],
  EAGAIN: ["no more processes are allowed", "raise `ulimit -u`"],
  EPERM: ["not permitted", "use another place, or run as a user with permission"],
  EROFS: ["the file system is read-only", "use another place"],
  ETXTBSY: ["it is a program that runs", "use another place"],
};

/** Why the system refused something, in words; an errno that is not ordinary is given as Node has it. */
export function reasonOf(error: unknown): { errno_name: string; why: string; hint?: string | undefined } {
  const { code = "", message } = error as NodeJS.ErrnoException;
  const [why, hint] = REASONS[code] ?? [message];
  return { errno_name: code, why, hint };
}

/**
 * Whatever was thrown, as an error with a code: what the system refused (a full disk, no permission, no
 * descriptors) is `kernel-refused`; `internal` is left for what only a mistake of this program throws.
 */
export function asKnown(thrown: unknown): KvmIrqError {
  if (thrown instanceof KvmIrqError) return thrown;
  const { syscall, path, errno, message } = (thrown ?? {}) as NodeJS.ErrnoException;
  if (typeof syscall === "string" && typeof errno === "number") {
    const { why, hint, errno_name } = reasonOf(thrown);
    const what = path === undefined ? syscall : `${syscall} of ${path}`;
    return new KvmIrqError("kernel-refused", `${what} failed with ${errno_name}: ${why}`, {
      hint,
      details: { syscall, errno: Math.abs(errno), errno_name, ...(path === undefined ? {} : { path }) },
      cause: thrown,
    });
  }
  return new KvmIrqError("internal", `unexpected: ${message ?? thrown}`, {
    hint: "run it again with --debug and report what that shows",
    cause: thrown,
  });
}
