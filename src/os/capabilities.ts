import { readStatus } from "./proc.ts";

/** Bits of <linux/capability.h>. CAP_SYS_ADMIN stands for both others. */
const CAP_SYS_ADMIN = 21n;
const CAPABILITIES: readonly [name: string, bit: bigint][] = [
  ["CAP_BPF", 39n],
  ["CAP_PERFMON", 38n],
];

/** Those of CAP_BPF and CAP_PERFMON that this process lacks: what reading kernel memory by BPF takes. */
export function lackingForBpf(): string[] {
  const held = readStatus("self")?.capEff ?? 0n;
  const has = (bit: bigint) => ((held >> bit) & 1n) === 1n;
  return has(CAP_SYS_ADMIN) ? [] : CAPABILITIES.filter(([, bit]) => !has(bit)).map(([name]) => name);
}
