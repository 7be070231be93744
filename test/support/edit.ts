import {
  decodeIoapic,
  encodeIoapic,
  type IoapicState,
  type RedirectionEntry,
} from "../../src/arch/x86/ioapic/layout.ts";
import { decodeLapic, encodeLapic, type LapicState } from "../../src/arch/x86/lapic/layout.ts";
import { decodePic, encodePic, type PicState } from "../../src/arch/x86/pic/layout.ts";
import { decodeVcpu } from "../../src/arch/x86/vcpu/layout.ts";
import type { Machine } from "../../src/vm/machine.ts";

/** Decoded chips of a machine, and changes of single fields: what a test says in one line. */

export const pic = (machine: Machine, id: "pic1" | "pic2"): PicState => decodePic(machine.readChip(id));
export const ioapic = (machine: Machine): IoapicState => decodeIoapic(machine.readChip("ioapic"));
export const lapic = (machine: Machine, vcpu = 0): LapicState =>
  decodeLapic(machine.readChip(`lapic[${vcpu}]`), vcpu);
/** The NMIs that wait for vCPU 0. */
export const pendingNmis = (machine: Machine): number =>
  decodeVcpu(machine.readChip("vcpu[0]"), 0).nmi.pending;

export function setPic(machine: Machine, id: "pic1" | "pic2", change: Partial<PicState>): void {
  machine.writeChip({ id, bytes: encodePic({ ...pic(machine, id), ...change }) });
}

export function setIoapic(machine: Machine, change: Partial<IoapicState>): void {
  machine.writeChip({ id: "ioapic", bytes: encodeIoapic({ ...ioapic(machine), ...change }) });
}

/** Changes one entry, and unmasks it unless told otherwise. */
export function setEntry(machine: Machine, pin: number, change: Partial<RedirectionEntry>): void {
  const { redirtbl } = ioapic(machine);
  redirtbl[pin] = { ...redirtbl[pin]!, mask: false, ...change };
  setIoapic(machine, { redirtbl });
}

/** Changes a local APIC, and enables it unless told otherwise. */
export function setLapic(machine: Machine, vcpu: number, change: Partial<LapicState> = {}): void {
  const bytes = encodeLapic({ ...lapic(machine, vcpu), svr: 0x1ff, ...change });
  machine.writeChip({ id: `lapic[${vcpu}]`, bytes });
}

/** Level 1, then 0. @returns the status of the rise. */
export function pulse(machine: Machine, gsi: number): number | null {
  const status = machine.setIrqLine(gsi, 1);
  machine.setIrqLine(gsi, 0);
  return status;
}
