import { bitsOf, hex, listed } from "../../../abi/bits.ts";
import type { FindingKind } from "../../../rules/finding.ts";
import { interruptible, takesInterrupts } from "../vcpu/explain.ts";
import { cpusOf, outranks, softwareEnabled } from "./logic.ts";

/**
 * Sources that stop a vCPU to read it. That makes KVM look at its local APIC again, and what comes in while the
 * vCPU is held is not taken: a halted vCPU with something pending is the reader's own doing.
 */
const STOPPED_TO_READ: readonly string[] = ["process", "session", "scratch"];

/** What to look for at the local APICs and vCPUs. */
export const LAPIC_FINDINGS: readonly FindingKind[] = [
  {
    code: "apic-off-with-pending",
    severity: "error",
    *find({ cpus, guest }) {
      for (const cpu of cpus) {
        const off = cpu.mode === "disabled" ? "off" : softwareEnabled(cpu) ? undefined : "software-disabled";
        if (off === undefined || cpu.lapic.irr.length === 0) continue;
        yield {
          // Out of use, or in a transition such as a kexec: nothing is lost while interrupts are off.
          ...(guest && cpu.state !== undefined && !interruptible(cpu) ? { severity: "info" as const } : {}),
          sentence: `the local APIC of vCPU ${cpu.vcpu} is ${off} and has vector ${listed(cpu.lapic.irr.map(hex))} pending`,
          evidence: `lapic[${cpu.vcpu}].irr = [${cpu.lapic.irr.map(hex).join(", ")}], ${off === "off" ? `vcpus[${cpu.vcpu}].apic_base bit 11 clear` : `lapic[${cpu.vcpu}].svr bit 8 clear`}`,
          remedy:
            off === "off"
              ? "turn the local APIC on again; whoever turned it off should have let it drain first"
              : "enable the local APIC; KVM still hands these to the vCPU, and accepts no further vector",
        };
      }
    },
  },
  {
    code: "halted-with-pending",
    severity: "error",
    *find({ cpus, snapshot, previous }) {
      if (STOPPED_TO_READ.includes(snapshot.source.kind)) return;
      for (const cpu of cpus) {
        const vector = cpu.lapic.irr.at(-1);
        if (vector === undefined || cpu.mode === "disabled" || !softwareEnabled(cpu)) continue;
        const before = previous && cpusOf(previous)?.find(({ vcpu }) => vcpu === cpu.vcpu);
        if (before?.state?.mp_state !== "halted" || !before.lapic.irr.includes(vector)) continue;
        if (cpu.state?.mp_state !== "halted" || !takesInterrupts(cpu.state) || !outranks(cpu, vector))
          continue;
        yield {
          sentence: `vCPU ${cpu.vcpu} is halted with interrupts on while vector ${hex(vector)} is pending, in two readings: nobody woke it`,
          evidence: `vcpus[${cpu.vcpu}].mp_state = halted, rflags bit 9 set, lapic[${cpu.vcpu}].irr has ${hex(vector)}, ppr below it`,
          remedy:
            "the wake-up was lost: any further interrupt shows whether the vCPU ever comes back; a VM that nobody ran between the readings looks the same",
        };
      }
    },
  },
  {
    code: "in-service-too-long",
    severity: "warning",
    *find({ cpus, previous, guest }) {
      for (const { vcpu, lapic, state } of cpus) {
        if (guest && state?.run === false) continue;
        const before = previous?.chips.lapic?.find((other) => other.vcpu === vcpu);
        const still = lapic.isr.filter((vector) => before?.isr.includes(vector));
        if (still.length === 0) continue;
        yield {
          sentence: `vector ${listed(still.map(hex))} is in service at vCPU ${vcpu} in two readings: its EOI is late (or it is in service again)`,
          evidence: `lapic[${vcpu}].isr has ${still.map(hex).join(", ")} before and now`,
          remedy:
            "the guest's handler has to write the EOI register; vectors of that class and below wait for it",
        };
      }
    },
  },
  {
    code: "pic-in-service-too-long",
    severity: "warning",
    *find({ snapshot, previous, paused }) {
      if (paused) return;
      for (const chip of ["pic1", "pic2"] as const) {
        const still = bitsOf((snapshot.chips[chip]?.isr ?? 0) & (previous?.chips[chip]?.isr ?? 0));
        if (still.length === 0) continue;
        yield {
          sentence: `${chip} pin ${listed(still.map(String))} is in service in two readings: its EOI is late (or it is in service again)`,
          evidence: `${chip}.isr bit ${still.join(", ")} set before and now`,
          remedy: `the guest's handler has to send an EOI to ${chip}${chip === "pic2" ? " and to pic1" : ""}; pins of lower priority wait for it`,
        };
      }
    },
  },
];
