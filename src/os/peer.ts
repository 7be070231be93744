import { readFileSync, statSync } from "node:fs";
import { listFolder, readLink } from "./files.ts";
import { bindLibc, close, I32, I64, NativeBuffer } from "./libc.ts";

/** Numbers of <asm-generic/unistd.h>, which x86-64 shares. */
const NR_PIDFD_SEND_SIGNAL = 424;
const NR_PIDFD_OPEN = 434;
/** Of <sys/socket.h>: unix(7). */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SIGKILL = 9;
/** The state of a Unix socket that is listened on, in /proc/net/unix: `__SO_ACCEPTCON` of <linux/net.h>. */
const ACCEPTS = "00010000";

const syscall = bindLibc("syscall", [I64, I64, I64, I64, I64], I64);

/**
 * The process that listens at the other end of a connected Unix socket, as it was when it called listen(2).
 *
 * @param fd the socket. @returns its pid, 0 when it is in a PID namespace that can't be seen from here;
 *   `undefined` where the kernel does not say.
 */
export function peerPid(fd: number): number | undefined {
  const getsockopt = bindLibc("getsockopt", [I32, I32, I32, I64, I64]);
  const ucred = new NativeBuffer(12);
  const length = new NativeBuffer(4);
  length.view.setUint32(0, 12, true);
  const { value } = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred.address, length.address);
  return value === 0 ? ucred.view.getInt32(0, true) : undefined;
}

/**
 * Whether a process listens on the Unix socket that was bound to a file of that name.
 *
 * @param file the last part of the path, which has to be unlike any other.
 */
export function listensAs(pid: number, file: string): boolean {
  const line = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .find((text) => text.endsWith(`/${file}`) && text.split(/ +/)[3] === ACCEPTS);
  const inode = line?.trim().split(/ +/)[6];
  const folder = `/proc/${pid}/fd`;
  return (listFolder(folder) ?? []).some((fd) => readLink(`${folder}/${fd}`) === `socket:[${inode}]`);
}

/**
 * Kills a process of this user, and no other one that has its id by then: a pidfd holds on to the process that
 * is looked at (pidfd_open(2), Linux 5.3).
 *
 * @param isMeant looks at the process of that id: whether it is the one to kill.
 * @returns whether it was killed.
 */
export function killProcess(pid: number, isMeant: () => boolean): boolean {
  const { value: pidfd } = syscall(NR_PIDFD_OPEN, pid, 0, 0, 0);
  if (pidfd < 0) return false;
  try {
    if (statSync(`/proc/${pid}`).uid !== process.geteuid?.() || !isMeant()) return false;
    return syscall(NR_PIDFD_SEND_SIGNAL, pidfd, SIGKILL, 0, 0).value === 0;
  } catch {
    return false;
  } finally {
    close(pidfd);
  }
}
