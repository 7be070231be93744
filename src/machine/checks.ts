import { KvmIrqError } from "../abi/error.ts";
import { SIZEOF } from "../abi/ioctl.ts";

/** What every machine refuses in the same words, whoever stands behind it. */

/** @throws KvmIrqError `bad-gsi` unless it is an unsigned 32-bit number, as `struct kvm_irq_level` has it. */
export function checkGsi(gsi: number): void {
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

/** @throws RangeError unless there are the 1024 bytes of a `struct kvm_lapic_state`. */
export function checkLapicSize(state: Uint8Array): void {
  if (state.length === SIZEOF.kvm_lapic_state) return;
  throw new RangeError(`a local APIC's state has ${SIZEOF.kvm_lapic_state} bytes, not ${state.length}`);
}
