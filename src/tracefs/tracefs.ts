import { spawn } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { errnoName } from "../abi/errno.ts";
import { KvmIrqError } from "../abi/error.ts";
import { isAlive } from "../os/alive.ts";
import { mountDetached } from "../os/mount.ts";

/** The kernel's tracing file system: where it is, and what to close when done with it. */
export interface Tracefs {
  path: string;
  close(): void;
}

const MOUNT_BY_HAND =
  "mount it by hand (`sudo mount -t tracefs tracefs /sys/kernel/tracing`) and run as root";

/**
 * Finds tracefs where it is mounted; else mounts one that only this process sees and that goes with it.
 *
 * @throws KvmIrqError `trace-unavailable` without permission, and on kernels without tracing.
 */
export function openTracefs(mountinfo = readFileSync("/proc/self/mountinfo", "utf8")): Tracefs {
  const mounted = findTracefs(mountinfo);
  if (mounted !== undefined) return { path: mounted, close: () => {} };
  const mount = mountDetached("tracefs");
  if ("errno" in mount) throw mountError(mount.errno);
  return { path: `/proc/self/fd/${mount.fd}`, close: () => closeSync(mount.fd) };
}

/** The mount point of tracefs in a `/proc/PID/mountinfo` (proc_pid_mountinfo(5)); `undefined` without one. */
export function findTracefs(mountinfo: string): string | undefined {
  for (const line of mountinfo.split("\n")) {
    const [mount = "", superblock = ""] = line.split(" - ");
    const [, , , root, path] = mount.split(" ");
    if (superblock.startsWith("tracefs ") && root === "/" && path !== undefined) return unescapeOctal(path);
  }
  return undefined;
}

/** mountinfo writes blanks and backslashes in octal. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function mountError(errno: number): KvmIrqError {
  const name = errnoName(errno);
  const details = { errno, errno_name: name };
  switch (name) {
    case "EPERM":
    case "EACCES":
      return new KvmIrqError("trace-unavailable", "tracefs is not mounted, and this user may not mount it", {
        hint: MOUNT_BY_HAND,
        details,
      });
    case "ENODEV":
      return new KvmIrqError("trace-unavailable", "this kernel has no tracefs", {
        hint: "tracing needs a kernel with CONFIG_TRACING and CONFIG_EVENT_TRACING",
        details,
      });
    default:
      return new KvmIrqError("trace-unavailable", `tracefs can't be mounted (${name})`, {
        hint: MOUNT_BY_HAND,
        details,
      });
  }
}

/**
 * Runs something on files of tracefs, and says of a refusal what to do about it.
 *
 * @throws KvmIrqError `trace-unavailable` for whatever file error comes out of it.
 */
export function onTracefs<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw fileError(error);
  }
}

function fileError(error: unknown): unknown {
  const { code, path, errno } = error as NodeJS.ErrnoException;
  if (error instanceof KvmIrqError || code === undefined) return error;
  const details = { path, errno: errno === undefined ? undefined : -errno, errno_name: code };
  if (code === "EACCES" || code === "EPERM") {
    return new KvmIrqError("trace-unavailable", "no permission to use the kernel's tracing", {
      hint: "run as root; where root may not either, the kernel is locked down (`cat /sys/kernel/security/lockdown`)",
      details,
      cause: error,
    });
  }
  return new KvmIrqError("trace-unavailable", `the kernel's tracing refused ${path ?? "a file"} (${code})`, {
    hint: "`kvm-irq doctor` shows what this host can do",
    details,
    cause: error,
  });
}

/** Instances are named after the process that made them, so that those of the dead can be told. */
const INSTANCE = /^kvm-irq-(?<pid>\d+)(?:-\d+)?$/;
let instancesMade = 0;

/**
 * A trace buffer of its own with its own switches (Documentation/trace/ftrace.rst, "Instances"): what is
 * recorded here, and how, nobody else's tracing notices.
 */
