import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { connect } from "node:net";
import { basename, dirname, join } from "node:path";
import { KvmIrqError } from "../../abi/error.ts";
import { isRunning } from "../../os/alive.ts";
import { HOLDER_PROGRAM } from "./protocol.ts";
import { checkRuntimeDir, runtimeDir, sessionDir, unusable } from "./runtime-dir.ts";

/**
 * Which sessions there are, kept in the file system so that exactly one holder can have a name.
 *
 * A session is a folder of its name with one socket in it, `PID-RANDOM.sock`. A holder listens in a
 * folder of its own first (`.new-PID-RANDOM`) and then renames it: rename(2) puts it in place of nothing or
 * of an empty folder, and refuses when a socket is there. A dead holder's socket is unlinked by its own,
 * unique name, so sweeping can never hit a living one, however many do it at once.
 */

const SOCKET = /^(\d+)-[0-9a-f]{6}\.sock$/;
const UNBORN = /^\.new-((\d+)-[0-9a-f]{6})$/;
/** `sun_path` of <sys/un.h> has 108 bytes with its closing zero. */
const SOCKET_PATH_MAX = 107;

/** A holder's socket, which may be a dead holder's. */
export interface Registration {
  name: string;
  path: string;
  /** The holder's process id by its own word, in its own PID namespace: to be shown, never to be trusted. */
  pid: number;
}

/** A socket that is listened on but not yet known by the session's name. */
export interface Claim {
  /** Where to listen, by {@link withSocketPath}. */
  socket: string;
  /** Takes the name. @returns false when another holder has it. @throws KvmIrqError `runtime-dir`. */
  publish(): boolean;
  /** Whether a client could still find the socket. */
  isThere(): boolean;
  /** Gives the name back, or the unpublished folder. */
  withdraw(): void;
}

/** Prepares to take a session's name for this process. @throws KvmIrqError `runtime-dir`. */
export function claim(name: string): Claim {
  const id = `${process.pid}-${randomSuffix()}`;
  const final = sessionDir(name);
  let folder = join(runtimeDir(), `.new-${id}`);
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    throw unusable("written to", error);
  }
  return {
    socket: join(folder, `${id}.sock`),
    publish() {
      try {
        renameSync(folder, final);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOTEMPTY" || code === "EEXIST") return false;
        throw unusable("written to", error);
      }
      folder = final;
      return true;
    },
    isThere: () => existsSync(join(folder, `${id}.sock`)),
    withdraw() {
      try {
        rmSync(join(folder, `${id}.sock`), { force: true });
        removeIfEmpty(folder);
      } catch {
        // The folder was taken away; why it is withdrawn is what matters.
      }
    },
  };
}

/**
 * Binds or connects a socket to a path of any length: libuv cuts what is too long for `sun_path`, and a folder
 * that is open has a short name below /proc/self/fd.
 *
 * @param use makes the system call before it returns.
 * @throws KvmIrqError `bad-name` for a path that is too long where there is no /proc.
 */
export function withSocketPath<T>(path: string, use: (path: string) => T): T {
  if (Buffer.byteLength(path) <= SOCKET_PATH_MAX) return use(path);
  if (!existsSync("/proc/self/fd")) {
    throw new KvmIrqError("bad-name", `the path of the session's socket is too long: ${path}`, {
      hint: `a Unix socket's path has at most ${SOCKET_PATH_MAX} bytes: choose a shorter name, or another XDG_RUNTIME_DIR`,
    });
  }
  const folder = openFolder(dirname(path));
  // One that is gone has no socket, which the call finds out.
  if (folder === undefined) return use("/proc/self/fd/none");
  try {
    return use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    closeSync(folder);
  }
}

function openFolder(path: string): number | undefined {
  try {
    return openSync(path, constants.O_DIRECTORY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unusable("looked at", error);
  }
}

/** Unlike any other of this pid, not secret: node:crypto would cost the holder two megabytes. */
function randomSuffix(): string {
  return Math.floor(Math.random() * 2 ** 24)
    .toString(16)
    .padStart(6, "0");
}

/** The socket registered under a name, whether or not its holder lives. */
export function lookUp(name: string): Registration | undefined {
  if (!checkRuntimeDir()) return undefined;
  const folder = sessionDir(name);
  for (const file of listFolder(folder)) {
    const match = SOCKET.exec(file);
    if (match !== null) return { name, path: join(folder, file), pid: Number(match[1]) };
  }
  return undefined;
}

/** Every registered socket, by session name. */
export function listAll(): Registration[] {
  if (!checkRuntimeDir()) return [];
  return listFolder(runtimeDir())
    .filter((name) => !name.startsWith("."))
    .sort()
    .flatMap((name) => lookUp(name) ?? []);
}

/** Removes what a dead holder left. Harmless when it is gone already or another holder took the name. */
export function sweep(registration: Registration): void {
  unlessGone(() => unlinkSync(registration.path));
  removeIfEmpty(join(registration.path, ".."));
}

/** Whether a process is a holder, or has been one and is about to end. */
export function isHolder(pid: number): boolean {
  return isRunning(pid, HOLDER_PROGRAM);
}

/** Removes folders of holders that died before they had their name. */
export async function sweepUnborn(): Promise<void> {
  if (!checkRuntimeDir()) return;
  for (const entry of listFolder(runtimeDir())) {
    const [, id, pid] = UNBORN.exec(entry) ?? [];
    if (id === undefined || isHolder(Number(pid))) continue;
    const folder = join(runtimeDir(), entry);
    // A holder of another PID namespace is not seen by its number.
    if (await isListenedOn(join(folder, `${id}.sock`))) continue;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether somebody listens there; one who has no room for another client does, too. */
async function isListenedOn(path: string): Promise<boolean> {
  const socket = withSocketPath(path, (short) => connect(short));
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "EAGAIN"));
    });
  } finally {
    socket.destroy();
  }
}

function listFolder(folder: string): string[] {
  return unlessGone(() => readdirSync(folder), "ENOTDIR") ?? [];
}

function removeIfEmpty(folder: string): void {
  unlessGone(() => rmdirSync(folder), "ENOTEMPTY", "EEXIST");
}

/** Does something with what may be gone. @param also further codes that are no error. */
function unlessGone<T>(action: () => T, ...also: string[]): T | undefined {
  try {
    return action();
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && !also.includes(code)) throw error;
    return undefined;
  }
}
