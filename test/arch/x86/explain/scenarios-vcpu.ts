import { runningVcpu } from "../../../support/reset.ts";
import { all, pin, type Scenario } from "./scenario.ts";

/** State of vCPUs, which ioctls on a scratch VM can read but a test does not set. */
export const VCPU_SCENARIOS: Scenario[] = [
  {
    name: "a vCPU that runs with interrupts on",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC",
    base: "ioapic",
    states: [runningVcpu(0)],
  },
  {
    name: "a vCPU that nobody runs: its VM is paused",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vCPU 0 is resumed",
    base: "ioapic",
    states: [runningVcpu(0, { run: false })],
  },
  {
    name: "RFLAGS.IF is clear",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once RFLAGS.IF is set",
    base: "ioapic",
    states: [runningVcpu(0, { rflags: 0x2 })],
  },
  {
    name: "a halted vCPU is woken",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC",
    base: "ioapic",
    states: [runningVcpu(0, { mp_state: "halted" })],
  },
  {
    name: "a vCPU halted with IF clear sleeps on",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once RFLAGS.IF is set",
    base: "ioapic",
    states: [runningVcpu(0, { mp_state: "halted", rflags: 0x2 })],
  },
  {
    name: "an application processor that was not started: its INIT discards what came before",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: vCPU 1 was not started yet, and the INIT that starts it discards what came before; the PIC way is blocked too: IMR bit 4",
    vcpus: 2,
    base: "ioapic",
    change: pin(4, { dest_id: 1 }),
    states: [runningVcpu(0), runningVcpu(1, { mp_state: "uninitialized", rflags: 0x2 })],
  },
  {
    name: "an INIT is what an application processor waits for that was not started",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 1 as an INIT through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: pin(20, { dest_id: 1, delivery_mode: "init" }),
    states: [runningVcpu(0), runningVcpu(1, { mp_state: "uninitialized", rflags: 0x2 })],
  },
  {
    name: "an application processor waits for SIPI",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 1 as vector 0x34 through the IOAPIC once vCPU 1 is started with SIPI",
    vcpus: 2,
    base: "ioapic",
    change: pin(4, { dest_id: 1 }),
    states: [runningVcpu(0), runningVcpu(1, { mp_state: "init_received", rflags: 0x2 })],
  },
  {
    name: "the interrupt shadow of STI",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vCPU 0 has executed one more instruction",
    base: "ioapic",
    states: [runningVcpu(0, { interrupt: { injected: false, nr: 0, soft: false, shadow: 2 } })],
  },
  {
    name: "the interrupt shadow of MOV SS holds even an NMI",
    gsi: 20,
    sentence:
      "GSI 20 would reach vCPU 0 as an NMI through the IOAPIC once vCPU 0 has executed one more instruction",
    base: "ioapic",
    change: pin(20, { delivery_mode: "nmi" }),
    states: [runningVcpu(0, { interrupt: { injected: false, nr: 0, soft: false, shadow: 1 } })],
  },
  {
    name: "the interrupt shadow of STI holds even an NMI, and on AMD may be of MOV SS",
    gsi: 20,
    sentence:
      "GSI 20 would reach vCPU 0 as an NMI through the IOAPIC once vCPU 0 has executed one more instruction",
    base: "ioapic",
    change: pin(20, { delivery_mode: "nmi" }),
    states: [runningVcpu(0, { interrupt: { injected: false, nr: 0, soft: false, shadow: 3 } })],
  },
  {
    name: "an INIT comes whatever the interrupt shadow",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as an INIT through the IOAPIC",
    base: "ioapic",
    change: pin(20, { delivery_mode: "init" }),
    states: [runningVcpu(0, { interrupt: { injected: false, nr: 0, soft: false, shadow: 3 } })],
  },
  {
    name: "an NMI while another is handled",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as an NMI through the IOAPIC once vCPU 0 executes IRET",
    base: "ioapic",
    change: pin(20, { delivery_mode: "nmi" }),
    states: [runningVcpu(0, { nmi: { injected: false, pending: 0, masked: true } })],
  },
  {
    name: "an NMI is taken with IF clear",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as an NMI through the IOAPIC",
    base: "ioapic",
    change: pin(20, { delivery_mode: "nmi" }),
    states: [runningVcpu(0, { rflags: 0x2 })],
  },
  {
    name: "a pending NMI comes first",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vCPU 0 has taken its NMI",
    base: "ioapic",
    states: [runningVcpu(0, { nmi: { injected: false, pending: 1, masked: false } })],
  },
  {
    name: "an exception comes first",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vCPU 0 has taken exception 14",
    base: "ioapic",
    states: [runningVcpu(0, { exception: { injected: true, pending: false, nr: 14 } })],
  },
  {
    name: "an interrupt that is being injected comes first",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vCPU 0 has taken vector 0x41",
    base: "ioapic",
    states: [runningVcpu(0, { interrupt: { injected: true, nr: 0x41, soft: false, shadow: 0 } })],
  },
  {
    name: "system management mode holds an INIT",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as an INIT through the IOAPIC once vCPU 0 leaves SMM",
    base: "ioapic",
    change: pin(20, { delivery_mode: "init" }),
    states: [runningVcpu(0, { smi: { smm: true, pending: false } })],
  },
  {
    name: "system management mode takes a vector where its handler has set IF",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC",
    base: "ioapic",
    states: [runningVcpu(0, { smi: { smm: true, pending: false } })],
  },
  {
    name: "the destination's local APIC is off",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: the local APIC of vCPU 0 is off (apic_base bit 11); the PIC way is blocked too: IMR bit 4",
    base: "ioapic",
    states: [runningVcpu(0, { apic_base: 0xfee0_0100 })],
  },
  {
    name: "an APIC that is off has vectors pending",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: the local APIC of vCPU 0 is off (apic_base bit 11); the PIC way is blocked too: IMR bit 4",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.irr = [0x51];
    },
    states: [runningVcpu(0, { apic_base: 0xfee0_0100 })],
    findings: ["apic-off-with-pending"],
  },
  {
    name: "with its APIC off, a vCPU takes INTR straight from the PIC",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "pic",
    change: ({ lapic }) => {
      lapic[0]!.lvt_lint0 = 0x1_0000;
    },
    states: [runningVcpu(0, { apic_base: 0xfee0_0100 })],
  },
  {
    name: "an x2APIC answers to the vCPU's number",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 1 as vector 0x44 through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: all(
      ({ lapic }) => {
        lapic[1]!.id = 0;
      },
      pin(20, { dest_id: 1 }),
    ),
    states: [runningVcpu(0, { apic_base: 0xfee0_0d00 }), runningVcpu(1, { apic_base: 0xfee0_0c00 })],
  },
  {
    name: "an x2APIC's logical id follows from its number",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 1 as vector 0x44 through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: all(
      ({ lapic }) => {
        lapic[0]!.ldr = 1;
        lapic[1]!.ldr = 2;
      },
      pin(20, { dest_mode: "logical", dest_id: 2 }),
    ),
    states: [runningVcpu(0, { apic_base: 0xfee0_0d00 }), runningVcpu(1, { apic_base: 0xfee0_0c00 })],
  },
  {
    name: "an x2APIC that is software-disabled answers to its logical id, and takes an NMI",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 1 as an NMI through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: all(
      ({ lapic }) => {
        lapic[0]!.ldr = 1;
        lapic[1]!.ldr = 2;
        lapic[1]!.svr = 0xff;
      },
      pin(20, { dest_mode: "logical", dest_id: 2, delivery_mode: "nmi" }),
    ),
    states: [runningVcpu(0, { apic_base: 0xfee0_0d00 }), runningVcpu(1, { apic_base: 0xfee0_0c00 })],
  },
  {
    name: "a logical destination that no x2APIC has: its LDR can't be written",
    gsi: 20,
    sentence: "GSI 20 is blocked: logical destination 0x04 of IOAPIC pin 20 matches no local APIC",
    vcpus: 2,
    base: "ioapic",
    change: all(
      ({ lapic }) => {
        lapic[0]!.ldr = 1;
        lapic[1]!.ldr = 2;
      },
      pin(20, { dest_mode: "logical", dest_id: 4 }),
    ),
    states: [runningVcpu(0, { apic_base: 0xfee0_0d00 }), runningVcpu(1, { apic_base: 0xfee0_0c00 })],
    findings: ["no-destination"],
  },
  {
    name: "an edge came before the guest unmasked the pin: no edge counts until the line falls",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 has an edge in IRR already (its line was raised again without a fall, or while it was masked): no edge counts until it falls",
    base: "ioapic",
    change: all(pin(20, { trig_mode: "edge" }), ({ ioapic }) => {
      ioapic.irr = 1 << 20;
    }),
    states: [runningVcpu(0)],
    findings: ["edge-lost"],
  },
  {
    name: "a broadcast arrives at whoever is ready",
    gsi: 20,
    sentence: "GSI 20 would reach vCPUs 0 and 1 as vector 0x44 through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: pin(20, { dest_id: 0xff }),
    states: [runningVcpu(0, { rflags: 0x2 }), runningVcpu(1)],
  },
];
