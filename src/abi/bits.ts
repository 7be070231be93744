import type { U64 } from "./u64.ts";

/** Whether a bit of a register of up to 64 bits is set. */
export function hasBit(register: U64, bit: number): boolean {
  return (BigInt(register) >> BigInt(bit)) % 2n === 1n;
}

/** The numbers of the bits that are set, lowest first. */
export function bitsOf(register: U64): number[] {
  const bits: number[] = [];
  for (let rest = BigInt(register), bit = 0; rest > 0n; rest >>= 1n, bit++) {
    if (rest % 2n === 1n) bits.push(bit);
  }
  return bits;
}

/** A number as the manuals write it, a vector as `0x24`, padded to so many digits. */
export function hex(value: number | bigint, digits = 2): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

/** "vCPU 0", "vCPUs 0 and 1", "vCPUs 0, 2 and 5". */
export function vcpuNames(vcpus: readonly number[]): string {
  if (vcpus.length === 1) return `vCPU ${vcpus[0]}`;
  return `vCPUs ${vcpus.slice(0, -1).join(", ")} and ${vcpus.at(-1)}`;
}

/** A sentence's list: "a", "a and b", "a, b and c". */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** A list that fits a sentence: of more than four words the first three, and how many more there are. */
export function shortened(words: readonly string[]): string[] {
  return words.length <= 4 ? [...words] : [...words.slice(0, 3), `${words.length - 3} more`];
}
