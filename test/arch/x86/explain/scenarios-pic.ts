import type { Scenario } from "./scenario.ts";

/** The line, the PICs, and LINT0. */
export const PIC_SCENARIOS: Scenario[] = [
  {
    name: "a fresh VM's PIC, never initialised, delivers exception vectors",
    gsi: 4,
    sentence:
      "GSI 4 would reach vCPU 0 as vector 0x04 through the PIC; pic1 was never given a vector base, so that vector 0x04 is an exception's",
  },
  {
    name: "a scratch VM has no guest to take it",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC once a guest runs",
    base: "pic",
    guest: false,
  },
  {
    name: "an initialised PIC delivers its base plus the pin",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "pic",
  },
  {
    name: "a slave pin comes through the cascade",
    gsi: 12,
    sentence: "GSI 12 would reach vCPU 0 as vector 0x2c through the PIC",
    base: "pic",
  },
  {
    name: "an unmasked PIC with everything else masked",
    gsi: 1,
    sentence: "GSI 1 would reach vCPU 0 as vector 0x21 through the PIC",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.imr = 0xfd;
    },
  },
  {
    name: "IMR masks a master pin",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: IMR bit 4",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.imr = 0x10;
    },
  },
  {
    name: "IMR masks a slave pin",
    gsi: 10,
    sentence:
      "GSI 10 is blocked: IOAPIC pin 10 is masked (redirtbl[10] bit 16); the PIC way is blocked too: pic2 IMR bit 2",
    base: "pic",
    change: ({ pic2 }) => {
      pic2.imr = 0x04;
    },
  },
  {
    name: "the cascade is masked at the master",
    gsi: 10,
    sentence:
      "GSI 10 is blocked: IOAPIC pin 10 is masked (redirtbl[10] bit 16); the PIC way is blocked too: the cascade is masked, pic1 IMR bit 2",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.imr = 0x04;
    },
  },
  {
    name: "a pin waits for its own EOI",
    gsi: 4,
    sentence:
      "GSI 4 is held: pic1 pin 4 is in service; the IOAPIC way is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16)",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.isr = 0x10;
    },
  },
  {
    name: "a pin of higher priority is in service",
    gsi: 4,
    sentence:
      "GSI 4 is held: pic1 pin 1, in service, has priority over pin 4; the IOAPIC way is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16)",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.isr = 0x02;
    },
  },
  {
    name: "two pins of higher priority are in service",
    gsi: 4,
    sentence:
      "GSI 4 is held: pic1 pins 0 and 1, in service, have priority over pin 4; the IOAPIC way is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16)",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.isr = 0x43;
    },
  },
  {
    name: "a pin waits for its own EOI and for one above it",
    gsi: 4,
    sentence:
      "GSI 4 is held: pic1 pins 1 and 4 are in service; the IOAPIC way is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16)",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.isr = 0x12;
    },
  },
  {
    name: "a slave pin waits for what is in service at both chips",
    gsi: 12,
    sentence:
      "GSI 12 is held: pic2 pins 0 and 2, in service, have priority over pin 4, and pic1 pins 1 and 2 are in service too; the IOAPIC way is blocked: IOAPIC pin 12 is masked (redirtbl[12] bit 16)",
    base: "pic",
    change: ({ pic1, pic2 }) => {
      pic1.isr = 0x06;
      pic2.isr = 0x05;
    },
  },
  {
    name: "a slave pin waits for the master's pins and for another pin of the slave",
    gsi: 8,
    sentence:
      "GSI 8 is held: pic1 pin 0, in service, has priority over pin 2, and another pin of the slave is in service (pic1.isr bit 2); the IOAPIC way is blocked: IOAPIC pin 8 is masked (redirtbl[8] bit 16)",
    base: "pic",
    change: ({ pic1, pic2 }) => {
      pic1.isr = 0x05;
      pic2.isr = 0x10;
    },
  },
  {
    name: "a pin of lower priority in service does not hold",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.isr = 0x40;
    },
  },
  {
    name: "a pin of higher priority is requested first",
    gsi: 4,
    sentence:
      "GSI 4 is held: pic1 pin 0 is requested first; the IOAPIC way is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16)",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.irr = 0x01;
    },
  },
  {
    name: "rotation makes pin 5 the highest, so that pin 4 is the lowest",
    gsi: 4,
    sentence:
      "GSI 4 is held: pic1 pin 7 is requested first; the IOAPIC way is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16)",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.priority_add = 5;
      pic1.irr = 0x80;
    },
  },
  {
    name: "rotation lets pin 5 pass pin 0 in service",
    gsi: 5,
    sentence: "GSI 5 would reach vCPU 0 as vector 0x25 through the PIC",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.priority_add = 5;
      pic1.isr = 0x01;
    },
  },
  {
    name: "a slave pin waits while another of the slave is in service at the master",
    gsi: 8,
    sentence:
      "GSI 8 is held: another pin of the slave is in service (pic1.isr bit 2); the IOAPIC way is blocked: IOAPIC pin 8 is masked (redirtbl[8] bit 16)",
    base: "pic",
    change: ({ pic1, pic2 }) => {
      pic1.isr = 0x04;
      pic2.isr = 0x10;
    },
  },
  {
    name: "special fully nested mode lets a better slave pin through",
    gsi: 8,
    sentence: "GSI 8 would reach vCPU 0 as vector 0x28 through the PIC",
    base: "pic",
    change: ({ pic1, pic2 }) => {
      pic1.isr = 0x04;
      pic2.isr = 0x10;
      pic1.special_fully_nested_mode = 1;
    },
  },
  {
    name: "special mask mode is not honoured by KVM",
    gsi: 12,
    sentence:
      "GSI 12 is held: pic2 pin 0, in service, has priority over pin 4; the IOAPIC way is blocked: IOAPIC pin 12 is masked (redirtbl[12] bit 16)",
    base: "pic",
    change: ({ pic2 }) => {
      pic2.isr = 0x01;
      pic2.imr = 0x01;
      pic2.special_mask = 1;
    },
  },
  {
    name: "an edge is latched and the line low again",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.irr = 0x10;
    },
  },
  {
    name: "an edge is latched and the line still high",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 0 as vector 0x24 through the PIC",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.irr = 0x10;
      pic1.last_irr = 0x10;
    },
    holds: [4],
  },
  {
    name: "a line that stays high gives no second edge",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: pic1 pin 4 is high already and its edge was taken",
    base: "pic",
    change: ({ pic1, ioapic }) => {
      pic1.last_irr = 0x10;
      ioapic.irr = 0x10;
    },
    holds: [4],
  },
  {
    name: "a mask is told before the level of its line",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: pic1 pin 4 is high already and its edge was taken",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.last_irr = 0x10;
    },
    holds: [4],
  },
  {
    name: "a level-triggered pin follows its line",
    gsi: 5,
    sentence: "GSI 5 would reach vCPU 0 as vector 0x25 through the PIC",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.elcr = 0x20;
      pic1.irr = 0x20;
      pic1.last_irr = 0x20;
    },
    holds: [5],
  },
  {
    name: "LINT0 of the only vCPU is masked",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: LINT0 of vCPU 0 is masked (lvt_lint0 bit 16)",
    base: "pic",
    change: ({ lapic }) => {
      lapic[0]!.lvt_lint0 = 0x1_0700;
    },
  },
  {
    name: "LINT0 has another delivery mode",
    gsi: 4,
    sentence:
      "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: LINT0 of vCPU 0 is not in ExtINT mode (lvt_lint0 bits 8-10)",
    base: "pic",
    change: ({ lapic }) => {
      lapic[0]!.lvt_lint0 = 0x31;
    },
  },
  {
    name: "INTR goes to the first vCPU whose LINT0 lets it in",
    gsi: 4,
    sentence: "GSI 4 would reach vCPU 1 as vector 0x24 through the PIC",
    vcpus: 3,
    base: "pic",
    change: ({ lapic }) => {
      lapic[0]!.lvt_lint0 = 0x1_0700;
      lapic[1]!.lvt_lint0 = 0x700;
    },
  },
  {
    name: "GSI 2 is the cascade: an acknowledge finds nothing at the slave",
    gsi: 2,
    sentence: "GSI 2 would reach vCPU 0 as vector 0x2f through the PIC",
    base: "pic",
  },
  {
    name: "a level-triggered cascade swallows the slave's pulse",
    gsi: 12,
    sentence:
      "GSI 12 is blocked: IOAPIC pin 12 is masked (redirtbl[12] bit 16); the PIC way is blocked too: pic1 does not latch the slave's pulse at its pin 2",
    base: "pic",
    change: ({ pic1 }) => {
      pic1.elcr = 0x04;
    },
  },
  {
    name: "a slave request that was withdrawn leaves a spurious IRQ 15 behind",
    gsi: 15,
    sentence:
      "GSI 15 is blocked: IOAPIC pin 15 is masked (redirtbl[15] bit 16); the PIC way is blocked too: pic2 IMR bit 7",
    base: "pic",
    change: ({ pic1, pic2 }) => {
      pic1.irr = 0x04;
      pic2.imr = 0x80;
    },
    findings: ["spurious-irq15"],
  },
  {
    name: "a request with LINT0 masked goes nowhere",
    gsi: 3,
    sentence:
      "GSI 3 is blocked: IOAPIC pin 3 is masked (redirtbl[3] bit 16); the PIC way is blocked too: LINT0 of vCPU 0 is masked (lvt_lint0 bit 16)",
    base: "pic",
    change: ({ pic1, lapic }) => {
      pic1.irr = 0x01;
      lapic[0]!.lvt_lint0 = 0x1_0000;
    },
    findings: ["intr-goes-nowhere"],
  },
];
