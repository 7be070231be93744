import { outranks, softwareEnabled } from "./apic-logic.ts";
import { bitsOf, hex, listed } from "./bits.ts";
import { takesInterrupts } from "./explain-vcpu.ts";
import type { FindingKind } from "./finding.ts";

/** What to look for at the local APICs and vCPUs. */
export const LAPIC_FINDINGS: readonly FindingKind[] = [
  {
    code: "apic-off-with-pending",
    severity: "error",
    *find({ cpus }) {
      for (const cpu of cpus) {
        const off = cpu.mode === "disabled" ? "off" : softwareEnabled(cpu) ? undefined : "software-disabled";
        if (off === undefined || cpu.lapic.irr.length === 0) continue;
        yield {
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
    *find({ cpus }) {
      for (const cpu of cpus) {
        const vector = cpu.lapic.irr.at(-1);
        if (vector === undefined || cpu.mode === "disabled" || !softwareEnabled(cpu)) continue;
        if (cpu.state?.mp_state !== "halted" || !takesInterrupts(cpu.state) || !outranks(cpu, vector))
          continue;
        yield {
          sentence: `vCPU ${cpu.vcpu} is halted with interrupts on while vector ${hex(vector)} is pending: nobody woke it`,
          evidence: `vcpus[${cpu.vcpu}].mp_state = halted, rflags bit 9 set, lapic[${cpu.vcpu}].irr has ${hex(vector)}, ppr below it`,
          remedy:
            "read again: a vCPU just being woken looks the same for microseconds; if it stays, the wake-up was lost, and any further interrupt shows whether it ever comes back",
        };
      }
    },
  },
  {
    code: "in-service-too-long",
    severity: "warning",
    *find({ cpus, previous }) {
      for (const { vcpu, lapic } of cpus) {
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
    *find({ snapshot, previous }) {
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
