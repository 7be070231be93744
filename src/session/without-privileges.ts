import { lstatSync, readFileSync, statSync } from "node:fs";

/** util-linux has it; busybox has another one, as a link to itself, which lacks --bounding-set. */
const SETPRIV = "/usr/bin/setpriv";
/** CAP_SETPCAP of <linux/capability.h>, without which the bounding set can't be changed. */
const CAP_SETPCAP = 8n;

/**
 * The call of a program without root's capabilities, where there are some: setpriv(1) takes them from what
 * execve(2) may give, so that no thread of the program ever has them. Node can't: capset(2) is for one thread.
 *
 * @param argv the program and its arguments. @returns the same where there is nothing to take or no setpriv.
 */
export function withoutPrivileges(argv: [string, ...string[]]): [string, ...string[]] {
  if (!hasCapability(CAP_SETPCAP) || !isSetprivHere()) return argv;
  // Root opens what belongs to others by this one alone.
  const keep = needsOverride("/dev/kvm") ? ",+dac_override" : "";
  return [SETPRIV, `--bounding-set=-all${keep}`, "--inh-caps=-all", "--no-new-privs", ...argv];
}

function hasCapability(bit: bigint): boolean {
  try {
    const [, effective] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    return (BigInt(`0x${effective ?? 0}`) & (1n << bit)) !== 0n;
  } catch {
    return false;
  }
}

function isSetprivHere(): boolean {
  return lstatSync(SETPRIV, { throwIfNoEntry: false })?.isFile() ?? false;
}

function needsOverride(device: string): boolean {
  const stats = statSync(device, { throwIfNoEntry: false });
  return stats !== undefined && stats.uid !== process.geteuid?.();
}
