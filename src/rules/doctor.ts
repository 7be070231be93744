import type { CapName } from "../abi/ioctl.ts";
import type { HostFacts } from "../kvm/probe.ts";
import type { MemoryFacts } from "../kvm/probe-memory.ts";

/** One thing that was looked at, and what to do about it. */
export interface Check {
  /** Stable, for scripts. */
  id: string;
  status: "ok" | "warning" | "failed";
  what: string;
  /** What to do; absent when it is fine. */
  remedy?: string;
}

/** The whole examination: `usable` tells whether scratch VMs work on this host. */
export interface Examination {
  usable: boolean;
  checks: Check[];
}

/** What each capability is needed for. Those that nothing works without are `required`. */
const CAPABILITIES: Partial<Record<CapName, { use: string; required?: true }>> = {
  KVM_CAP_IRQCHIP: { use: "in-kernel interrupt controllers: everything here", required: true },
  KVM_CAP_IRQ_INJECT_STATUS: { use: "telling delivered, coalesced and ignored apart" },
  KVM_CAP_IRQ_ROUTING: { use: "GSI routing" },
  KVM_CAP_SIGNAL_MSI: { use: "message-signalled interrupts" },
  KVM_CAP_IRQFD: { use: "interrupts through eventfds" },
  KVM_CAP_IRQFD_RESAMPLE: { use: "level interrupts through eventfds" },
  KVM_CAP_SPLIT_IRQCHIP: { use: "local APICs in the kernel, the rest in user space" },
  KVM_CAP_X2APIC_API: { use: "APIC ids above 255" },
};

const as =
  (status: Check["status"]) =>
  (id: string, what: string, remedy?: string): Check => ({
    id,
    status,
    what,
    ...(remedy === undefined ? {} : { remedy }),
  });
const ok = as("ok");
const warning = as("warning");
const failed = as("failed");

/** Judges what {@link HostFacts} tell. */
export function examine(facts: HostFacts): Examination {
  const checks = [
    platformCheck(facts),
    cpuCheck(facts),
    moduleCheck(facts),
    ...deviceChecks(facts),
    ...capabilityChecks(facts),
    ...trialCheck(facts),
    ptraceCheck(facts),
    tracefsCheck(facts),
    ...memoryChecks(facts.memory),
  ];
  return { usable: facts.trial !== undefined && "ok" in facts.trial, checks };
}

function platformCheck({ platform, machine, kernel }: HostFacts): Check {
  const what = `${platform} ${machine}, kernel ${kernel}`;
  if (platform === "linux" && machine === "x64") return ok("platform", what);
  const remedy = "KVM's PICs, IOAPIC and local APICs are on x86-64 Linux; elsewhere use `--backend model`";
  return failed("platform", what, remedy);
}

function cpuCheck({ cpu, opened, trial }: HostFacts): Check {
  const { vendor = "unknown vendor", flag } = cpu;
  if (flag !== undefined) return ok("cpu", `${vendor}, virtualization flag ${flag}`);
  const what = `${vendor}, no virtualization flag (vmx or svm)`;
  // In a VM the flag may be hidden although KVM works: then there is nothing to do about it.
  if (trial !== undefined && "ok" in trial) return ok("cpu", `${what}, yet KVM works`);
  const remedy = "enable VT-x or AMD-V in the firmware; in a VM, enable nested virtualization on its host";
  return (isThere(opened) ? warning : failed)("cpu", what, remedy);
}

/** Whether KVM is there, though this user may not be allowed to use it. */
function isThere(opened: HostFacts["opened"]): boolean {
  return "apiVersion" in opened || opened.error.code === "kvm-permission";
}

function moduleCheck({ module, opened, cpu }: HostFacts): Check {
  if (module !== undefined) {
    const apicv = "; CPUs run local APICs by themselves: traces see no injection, and no edge's EOI";
    return ok("module", `${module.name}${module.apicv ? apicv : ""}`);
  }
  if (isThere(opened)) return ok("module", "built into the kernel");
  const remedy = `modprobe ${cpu.flag === "svm" ? "kvm_amd" : "kvm_intel"} (as root)`;
  return failed("module", "neither kvm_intel nor kvm_amd is loaded", remedy);
}

