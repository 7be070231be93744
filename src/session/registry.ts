import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../sys/alive.ts";
import { checkRuntimeDir, runtimeDir, sessionDir } from "./runtime-dir.ts";

/**
 * Which sessions there are, kept in the file system so that exactly one holder can have a name.
 *
 * A session is a folder of its name with one socket in it, `PID-RANDOM.sock`. A holder listens in a
 * folder of its own first (`.new-PID-RANDOM`) and then renames it: rename(2) puts it in place of nothing or
 * of an empty folder, and refuses when a socket is there. A dead holder's socket is unlinked by its own,
 * unique name, so sweeping can never hit a living one, however many do it at once.
 */

const SOCKET = /^(\d+)-[0-9a-f]{6}\.sock$/;
const UNBORN = /^\.new-(\d+)-[0-9a-f]{6}$/;

/** A holder's socket, which may be a dead holder's. */
export interface Registration {
  name: string;
  path: string;
  /** The holder's process id. */
  pid: number;
}

/** A socket that is listened on but not yet known by the session's name. */
export interface Claim {
  /** Where to listen. */
  socket: string;
  /** Takes the name. @returns false when another holder has it. */
  publish(): boolean;
  /** Gives the name back, or the unpublished folder. */
  withdraw(): void;
}

/** Prepares to take a session's name for this process. */
export function claim(name: string): Claim {
  const id = `${process.pid}-${randomSuffix()}`;
  const final = sessionDir(name);
  let folder = join(runtimeDir(), `.new-${id}`);
  mkdirSync(folder, { mode: 0o700 });
  return {
    socket: join(folder, `${id}.sock`),
    publish() {
      try {
        renameSync(folder, final);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOTEMPTY" || code === "EEXIST") return false;
        throw error;
      }
      folder = final;
      return true;
    },
    withdraw() {
      rmSync(join(folder, `${id}.sock`), { force: true });
      removeIfEmpty(folder);
    },
  };
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
  removeFile(registration.path);
  removeIfEmpty(join(registration.path, ".."));
}

/** Removes folders of holders that died before they had their name. */
export function sweepUnborn(): void {
  if (!checkRuntimeDir()) return;
  for (const entry of listFolder(runtimeDir())) {
    const match = UNBORN.exec(entry);
    if (match === null || isAlive(Number(match[1]))) continue;
    rmSync(join(runtimeDir(), entry), { recursive: true, force: true });
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
}
