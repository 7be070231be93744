import { closeSync } from "node:fs";
import { listFolder, readText } from "../../os/files.ts";

const OWN_DESCRIPTORS = "/proc/self/fd";
/** `O_CLOEXEC` of <fcntl.h>, as /proc/PID/fdinfo/FD has it, in octal (proc(5)). */
const O_CLOEXEC = 0o2000000;

/**
 * Closes the descriptors that a process was started with beyond its own: the lock of a shell script, or the end
 * of a pipe that somebody reads until all writers are gone. Those it opened itself are closed on exec, so that
 * the others can be told from them.
 *
 * @param last the highest that is meant for it.
 */
export function closeInherited(last: number): void {
  for (const fd of (listFolder(OWN_DESCRIPTORS) ?? []).map(Number)) {
    if (fd > last && !isClosedOnExec(fd)) closeSync(fd);
  }
}

/** A descriptor that is gone counts too: the folder's own, while it was read. */
function isClosedOnExec(fd: number): boolean {
  const text = readText(`/proc/self/fdinfo/${fd}`);
  if (text === undefined) return true;
  const flags = /^flags:\s*(\d+)$/m.exec(text)?.[1] ?? "";
  return (Number.parseInt(flags, 8) & O_CLOEXEC) !== 0;
}
