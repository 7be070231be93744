import { KvmIrqError } from "../abi/error.ts";
import type { Gsi } from "../abi/numbers.ts";

/** What every machine refuses in the same words, whoever stands behind it. */

/** @throws KvmIrqError `bad-gsi` unless it is an unsigned 32-bit number, as `struct kvm_irq_level` has it. */
export function checkGsi(gsi: Gsi): void {
  if (Number.isInteger(gsi) && gsi >= 0 && gsi <= 0xffff_ffff) return;
  throw new KvmIrqError("bad-gsi", `${gsi} is not a GSI`, { hint: "a GSI is an unsigned 32-bit number" });
}

/**
 * The vCPU of that number.
 *
 * @throws KvmIrqError `bad-chip` when there is none.
 */
export function vcpuAt<T>(vcpus: readonly T[], index: number): T {
  const vcpu = vcpus[index];
  if (vcpu === undefined) {
    throw new KvmIrqError("bad-chip", `there is no vCPU ${index}: this VM has ${vcpus.length}`);
  }
  return vcpu;
}

/** A write to a vCPU image: those are there to read. */
export function vcpuIsReadOnly(): KvmIrqError {
  return new KvmIrqError("unsupported", "a vCPU's state can be read, not written");
}

/** @param sizes those that the chip can have. @throws RangeError unless there are as many bytes as its state has. */
export function checkStateSize(chip: string, sizes: number | readonly number[], state: Uint8Array): void {
  const all = [sizes].flat();
  if (all.includes(state.length)) return;
  throw new RangeError(`the state of ${chip} has ${all.join(" or ")} bytes, not ${state.length}`);
}

/**
 * @param most how many there may be. @param who names who sets that limit.
 * @throws KvmIrqError `usage` unless there can be as many vCPUs.
 */
export function checkVcpus(vcpus: number, most: number, who: string): void {
  if (Number.isInteger(vcpus) && vcpus >= 0 && vcpus <= most) return;
  throw new KvmIrqError("usage", `${who} gives a VM 0 to ${most} vCPUs, not ${vcpus}`);
}