function deviceChecks({ device, opened }: HostFacts): Check[] {
  const found =
    device === undefined
      ? failed("device", "no /dev/kvm", "load the KVM module; in a container pass `--device /dev/kvm`")
      : ok("device", `${device.path}, mode ${device.mode}, owner ${device.uid}:${device.gid}`);
  if ("apiVersion" in opened) return [found, ok("open", `opens, API version ${opened.apiVersion}`)];
  const { message, hint } = opened.error;
  return [found, failed("open", message, hint)];
}

function capabilityChecks({ opened, capabilities }: HostFacts): Check[] {
  if ("error" in opened) return [];
  return Object.entries(CAPABILITIES).map(([cap, { use, required }]) => {
    if ((capabilities[cap as CapName] ?? 0) > 0) return ok(cap, use);
    return (required === true ? failed : warning)(cap, `missing: ${use}`, "a newer kernel has it");
  });
}

function trialCheck({ trial }: HostFacts): Check[] {
  if (trial === undefined) return [];
  if ("ok" in trial) return [ok("trial", "a VM, an irqchip, a vCPU, a pulse and a dump")];
  const { message, hint } = trial.error;
  return [failed("trial", message, hint)];
}

function ptraceCheck({ ptraceScope = 0 }: HostFacts): Check {
  if (ptraceScope === 0) return ok("ptrace", "VMs of this user's other processes can be attached to");
  return warning(
    "ptrace",
    `ptrace_scope is ${ptraceScope}: attaching to another process's VM is restricted`,
    ptraceScope < 3
      ? "attach as root, or set kernel.yama.ptrace_scope=0 with sysctl"
      : "ptrace_scope 3 can't be lowered until the next boot",
  );
}

function tracefsCheck({ tracefs, mayTrace }: HostFacts): Check {
  const remedy = "mount -t tracefs tracefs /sys/kernel/tracing (as root), to trace interrupts";
  if (tracefs === undefined) return warning("tracefs", "tracefs is not mounted", remedy);
  if (mayTrace) return ok("tracefs", `mounted at ${tracefs}`);
  return warning("tracefs", `mounted at ${tracefs}, and not for this user`, "trace interrupts as root");
}

const PTRACE = "until then VMs of other processes are read by ptrace";

/** Whether VMs of other processes can be read in kernel memory. Nothing but that depends on it. */
function memoryChecks(facts: MemoryFacts): Check[] {
  return [btfCheck(facts), capabilityCheck(facts), lockdownCheck(facts), bpfCheck(facts)];
}

function btfCheck({ btf }: MemoryFacts): Check {
  if (btf.kernel && btf.kvm) return ok("btf", "the kernel describes its types");
  const [who, option] = btf.kernel
    ? ["the module kvm", "CONFIG_DEBUG_INFO_BTF_MODULES"]
    : ["the kernel", "CONFIG_DEBUG_INFO_BTF"];
  return warning("btf", `${who} does not describe its types`, `use a kernel with ${option}; ${PTRACE}`);
}

function capabilityCheck({ lacking }: MemoryFacts): Check {
  if (lacking.length === 0) return ok("capabilities", "CAP_BPF and CAP_PERFMON");
  const remedy = "run as root to read VMs of other processes in kernel memory";
  return warning("capabilities", `this user lacks ${lacking.join(" and ")}`, remedy);
}

function lockdownCheck({ lockdown }: MemoryFacts): Check {
  if (lockdown !== "confidentiality") return ok("lockdown", lockdown ?? "none that this user can see");
  const what = "confidentiality: the kernel's memory is closed to root too";
  return warning("lockdown", what, `boot with lockdown=integrity, or none; ${PTRACE}`);
}

function bpfCheck({ bpf }: MemoryFacts): Check {
  if ("ok" in bpf) return ok("bpf", "VMs of other processes can be read in kernel memory");
  const { message, hint } = bpf.error;
  return warning("bpf", message, hint);
}
