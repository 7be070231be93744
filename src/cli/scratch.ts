import { KvmIrqError } from "../abi/error.ts";
import { LocalTarget } from "../sources/local/source.ts";
import { makeMachine } from "../sources/make-machine.ts";
import type { Backend, Machine } from "../vm/machine.ts";
import { applyStart, type Start } from "../vm/start.ts";

export interface ScratchOptions {
  /** `auto` takes KVM where it works, else the model. */
  backend: Backend | "auto";
  vcpus: number;
  start: Start;
}

/**
 * A VM of this process alone, gone when the target is closed.
 *
 * @param onFallback called with the reason when `auto` had to take the model.
 * @throws KvmIrqError when KVM was asked for by name and can't be used.
 */
export async function scratchTarget(
  { backend, vcpus, start }: ScratchOptions,
  onFallback: (reason: KvmIrqError) => void = () => {},
): Promise<LocalTarget> {
  const machine =
    backend === "auto" ? await kvmElseModel(vcpus, onFallback) : await makeMachine(backend, vcpus);
  applyStart(machine, start);
  return new LocalTarget(machine);
}

async function kvmElseModel(vcpus: number, onFallback: (reason: KvmIrqError) => void): Promise<Machine> {
  try {
    return await makeMachine("kvm", vcpus);
  } catch (error) {
    onFallback(
      error instanceof KvmIrqError
        ? error
        : new KvmIrqError("kvm-unavailable", "the FFI can't be loaded here"),
    );
    return makeMachine("model", vcpus);
  }
}
