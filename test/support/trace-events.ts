import type { Args, TraceEvent } from "../../src/tracefs/event.ts";

/** Makes events as a VM's process 100 has them: one microsecond apart, on thread 101 unless told otherwise. */
export function trace(...events: [name: string, args: Args, more?: Partial<TraceEvent>][]): TraceEvent[] {
  return events.map(([event, args, more], index) => ({
    time: index * 1000,
    cpu: 0,
    pid: 101,
    comm: "vmm",
    process: 100,
    event,
    args,
    ...more,
  }));
}

/** The thread that runs vCPU 0. */
export const VCPU = { pid: 102, comm: "vcpu 0" };

/** A redirection entry to physical destination 0. */
export function entry(vector: number, { level = false, mask = false } = {}): number {
  return vector + (level ? 1 << 15 : 0) + (mask ? 1 << 16 : 0);
}

const line = (level: 0 | 1) => (gsi: number) => ["kvm_set_irq", { gsi, level, irq_source_id: 0 }] as const;

/** kvm_set_irq. */
export const up = (gsi: number): [string, Args] => [...line(1)(gsi)];
export const down = (gsi: number): [string, Args] => [...line(0)(gsi)];
export const pic = (pin: number, { elcr = 0, imr = 0, coalesced = false } = {}): [string, Args] => [
  "kvm_pic_set_irq",
  { chip: pin >> 3, pin: pin & 7, elcr, imr, coalesced },
];
export const ioapic = (pin: number, e: number, coalesced = false): [string, Args] => [
  "kvm_ioapic_set_irq",
  { e, pin, coalesced },
];
/** kvm_msi_set_irq, of an edge to a physical destination. */
export const msi = (vector: number, { dest = 0, mode = 0 } = {}): [string, Args] => [
  "kvm_msi_set_irq",
  { address: 0xfee00000 + dest * 0x1000, data: vector + (mode << 8) },
];
export const accept = (vec: number, { apicid = 0, tm = 0, dm = 0 } = {}): [string, Args] => [
  "kvm_apic_accept_irq",
  { apicid, dm, tm, vec },
];
/** kvm_apicv_accept_irq. */
export const posted = (vec: number, { apicid = 0, tm = 0, dm = 0 } = {}): [string, Args] => [
  "kvm_apicv_accept_irq",
  { apicid, dm, tm, vec },
];
export const inject = (vector: number, reinjected = false): [string, Args, Partial<TraceEvent>] => [
  "kvm_inj_virq",
  { vector, soft: false, reinjected },
  VCPU,
];
export const eoi = (vector: number, apicid = 0): [string, Args, Partial<TraceEvent>] => [
  "kvm_eoi",
  { apicid, vector },
  VCPU,
];
export const ack = (irqchip: number, pin: number): [string, Args, Partial<TraceEvent>] => [
  "kvm_ack_irq",
  { irqchip, pin },
  VCPU,
];
