import { lstatSync, mkdirSync, type Stats } from "node:fs";
import { isAbsolute, join } from "node:path";
import { KvmIrqError } from "../abi/error.ts";

/** `sun_path` of `<sys/un.h>` has 108 bytes with its closing zero. */
const SOCKET_PATH_MAX = 107;
const SOCKET_NAME_MAX = "0123456789-abcdef.sock".length;

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
  const stats = look(dir);
  if (stats === undefined) return false;
  const distrust = reasonToDistrust(stats);
  if (distrust !== undefined) {
    throw new KvmIrqError("runtime-dir", `${dir} ${distrust}, so sessions in it can't be trusted`, {
      hint: "remove it, or set XDG_RUNTIME_DIR to a folder that only you can write",
    });
  }
  return true;
}

function look(dir: string): Stats | undefined {
  try {
    return lstatSync(dir, { throwIfNoEntry: false });
  } catch (error) {
    throw unusable("looked at", error);
  }
}

function unusable(what: string, error: unknown): KvmIrqError {
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

/** The folder of one session, and a check that a socket in it has a path that the system takes. */
export function sessionDir(name: string, dir: string = runtimeDir()): string {
  const path = join(dir, checkSessionName(name));
  if (Buffer.byteLength(path) + 1 + SOCKET_NAME_MAX > SOCKET_PATH_MAX) {
    throw new KvmIrqError(
      "bad-name",
      `the socket of session '${name}' would have too long a path in ${dir}`,
      {
        hint: `a Unix socket's path has at most ${SOCKET_PATH_MAX} bytes: choose a shorter name, or another XDG_RUNTIME_DIR`,
      },
    );
  }
  return path;
}
