import type { Arch, Controller } from "../arch.ts";
import { codecOf } from "../codec.ts";
import { X86_FACTS } from "./facts.ts";
import { IOAPIC } from "./ioapic/layout.ts";
import { LAPIC } from "./lapic/layout.ts";
import { LINES } from "./lines.ts";
import { MSI, type Msi } from "./msi.ts";
import { PIC } from "./pic/layout.ts";
import { applyPreset, PRESETS, type PresetName } from "./presets.ts";
import { INPUTS, ROUTING } from "./routing.ts";
import type { Chips } from "./state.ts";
import { VCPU, VCPU_PARTS, type VcpuState } from "./vcpu/layout.ts";

/** PIC1 is the master 8259, PIC2 the slave. What the IOAPIC injects again when it is set must find the local APICs in place. */
const CHIPS: readonly Controller[] = [
  { kind: "pic1", title: "PIC1", group: "pic", access: { irqchip: INPUTS.pic1.irqchip }, layout: PIC },
  { kind: "pic2", title: "PIC2", group: "pic", access: { irqchip: INPUTS.pic2.irqchip }, layout: PIC },
  {
    kind: "ioapic",
    title: "IOAPIC",
    access: { irqchip: INPUTS.ioapic.irqchip },
    layout: IOAPIC,
    last: true,
  },
  {
    kind: "lapic",
    title: "local APIC",
    access: { vcpu: [{ get: "KVM_GET_LAPIC", set: "KVM_SET_LAPIC", size: LAPIC.size }] },
    layout: LAPIC,
  },
];
const VCPU_STATE: Controller = {
  kind: "vcpu",
  title: "vCPU",
  key: "vcpus",
  access: { vcpu: VCPU_PARTS },
  layout: VCPU,
};

/** x86-64: two 8259 PICs, an IOAPIC of 24 pins, and a local APIC for each vCPU. */
export const X86_64: Arch<Chips, VcpuState, Msi, PresetName> = {
  name: "x86_64",
  rawLayout: "x86",
  chipKinds: CHIPS,
  vcpu: VCPU_STATE,
  maxVcpus: 255,
  facts: X86_FACTS,
  ...codecOf<Chips, VcpuState>(CHIPS, VCPU_STATE),
  lines: LINES,
  routing: ROUTING,
  msi: MSI,
  presets: { words: PRESETS, apply: applyPreset },
  diagnosis: async () => (await import("./diagnosis.ts")).diagnosis,
  panels: async () => (await import("./panels.ts")).panels,
  events: async () => (await import("./events/facet.ts")).events,
  guest: async () => (await import("./guest/image.ts")).guest,
  memory: async () => (await import("./memory.ts")).memory,
  model: async () => (await import("./model/facet.ts")).model,
};