export class TraceInstance {
  readonly path: string;
  readonly #guard: { dismiss(): void };
  #open = true;
  readonly #files: number[] = [];
  readonly #onExit = () => this.remove();

  /**
   * Makes an instance, and sweeps those that killed processes left behind.
   *
   * @throws KvmIrqError `trace-unavailable`.
   */
  constructor(tracefs: string) {
    const instances = join(tracefs, "instances");
    const name = `kvm-irq-${process.pid}-${instancesMade++}`;
    this.path = join(instances, name);
    // Before the instance is made: the process may be killed at any moment after that.
    this.#guard = startGuard(tracefs, join("instances", name));
    try {
      onTracefs(() => {
        sweepInstances(instances);
        mkdirSync(this.path);
      });
    } catch (error) {
      this.#guard.dismiss();
      throw error;
    }
    process.on("exit", this.#onExit);
  }

  read(file: string): string {
    return onTracefs(() => readFileSync(join(this.path, file), "utf8"));
  }

  write(file: string, text: string): void {
    onTracefs(() => writeFileSync(join(this.path, file), text));
  }

  /** Writes a file that not every kernel has. @returns whether this one took it. */
  tryWrite(file: string, text: string): boolean {
    try {
      writeFileSync(join(this.path, file), text);
      return true;
    } catch {
      return false;
    }
  }

  /** Opens a file for reading without waiting; it is closed with the instance. @returns its descriptor. */
  openToRead(file: string): number {
    const fd = onTracefs(() => openSync(join(this.path, file), constants.O_RDONLY | constants.O_NONBLOCK));
    this.#files.push(fd);
    return fd;
  }

  list(directory: string): string[] {
    return onTracefs(() => readdirSync(join(this.path, directory)));
  }

  /** Ends its recording, closes its files and removes it. Doing so twice is harmless. */
  remove(): void {
    if (!this.#open) return;
    this.#open = false;
    process.off("exit", this.#onExit);
    for (const fd of this.#files) closeSync(fd);
    removeInstance(this.path);
    this.#guard.dismiss();
  }
}

/**
 * Waits until its standard input ends, which the kernel does to it when this process is killed; then stops the
 * recording and removes the instance. The descriptors of a killed process may be closed a little later.
 */
const GUARD = `read -r _
echo 0 >"$0/tracing_on"
for _ in 1 2 3 4 5 6 7 8 9; do [ -d "$0" ] && ! rmdir "$0" && sleep 0.2; done`;

/**
 * Starts a shell that removes an instance if this process is killed, and that signals to the terminal do not
 * reach. Where there is no shell, the next trace sweeps up what a killed one left.
 *
 * @param instance its path inside tracefs.
 */
function startGuard(tracefs: string, instance: string): { dismiss(): void } {
  // A mount that only this process sees is reached by a descriptor, which a child has until its exec(2).
  const isDetached = tracefs.startsWith("/proc/self/fd/");
  const guard = spawn("/bin/sh", ["-c", GUARD, isDetached ? instance : join(tracefs, instance)], {
    cwd: isDetached ? tracefs : "/",
    env: { PATH: "/usr/bin:/bin" },
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  guard.on("error", () => {});
  guard.unref();
  (guard.stdin as Socket).on("error", () => {}).unref();
  return {
    dismiss() {
      guard.kill("SIGKILL");
      guard.stdin.destroy();
    },
  };
}

/**
 * Removes the instances of processes that are gone.
 *
 * One that is in use after all (its owner lives in another PID namespace) refuses with EBUSY, since its
 * owner has its files open.
 */
function sweepInstances(instances: string): void {
  for (const name of readdirSync(instances)) {
    const pid = INSTANCE.exec(name)?.groups?.["pid"];
    if (pid !== undefined && (Number(pid) === process.pid || !isAlive(Number(pid)))) {
      removeInstance(join(instances, name));
    }
  }
}

function removeInstance(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // In use, or gone already: neither is ours to mend.
  }
}
