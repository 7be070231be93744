import { lstatSync, realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { readStatus } from "../../os/proc.ts";

/** util-linux has it; busybox has another one, as a link to itself, which lacks --bounding-set. */
const SETPRIV = "/usr/bin/setpriv";
/** CAP_SETPCAP of <linux/capability.h>, without which the bounding set can't be changed. */
const CAP_SETPCAP = 8n;

/**
 * The call of a program without root's capabilities, where there are some: setpriv(1) takes them from what
 * execve(2) may give, so that no thread of the program ever has them. Node can't: capset(2) is for one thread.
 *
 * @param argv the program and its arguments. @param files what it opens besides itself.
 * @returns the same call where there is nothing to take or no setpriv.
 */
export function withoutPrivileges(argv: [string, ...string[]], files: string[]): [string, ...string[]] {
  if (!hasCapability(CAP_SETPCAP) || !isSetprivHere()) return argv;
  // Root opens what is closed to others, such as a checkout in a user's home, by this one alone.
  const keep = [argv[0], ...files].every(opensAnyway) ? "" : ",+dac_override";
  return [SETPRIV, `--bounding-set=-all${keep}`, "--inh-caps=-all", "--no-new-privs", ...argv];
}

function hasCapability(bit: bigint): boolean {
  return ((readStatus("self")?.capEff ?? 0n) & (1n << bit)) !== 0n;
}

function isSetprivHere(): boolean {
  return lstatSync(SETPRIV, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** Whether a file opens without CAP_DAC_OVERRIDE: it and each folder on the way are this user's or open to all. */
function opensAnyway(file: string): boolean {
  try {
    let path = realpathSync(file);
    for (let wanted = 0o4; ; wanted = 0o1) {
      const { uid, mode } = statSync(path);
      if (uid !== process.geteuid?.() && (mode & wanted) === 0) return false;
      if (path === "/") return true;
      path = dirname(path);
    }
  } catch {
    // What is not there is not opened.
    return true;
  }
}
