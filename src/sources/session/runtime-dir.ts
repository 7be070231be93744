import { lstatSync, mkdirSync, readlinkSync, type Stats } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { KvmIrqError } from "../../abi/error.ts";

/**
 * Where sessions of this user live: `$XDG_RUNTIME_DIR/kvm-irq`, else `/run/kvm-irq` for root, else
 * `/tmp/kvm-irq-UID`.
 */
export function runtimeDir(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env["XDG_RUNTIME_DIR"];
  if (xdg !== undefined && isAbsolute(xdg)) return join(xdg, "kvm-irq");
  const uid = process.getuid?.() ?? 0;
  return uid === 0 && process.platform === "linux" ? "/run/kvm-irq" : `/tmp/kvm-irq-${uid}`;
}

/**
 * Makes the runtime folder unless it is there, and checks that nobody else could have put anything in it.
 *
 * @throws KvmIrqError `runtime-dir` when it is a symlink, another user's, open to others, or can't be made.
 */
export function ensureRuntimeDir(dir: string = runtimeDir()): string {
  refuseDistrusted(dir, whoElse(dirname(dir)));
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unusable("made", error);
  }
  checkRuntimeDir(dir);
  return dir;
}

/**
 * Checks the runtime folder if there is one.
 *
 * @returns whether it is there.
 * @throws KvmIrqError `runtime-dir` when it is not to be trusted, or is not this user's to look at.
 */
export function checkRuntimeDir(dir: string = runtimeDir()): boolean {
  refuseDistrusted(dir, whoElse(dirname(dir)));
  const stats = look(dir);
  if (stats === undefined) return false;
  const distrust = reasonToDistrust(stats);
  refuseDistrusted(dir, distrust && `${dir} ${distrust}`);
  return true;
}

function refuseDistrusted(dir: string, reason: string | undefined): void {
  if (reason === undefined) return;
  throw new KvmIrqError("runtime-dir", `${reason}, so sessions in ${dir} can't be trusted`, {
    hint: "set XDG_RUNTIME_DIR to a folder that only you can write, or unset it, as after `su`",
  });
}

/** The most links on the way to a folder, as path_resolution(7) has it. */
const MOST_LINKS = 40;

/**
 * Who else could put another folder in the place of one: whoever owns a folder or link on the way to it, or may
 * write to one that is not sticky. sshd's StrictModes asks the same.
 *
 * @returns in words; nothing when nobody could, or when the folder is not there.
 */
function whoElse(folder: string): string | undefined {
  if (process.getuid === undefined) return undefined;
  // In a user namespace root's files may belong to somebody who has no number.
  const trusted = new Set([0, process.getuid(), lstatSync("/").uid]);
  const rest = folder.split("/");
  let at = "/";
  for (let links = 0; rest.length > 0 && links < MOST_LINKS; ) {
    const next = join(at, rest.shift() ?? "");
    const stats = look(next);
    if (stats === undefined) return undefined;
    if (!trusted.has(stats.uid)) return `${next} belongs to user ${stats.uid}`;
    if (stats.isSymbolicLink()) {
      links++;
      const target = readlinkSync(next);
      if (isAbsolute(target)) at = "/";
      rest.unshift(...target.split("/"));
    } else if (isWritableByOthers(stats)) return `${next} is open to other users`;
    else at = next;
  }
  return undefined;
}

/** A sticky folder's entries are renamed by their owners alone. A group of one's own has no other member. */
function isWritableByOthers({ mode, uid, gid }: Stats): boolean {
  if ((mode & 0o1000) !== 0) return false;
  const ownGroup = gid === 0 || (gid === uid && uid === process.getuid?.());
  return (mode & (ownGroup ? 0o002 : 0o022)) !== 0;
}

function look(dir: string): Stats | undefined {
  try {
    return lstatSync(dir, { throwIfNoEntry: false });
  } catch (error) {
    throw unusable("looked at", error);
  }
}

/** @param what could not be done with it, as in "made". */
export function unusable(what: string, error: unknown): KvmIrqError {
  return new KvmIrqError(
    "runtime-dir",
    `the folder for sessions can't be ${what}: ${(error as Error).message}`,
    { hint: "set XDG_RUNTIME_DIR to a folder of yours that exists" },
  );
}

function reasonToDistrust(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return "is a symlink";
  if (!stats.isDirectory()) return "is not a folder";
  if (process.getuid !== undefined && stats.uid !== process.getuid()) return `belongs to user ${stats.uid}`;
  if ((stats.mode & 0o077) !== 0) return "is open to other users";
  return undefined;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Whether a session could have that name. */
export function isSessionName(name: string): boolean {
  return NAME.test(name);
}

/**
 * Checks a session's name, which becomes a folder's name.
 *
 * @throws KvmIrqError `bad-name`.
 */
export function checkSessionName(name: string): string {
  if (!isSessionName(name)) {
    throw new KvmIrqError("bad-name", `${JSON.stringify(name)} can't be a session's name`, {
      hint: "use up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
    });
  }
  return name;
}

/** The folder of one session. @throws KvmIrqError `bad-name`. */
export function sessionDir(name: string, dir: string = runtimeDir()): string {
  return join(dir, checkSessionName(name));
}
