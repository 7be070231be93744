import { type AllChips, all, pin, type Scenario } from "./scenario.ts";

/** Every vCPU has a bit of its own, as an OS sets up the flat model. */
function flat({ lapic }: AllChips): void {
  for (const one of lapic) one.ldr = 2 ** (24 + one.vcpu);
}

/** Every vCPU in a cluster of its own: 1, 2, and so on. */
function cluster({ lapic }: AllChips): void {
  for (const one of lapic) Object.assign(one, { dfr: 0x0fff_ffff, ldr: (one.vcpu + 1) * 2 ** 28 + 2 ** 24 });
}

/** The IOAPIC, destinations, and local APICs. */
export const IOAPIC_SCENARIOS: Scenario[] = [
  {
    name: "a programmed pin reaches the local APIC",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC",
    base: "ioapic",
  },
  {
    name: "a GSI above 15 has the IOAPIC alone",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x44 through the IOAPIC",
    base: "ioapic",
  },
  {
    name: "a scratch VM takes it once a guest runs",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x44 through the IOAPIC once a guest runs",
    base: "ioapic",
    guest: false,
  },
  {
    name: "both ways are blocked",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: IMR bit 4",
    base: "ioapic",
    change: pin(4, { mask: true }),
  },
  {
    name: "a masked pin without a PIC way",
    gsi: 20,
    sentence: "GSI 20 is blocked: IOAPIC pin 20 is masked (redirtbl[20] bit 16)",
    base: "ioapic",
    change: pin(20, { mask: true }),
  },
  {
    name: "a GSI beyond the routing",
    gsi: 24,
    sentence: "GSI 24 is blocked: the default routing takes it to no chip",
    base: "ioapic",
  },
  {
    name: "QEMU's routing takes GSI 0 to IOAPIC pin 2",
    gsi: 0,
    sentence: "GSI 0 would reach vCPU 0 as vector 0x32 through the IOAPIC",
    base: "ioapic",
    routing: "qemu",
  },
  {
    name: "QEMU's routing takes GSI 2 nowhere",
    gsi: 2,
    sentence: "GSI 2 is blocked: the qemu routing takes it to no chip",
    base: "ioapic",
    routing: "qemu",
  },
  {
    name: "a route of one's own",
    gsi: 30,
    sentence: "GSI 30 would reach vCPU 0 as vector 0x37 through the IOAPIC",
    base: "ioapic",
    routing: [{ gsi: 30, chip: "ioapic", pin: 7 }],
  },
  {
    name: "PIC and IOAPIC are both open",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC, and as vector 0x24 through the PIC",
    base: "ioapic",
    change: ({ pic1 }) => {
      pic1.imr = 0xef;
    },
    findings: ["double-delivery"],
  },
  {
    name: "an open pin whose local APIC takes no vectors brings nothing twice",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "ioapic",
    change: ({ pic1, lapic }) => {
      pic1.imr = 0xef;
      lapic[0]!.svr = 0xff;
    },
  },
  {
    name: "an open pin whose vector is never taken brings nothing twice",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "ioapic",
    change: all(pin(4, { vector: 6 }), ({ pic1 }) => {
      pic1.imr = 0xef;
    }),
    findings: ["illegal-vector"],
  },
  {
    name: "vector below 16 enters the IRR and stays there",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: vector 0x06 is below 16: it enters the IRR of vCPU 0 and is never taken from there",
    base: "ioapic",
    change: pin(20, { vector: 6, trig_mode: "edge" }),
    findings: ["illegal-vector"],
  },
  {
    name: "a vector of the exceptions is delivered all the same",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x13 through the IOAPIC",
    base: "ioapic",
    change: pin(20, { vector: 0x13 }),
    findings: ["exception-vector"],
  },
  {
    name: "a level pin waits for the EOI of its vector",
    gsi: 20,
    sentence:
      "GSI 20 is held: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is in service at vCPU 0",
    base: "ioapic",
    change: all(pin(20, { remote_irr: true }), ({ lapic }) => {
      lapic[0]!.isr = [0x44];
      lapic[0]!.tmr = [0x44];
    }),
  },
  {
    name: "a level pin whose line is still high fires again after the EOI",
    gsi: 20,
    sentence:
      "GSI 20 is held: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is in service at vCPU 0; the line is still high, so it fires again then",
    base: "ioapic",
    change: all(pin(20, { remote_irr: true }), ({ lapic, ioapic }) => {
      lapic[0]!.isr = [0x44];
      lapic[0]!.tmr = [0x44];
      ioapic.irr = 1 << 20;
    }),
    holds: [20],
  },
  {
    name: "a level pin waits for a vector that is pending",
    gsi: 20,
    sentence:
      "GSI 20 is held: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is pending at vCPU 1",
    vcpus: 2,
    base: "ioapic",
    change: all(pin(20, { remote_irr: true, dest_id: 1 }), ({ lapic }) => {
      lapic[1]!.irr = [0x44];
      lapic[1]!.tmr = [0x44];
    }),
  },
  {
    name: "remote IRR is set and nobody serves the vector",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which no local APIC has pending or in service",
    base: "ioapic",
    change: pin(20, { remote_irr: true }),
    findings: ["remote-irr-stuck"],
  },
  {
    name: "a level pin has sent an NMI, which no EOI ends",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), but sends with delivery mode nmi, which gets none",
    base: "ioapic",
    change: pin(20, { remote_irr: true, delivery_mode: "nmi" }),
    findings: ["remote-irr-stuck"],
  },
  {
    name: "an edge of the same vector takes the EOI away from a level pin",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is pending at vCPU 0 as an edge (TMR bit clear): that EOI does not reach the IOAPIC",
    base: "ioapic",
    change: all(pin(20, { remote_irr: true }), ({ lapic, ioapic }) => {
      lapic[0]!.irr = [0x44];
      ioapic.irr = 1 << 20;
    }),
    holds: [20],
    findings: ["remote-irr-stuck"],
  },
  {
    name: "directed EOI keeps the EOI from the IOAPIC",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is in service at vCPU 0 with directed EOI (svr bit 12): that EOI does not reach the IOAPIC",
    base: "ioapic",
    change: all(pin(20, { remote_irr: true }), ({ lapic }) => {
      Object.assign(lapic[0]!, { svr: 0x11ff, isr: [0x44], tmr: [0x44] });
    }),
    findings: ["remote-irr-stuck"],
  },
  {
    name: "another vCPU that serves an edge of the same number does not hide a stuck pin",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is in service at vCPU 1 as an edge (TMR bit clear): that EOI does not reach the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: all(pin(20, { remote_irr: true }), ({ lapic }) => {
      lapic[1]!.isr = [0x44];
    }),
    findings: ["remote-irr-stuck"],
  },
  {
    name: "another vCPU that serves a level of the same number frees the pin",
    gsi: 20,
    sentence:
      "GSI 20 is held: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which is in service at vCPU 1",
    vcpus: 2,
    base: "ioapic",
    change: all(pin(20, { remote_irr: true }), ({ lapic }) => {
      Object.assign(lapic[0]!, { isr: [0x44] });
      Object.assign(lapic[1]!, { isr: [0x44], tmr: [0x44] });
    }),
  },
  {
    name: "a level line is asserted and masked",
    gsi: 20,
    sentence: "GSI 20 is blocked: IOAPIC pin 20 is masked (redirtbl[20] bit 16)",
    base: "ioapic",
    change: all(pin(20, { mask: true }), ({ ioapic }) => {
      ioapic.irr = 1 << 20;
    }),
    holds: [20],
    findings: ["asserted-but-masked"],
  },
  {
    name: "an edge came while the pin was masked",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: pic1 pin 4 is high already and its edge was taken",
    base: "ioapic",
    change: all(pin(4, { mask: true }), ({ ioapic, pic1 }) => {
      ioapic.irr = 1 << 4;
      pic1.last_irr = 0x10;
    }),
    holds: [4],
    findings: ["edge-lost"],
  },
  {
    name: "a line that was raised again without a fall",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 has an edge in IRR already (its line was raised again without a fall, or while it was masked): no edge counts until it falls; the PIC way is blocked too: pic1 pin 4 is high already and its edge was taken",
    base: "ioapic",
    change: ({ ioapic, pic1, lapic }) => {
      ioapic.irr = 1 << 4;
      pic1.last_irr = 0x10;
      lapic[0]!.irr = [0x34];
    },
    holds: [4, 4],
    findings: ["edge-lost"],
  },
  {
    name: "an edge whose line stays high was delivered",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: the line of IOAPIC pin 4 is high already and its edge was taken (unless KVM_SET_IRQCHIP set the IOAPIC since); the PIC way is blocked too: pic1 pin 4 is high already and its edge was taken",
    base: "ioapic",
    change: ({ pic1 }) => {
      pic1.last_irr = 0x10;
    },
    holds: [4],
  },
  {
    name: "an edge came while the pin was masked, and no PIC sees it",
    gsi: 20,
    sentence: "GSI 20 is blocked: IOAPIC pin 20 is masked (redirtbl[20] bit 16)",
    base: "ioapic",
    change: all(pin(20, { mask: true, trig_mode: "edge" }), ({ ioapic }) => {
      ioapic.irr = 1 << 20;
    }),
    holds: [20],
    findings: ["edge-lost"],
  },
  {
    name: "the RTC's pin coalesces until its EOI",
    gsi: 8,
    sentence:
      "GSI 8 is held: KVM coalesces IOAPIC pin 8, the RTC's, until vector 0x38 gets its EOI at vCPU 0; the PIC way is blocked: pic2 IMR bit 0",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x38];
    },
  },
  {
    name: "a physical destination that no local APIC has",
    gsi: 20,
    sentence: "GSI 20 is blocked: physical destination 0x07 of IOAPIC pin 20 matches no local APIC",
    base: "ioapic",
    change: pin(20, { dest_id: 7 }),
    findings: ["no-destination"],
  },
  {
    name: "a physical destination on the second vCPU",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 1 as vector 0x44 through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: pin(20, { dest_id: 1 }),
  },
  {
    name: "the physical broadcast",
    gsi: 20,
    sentence: "GSI 20 would reach vCPUs 0, 1 and 2 as vector 0x44 through the IOAPIC",
    vcpus: 3,
    base: "ioapic",
    change: pin(20, { dest_id: 0xff }),
  },
  {
    name: "a logical destination while the LDRs are empty",
    gsi: 20,
    sentence: "GSI 20 is blocked: logical destination 0x01 of IOAPIC pin 20 matches no local APIC",
    vcpus: 2,
    base: "ioapic",
    change: pin(20, { dest_mode: "logical", dest_id: 1 }),
    findings: ["no-destination"],
  },
  {
    name: "a logical destination in the flat model",
    gsi: 20,
    sentence: "GSI 20 would reach vCPUs 0 and 2 as vector 0x44 through the IOAPIC",
    vcpus: 3,
    base: "ioapic",
    change: all(flat, pin(20, { dest_mode: "logical", dest_id: 0b101 })),
  },
  {
    name: "a logical destination in the cluster model",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 1 as vector 0x44 through the IOAPIC",
    vcpus: 2,
    base: "ioapic",
    change: all(cluster, pin(20, { dest_mode: "logical", dest_id: 0x21 })),
  },
  {
    name: "a logical destination in a cluster that nobody is in",
    gsi: 20,
    sentence: "GSI 20 is blocked: logical destination 0x31 of IOAPIC pin 20 matches no local APIC",
    vcpus: 2,
    base: "ioapic",
    change: all(cluster, pin(20, { dest_mode: "logical", dest_id: 0x31 })),
    findings: ["no-destination"],
  },
  {
    name: "lowest priority picks one by the vector",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 2 as vector 0x44 through the IOAPIC",
    vcpus: 3,
    base: "ioapic",
    change: all(flat, pin(20, { dest_mode: "logical", dest_id: 0b111, delivery_mode: "lowest-priority" })),
  },
  {
    name: "lowest priority falls on an absent local APIC",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: lowest priority of IOAPIC pin 20 falls on a bit of logical destination 0x7f that no enabled local APIC has",
    vcpus: 2,
    base: "ioapic",
    change: all(flat, pin(20, { dest_mode: "logical", dest_id: 0x7f, delivery_mode: "lowest-priority" })),
    findings: ["no-destination"],
  },
  {
    name: "an NMI has no vector, and needs no enabled local APIC",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as an NMI through the IOAPIC",
    base: "ioapic",
    change: all(pin(20, { delivery_mode: "nmi" }), ({ lapic }) => {
      lapic[0]!.svr = 0xff;
    }),
  },
  {
    name: "an SMI depends on how the kernel was built",
    gsi: 20,
    sentence:
      "GSI 20 can't be followed: IOAPIC pin 20 sends an SMI, which only a kernel with CONFIG_KVM_SMM delivers",
    base: "ioapic",
    change: pin(20, { delivery_mode: "smi" }),
  },
  {
    name: "ExtINT in a redirection entry brings nothing",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 has delivery mode extint, which brings no interrupt under KVM",
    base: "ioapic",
    change: pin(20, { delivery_mode: "extint" }),
  },
  {
    name: "both ways are open in a scratch VM",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC, and as vector 0x24 through the PIC, once a guest runs",
    base: "ioapic",
    guest: false,
    change: ({ pic1 }) => {
      pic1.imr = 0xef;
    },
    findings: ["double-delivery"],
  },
  {
    name: "both ways are open, and each waits for something of its own",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC, and as vector 0x34 through the IOAPIC once vector 0x51 in service gets its EOI",
    base: "ioapic",
    change: ({ pic1, lapic }) => {
      pic1.imr = 0xef;
      lapic[0]!.isr = [0x51];
    },
    findings: ["double-delivery"],
  },
  {
    name: "a reserved delivery mode brings nothing",
    gsi: 20,
    sentence:
      "GSI 20 is blocked: IOAPIC pin 20 has delivery mode reserved-3, which brings no interrupt under KVM",
    base: "ioapic",
    change: pin(20, { delivery_mode: "reserved-3" }),
  },
  {
    name: "active-low polarity changes nothing under KVM",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x44 through the IOAPIC",
    base: "ioapic",
    change: pin(20, { polarity: "low" }),
  },
  {
    name: "a software-disabled local APIC accepts no vector",
    gsi: 20,
    sentence: "GSI 20 is blocked: the local APIC of vCPU 0 is software-disabled (svr bit 8)",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.svr = 0xff;
    },
  },
  {
    name: "a software-disabled local APIC with vectors pending",
    gsi: 20,
    sentence: "GSI 20 is blocked: the local APIC of vCPU 0 is software-disabled (svr bit 8)",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.svr = 0xff;
      lapic[0]!.irr = [0x51];
    },
    findings: ["apic-off-with-pending"],
  },
  {
    name: "the vector is pending already",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x44 through the IOAPIC",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.irr = [0x44];
    },
  },
  {
    name: "the vector is in service",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vector 0x34 gets its EOI",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x34];
    },
  },
  {
    name: "a vector of a higher class is in service",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vector 0x81 in service gets its EOI",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x81];
    },
  },
  {
    name: "a vector of a lower class in service does not hold",
    gsi: 20,
    sentence: "GSI 20 would reach vCPU 0 as vector 0x44 through the IOAPIC",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x31];
    },
  },
  {
    name: "the TPR holds its class and those below",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vCPU 0 lowers its TPR below 0x30",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.tpr = 0x30;
    },
  },
  {
    name: "every vector in service of its class and above holds, and so does the TPR",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vectors 0x80 and 0x50 in service get their EOI and vCPU 0 lowers its TPR below 0x30",
    base: "ioapic",
    change: ({ lapic }) => {
      Object.assign(lapic[0]!, { isr: [0x21, 0x50, 0x80], tpr: 0xff });
    },
  },
  {
    name: "two vectors of higher classes are in service",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vectors 0x80 and 0x50 in service get their EOI",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x50, 0x80];
    },
  },
  {
    name: "a TPR below what is in service holds as well",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vector 0x80 in service gets its EOI and vCPU 0 lowers its TPR below 0x30",
    base: "ioapic",
    change: ({ lapic }) => {
      Object.assign(lapic[0]!, { isr: [0x80], tpr: 0x40 });
    },
  },
  {
    name: "the vector is in service, and one above it",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vectors 0x80 and 0x34 in service get their EOI",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x34, 0x80];
    },
  },
  {
    name: "of many vectors in service the first three are named",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC once vectors 0x90, 0x80, 0x70 and 2 more in service get their EOI",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.isr = [0x50, 0x60, 0x70, 0x80, 0x90];
    },
  },
  {
    name: "two pins send one vector",
    gsi: 5,
    sentence: "GSI 5 would reach vCPU 0 as vector 0x34 through the IOAPIC",
    base: "ioapic",
    change: pin(5, { vector: 0x34 }),
    findings: ["shared-vector"],
  },
  {
    name: "two GSIs share a pin that is stuck",
    gsi: 31,
    sentence:
      "GSI 31 is blocked: IOAPIC pin 20 waits for the EOI of vector 0x44 (remote IRR), which no local APIC has pending or in service",
    base: "ioapic",
    routing: [
      { gsi: 30, chip: "ioapic", pin: 20 },
      { gsi: 31, chip: "ioapic", pin: 20 },
    ],
    change: pin(20, { remote_irr: true }),
    findings: ["remote-irr-stuck", "shares-stuck-line"],
  },
];
