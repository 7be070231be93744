import { runningVcpu } from "../../../support/reset.ts";
import { all, pin, type Scenario } from "./scenario.ts";

/** States rebuilt from public reports of interrupts that went astray. */
export const REPORT_SCENARIOS: Scenario[] = [
  {
    name: "a device's GSI arrives as vector 6: the entry was never programmed, the PIC never initialised",
    gsi: 6,
    sentence:
      "GSI 6 would reach vCPU 0 as vector 0x06 through the PIC; pic1 was never given a vector base, so that vector 0x06 is an exception's",
    report: "firecracker-microvm/firecracker#5805",
    vcpus: 1,
    change: ({ lapic, pic1 }) => {
      lapic[0]!.svr = 0x1ff;
      pic1.irr = 0x40;
    },
    findings: ["pic-not-initialised"],
  },
  {
    name: "another device's GSI arrives as an exception, for the same reason",
    gsi: 5,
    sentence:
      "GSI 5 would reach vCPU 0 as vector 0x35 through the IOAPIC, and as vector 0x05 through the PIC; pic1 was never given a vector base, so that vector 0x05 is an exception's",
    report: "asterinas/asterinas#3615",
    change: all(
      ({ lapic }) => {
        lapic[0]!.svr = 0x1ff;
      },
      pin(5, { vector: 0x35, mask: false }),
    ),
    findings: ["double-delivery"],
  },
  {
    name: "a pin fires though the OS thinks it masked: it is not, and its line is still high",
    gsi: 11,
    sentence:
      "GSI 11 is held: IOAPIC pin 11 waits for the EOI of vector 0x46 (remote IRR), which is in service at vCPU 0; the line is still high, so it fires again then; the PIC way is blocked: pic2 IMR bit 3",
    report: "managarm/managarm#1136",
    base: "ioapic",
    change: all(
      pin(11, { vector: 70, trig_mode: "level", remote_irr: true }),
      pin(22, { mask: true }),
      ({ lapic, ioapic, pic2 }) => {
        lapic[0]!.isr = [70];
        lapic[0]!.tmr = [70];
        ioapic.irr = 1 << 11;
        pic2.last_irr = 0x08;
        pic2.irr = 0x08;
        pic2.elcr = 0x08;
      },
    ),
    holds: [11],
  },
  {
    name: "no timer interrupt arrives: the firmware left LINT0 closed",
    gsi: 0,
    sentence:
      "GSI 0 is blocked: IOAPIC pin 0 is masked (redirtbl[0] bit 16); the PIC way is blocked too: LINT0 of vCPU 0 is masked (lvt_lint0 bit 16)",
    report: "unikraft/unikraft#516",
    base: "pic",
    change: ({ lapic, pic1 }) => {
      lapic[0]!.lvt_lint0 = 0x1_0000;
      pic1.irr = 0x01;
    },
    findings: ["intr-goes-nowhere"],
  },
  {
    name: "a halted vCPU has an undelivered vector",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x44 through the IOAPIC",
    report: "microsoft/openvmm#3839",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.irr = [0x44];
    },
    states: [runningVcpu(0, { mp_state: "halted" })],
  },
  {
    name: "a software disable while a vector was pending",
    gsi: 20,
    sentence: "GSI 20 is blocked: the local APIC of vCPU 0 is software-disabled (svr bit 8)",
    report: "microsoft/openvmm#3839",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.svr = 0xff;
      lapic[0]!.irr = [0x44];
    },
    states: [runningVcpu(0, { mp_state: "halted" })],
    findings: ["apic-off-with-pending"],
  },
];
