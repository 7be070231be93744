import { existsSync, statfsSync, statSync } from "node:fs";
import { release } from "node:os";
import { KvmIrqError } from "../abi/error.ts";
import { CAP, type CapName } from "../abi/ioctl.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { readText } from "../os/files.ts";
import { type KvmModule, kvmModule } from "./kvm-module.ts";
import { type MemoryFacts, probeMemory } from "./probe-memory.ts";

/** What this host's KVM is like, as far as it can be found out without harm. */
export interface HostFacts {
  kernel: string;
  platform: string;
  machine: string;
  module: KvmModule | undefined;
  /** The vendor string of the CPU, and the flag by which it offers virtualization. */
  cpu: { vendor: string | undefined; flag: "vmx" | "svm" | undefined };
  device: { path: string; mode: string; uid: number; gid: number } | undefined;
  /** What opening the device came to. */
  opened: { apiVersion: number } | { error: KvmIrqError };
  capabilities: Partial<Record<CapName, number>>;
  /** What making a VM with an irqchip and a vCPU, raising a line and reading the chips came to. */
  trial: { ok: true } | { error: KvmIrqError } | undefined;
  /** `/proc/sys/kernel/yama/ptrace_scope`; absent without Yama. */
  ptraceScope: number | undefined;
  /** Where tracefs is mounted. */
  tracefs: string | undefined;
  /** Whether this user may look into it. */
  mayTrace: boolean;
  memory: MemoryFacts;
}

const DEVICE = "/dev/kvm";
/** `TRACEFS_MAGIC` of <linux/magic.h>. */
const TRACEFS_MAGIC = 0x74726163;
const TRACEFS = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/** Finds out about this host. Never throws: what can't be found out is part of the answer. */
export async function probeHost(): Promise<HostFacts> {
  const cpuinfo = readText("/proc/cpuinfo") ?? "";
  return {
    kernel: release(),
    platform: process.platform,
    machine: process.arch,
    module: kvmModule(),
    cpu: {
      vendor: /^vendor_id\s*:\s*(.+)$/m.exec(cpuinfo)?.[1],
      flag: /^flags\s*:.*\b(vmx|svm)\b/m.exec(cpuinfo)?.[1] as "vmx" | "svm" | undefined,
    },
    device: deviceFacts(),
    ...(await kvmFacts()),
    ptraceScope: numberIn("/proc/sys/kernel/yama/ptrace_scope"),
    ...tracefsFacts(),
    memory: await probeMemory(),
  };
}

/** Whoever may not look into tracefs still sees that it is mounted. */
function tracefsFacts(): Pick<HostFacts, "tracefs" | "mayTrace"> {
  const readable = TRACEFS.find((path) => existsSync(`${path}/events`));
  if (readable !== undefined) return { tracefs: readable, mayTrace: true };
  return { tracefs: TRACEFS.find(isTracefs), mayTrace: false };
}

function isTracefs(path: string): boolean {
  try {
    return statfsSync(path).type === TRACEFS_MAGIC;
  } catch {
    return false;
  }
}

function deviceFacts(): HostFacts["device"] {
  const stats = statSync(DEVICE, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  return { path: DEVICE, mode: (stats.mode & 0o777).toString(8), uid: stats.uid, gid: stats.gid };
}

async function kvmFacts(): Promise<Pick<HostFacts, "opened" | "capabilities" | "trial">> {
  try {
    // The FFI has binaries for some platforms only; on others, loading it is what fails.
    const { Kvm } = await import("./kvm.ts");
    using kvm = Kvm.open();
    const capabilities: Partial<Record<CapName, number>> = {};
    for (const cap of Object.keys(CAP) as CapName[]) capabilities[cap] = kvm.checkExtension(cap);
    return { opened: { apiVersion: kvm.apiVersion() }, capabilities, trial: await tryMachine() };
  } catch (error) {
    return { opened: { error: asKvmIrqError(error) }, capabilities: {}, trial: undefined };
  }
}

async function tryMachine(): Promise<HostFacts["trial"]> {
  try {
    const { KvmMachine } = await import("./kvm-machine.ts");
    const machine = new KvmMachine(1);
    try {
      machine.setIrqLine(4, 1);
      machine.setIrqLine(4, 0);
      for (const id of [...HOST_ARCH.chips(1), "vcpu[0]"]) machine.readChip(id);
    } finally {
      machine.close();
    }
    return { ok: true };
  } catch (error) {
    return { error: asKvmIrqError(error) };
  }
}

function asKvmIrqError(error: unknown): KvmIrqError {
  if (error instanceof KvmIrqError) return error;
  return new KvmIrqError(
    "kvm-unavailable",
    `the FFI can't be loaded: ${(error as Error).message.split("\n")[0]}`,
    {
      hint: "ffi-rs has binaries for x64 and arm64 Linux (glibc and musl), macOS and Windows; run `npm install` on this machine",
    },
  );
}

function numberIn(path: string): number | undefined {
  const text = readText(path);
  return text === undefined ? undefined : Number(text);
}
