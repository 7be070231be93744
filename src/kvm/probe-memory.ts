import { existsSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { lackingForBpf } from "../os/capabilities.ts";
import { readText } from "../os/files.ts";

/** What reading kernel memory takes, as far as this host has it. */
export interface MemoryFacts {
  /** Whether the kernel describes its types, and those of KVM where that is a module. */
  btf: { kernel: boolean; kvm: boolean };
  /** What loading the program came to. */
  bpf: { ok: true } | { error: KvmIrqError };
  /** Those of CAP_BPF and CAP_PERFMON that this process lacks. */
  lacking: string[];
  /** `none`, `integrity` or `confidentiality`; absent where this user can't see it, or the kernel knows no lockdown. */
  lockdown: string | undefined;
}

/** Finds out whether kernel memory can be read. Never throws: what can't be found out is part of the answer. */
export async function probeMemory(): Promise<MemoryFacts> {
  return {
    btf: { kernel: hasBtf("vmlinux"), kvm: !existsSync("/sys/module/kvm/initstate") || hasBtf("kvm") },
    bpf: await tryProgram(),
    lacking: lackingForBpf(),
    // The one in brackets: `none [integrity] confidentiality`.
    lockdown: /\[(\w+)\]/.exec(readText("/sys/kernel/security/lockdown") ?? "")?.[1],
  };
}

function hasBtf(name: string): boolean {
  return existsSync(`/sys/kernel/btf/${name}`);
}

async function tryProgram(): Promise<MemoryFacts["bpf"]> {
  try {
    const { KernelMemory } = await import("../os/bpf.ts");
    new KernelMemory().close();
    return { ok: true };
  } catch (error) {
    if (error instanceof KvmIrqError) return { error };
    const why = (error as Error).message.split("\n")[0];
    return { error: new KvmIrqError("bpf-unavailable", `the FFI can't be loaded: ${why}`) };
  }
}
