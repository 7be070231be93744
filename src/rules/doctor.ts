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
  if (platform === "linux" && machine === "x64") return { id: "platform", status: "ok", what };
  return {
    id: "platform",
    status: "failed",
    what,
    remedy: "KVM's PICs, IOAPIC and local APICs are on x86-64 Linux; elsewhere use `--backend model`",
  };
}

function cpuCheck({ cpu, opened, trial }: HostFacts): Check {
  const { vendor = "unknown vendor", flag } = cpu;
  if (flag !== undefined) return { id: "cpu", status: "ok", what: `${vendor}, virtualization flag ${flag}` };
  const what = `${vendor}, no virtualization flag (vmx or svm)`;
  // In a VM the flag may be hidden although KVM works: then there is nothing to do about it.
  if (trial !== undefined && "ok" in trial)
    return { id: "cpu", status: "ok", what: `${what}, yet KVM works` };
  return {
    id: "cpu",
    status: "apiVersion" in opened || isPermission(opened) ? "warning" : "failed",
    what,
    remedy: "enable VT-x or AMD-V in the firmware; in a VM, enable nested virtualization on its host",
  };
}

/** KVM is there, and this user may not use it. */
function isPermission(opened: HostFacts["opened"]): boolean {
  return "error" in opened && opened.error.code === "kvm-permission";
}

function moduleCheck({ module, opened, cpu }: HostFacts): Check {
  if (module !== undefined) {
    const what = module.apicv
      ? `${module.name}; CPUs run local APICs by themselves: traces see no injection, and no edge's EOI`
      : module.name;
    return { id: "module", status: "ok", what };
  }
  if ("apiVersion" in opened || isPermission(opened)) {
    return { id: "module", status: "ok", what: "built into the kernel" };
  }
  return {
    id: "module",
    status: "failed",
    what: "neither kvm_intel nor kvm_amd is loaded",
    remedy: `modprobe ${cpu.flag === "svm" ? "kvm_amd" : "kvm_intel"} (as root)`,
  };
}

function deviceChecks({ device, opened }: HostFacts): Check[] {
  const found: Check =
    device === undefined
      ? {
          id: "device",
          status: "failed",
          what: "no /dev/kvm",
          remedy: "load the KVM module; in a container pass `--device /dev/kvm`",
        }
      : {
          id: "device",
          status: "ok",
          what: `${device.path}, mode ${device.mode}, owner ${device.uid}:${device.gid}`,
        };
  if ("apiVersion" in opened) {
    return [found, { id: "open", status: "ok", what: `opens, API version ${opened.apiVersion}` }];
  }
  const { message, hint } = opened.error;
  return [
    found,
    { id: "open", status: "failed", what: message, ...(hint === undefined ? {} : { remedy: hint }) },
  ];
}

function capabilityChecks({ opened, capabilities }: HostFacts): Check[] {
  if ("error" in opened) return [];
  return Object.entries(CAPABILITIES).map(([cap, { use, required }]): Check => {
    const value = capabilities[cap as CapName] ?? 0;
    if (value > 0) return { id: cap, status: "ok", what: use };
    return {
      id: cap,
      status: required === true ? "failed" : "warning",
      what: `missing: ${use}`,
      remedy: "a newer kernel has it",
    };
  });
}

function trialCheck({ trial }: HostFacts): Check[] {
  if (trial === undefined) return [];
  if ("ok" in trial)
    return [{ id: "trial", status: "ok", what: "a VM, an irqchip, a vCPU, a pulse and a dump" }];
  const { message, hint } = trial.error;
  return [{ id: "trial", status: "failed", what: message, ...(hint === undefined ? {} : { remedy: hint }) }];
}

function ptraceCheck({ ptraceScope }: HostFacts): Check {
  const id = "ptrace";
  if (ptraceScope === undefined || ptraceScope === 0) {
    return { id, status: "ok", what: "VMs of this user's other processes can be attached to" };
  }
  return {
    id,
    status: "warning",
    what: `ptrace_scope is ${ptraceScope}: attaching to another process's VM is restricted`,
    remedy:
      ptraceScope < 3
        ? "attach as root, or set kernel.yama.ptrace_scope=0 with sysctl"
        : "ptrace_scope 3 can't be lowered until the next boot",
  };
}

function tracefsCheck({ tracefs, mayTrace }: HostFacts): Check {
  if (tracefs !== undefined && mayTrace) {
    return { id: "tracefs", status: "ok", what: `mounted at ${tracefs}` };
  }
  if (tracefs !== undefined) {
    return {
      id: "tracefs",
      status: "warning",
      what: `mounted at ${tracefs}, and not for this user`,
      remedy: "trace interrupts as root",
    };
  }
  return {
    id: "tracefs",
    status: "warning",
    what: "tracefs is not mounted",
    remedy: "mount -t tracefs tracefs /sys/kernel/tracing (as root), to trace interrupts",
  };
}

const PTRACE = "until then VMs of other processes are read by ptrace";

/** Whether VMs of other processes can be read in kernel memory. Nothing but that depends on it. */
function memoryChecks(facts: MemoryFacts): Check[] {
  return [btfCheck(facts), capabilityCheck(facts), lockdownCheck(facts), bpfCheck(facts)];
}

function btfCheck({ btf }: MemoryFacts): Check {
  const id = "btf";
  if (btf.kernel && btf.kvm) return { id, status: "ok", what: "the kernel describes its types" };
  return {
    id,
    status: "warning",
    what: btf.kernel
      ? "the module kvm does not describe its types"
      : "the kernel does not describe its types",
    remedy: btf.kernel
      ? `use a kernel with CONFIG_DEBUG_INFO_BTF_MODULES; ${PTRACE}`
      : `use a kernel with CONFIG_DEBUG_INFO_BTF; ${PTRACE}`,
  };
}

function capabilityCheck({ lacking }: MemoryFacts): Check {
  const id = "capabilities";
  if (lacking.length === 0) return { id, status: "ok", what: "CAP_BPF and CAP_PERFMON" };
  return {
    id,
    status: "warning",
    what: `this user lacks ${lacking.join(" and ")}`,
    remedy: "run as root to read VMs of other processes in kernel memory",
  };
}

function lockdownCheck({ lockdown }: MemoryFacts): Check {
  const id = "lockdown";
  if (lockdown !== "confidentiality") {
    return { id, status: "ok", what: lockdown ?? "none that this user can see" };
  }
  return {
    id,
    status: "warning",
    what: "confidentiality: the kernel's memory is closed to root too",
    remedy: `boot with lockdown=integrity, or none; ${PTRACE}`,
  };
}

function bpfCheck({ bpf }: MemoryFacts): Check {
  const id = "bpf";
  if ("ok" in bpf) return { id, status: "ok", what: "VMs of other processes can be read in kernel memory" };
  const { message, hint } = bpf.error;
  return { id, status: "warning", what: message, ...(hint === undefined ? {} : { remedy: hint }) };
}
