import { hasBit } from "../../../abi/bits.ts";
import type { ApicId, Vector } from "../../../abi/numbers.ts";
import type { Snapshot } from "../state.ts";
import { APIC_BASE_ENABLE_BIT, APIC_BASE_X2APIC_BIT, type VcpuState } from "../vcpu/layout.ts";
import {
  DIRECTED_EOI_BIT,
  type LapicState,
  LVT_EXTINT,
  LVT_MASK_BIT,
  lvtMode,
  SVR_ENABLE_BIT,
} from "./layout.ts";

export { APIC_BASE_ENABLE_BIT } from "../vcpu/layout.ts";
export { DIRECTED_EOI_BIT, LVT_MASK_BIT, SVR_ENABLE_BIT } from "./layout.ts";
/** Vectors below this a local APIC takes for illegal; KVM's puts them into IRR and leaves them there. */
export const FIRST_LEGAL_VECTOR = 16;

/** A vCPU as the interrupt controllers meet it: its local APIC, and its own state where that is known. */
export interface Cpu {
  vcpu: number;
  lapic: LapicState;
  state: VcpuState | undefined;
  /** From IA32_APIC_BASE; taken to be `xapic` where the vCPU's state is not known. */
  mode: "disabled" | "xapic" | "x2apic";
}

/** The vCPUs of a snapshot, by number. `undefined` when it has no local APICs. */
export function cpusOf(snapshot: Pick<Snapshot, "chips" | "vcpus">): Cpu[] | undefined {
  const lapics = snapshot.chips.lapic;
  if (lapics === undefined) return undefined;
  return lapics
    .map((lapic) => {
      const state = snapshot.vcpus?.find(({ vcpu }) => vcpu === lapic.vcpu);
      return { vcpu: lapic.vcpu, lapic, state, mode: modeOf(state) };
    })
    .sort((a, b) => a.vcpu - b.vcpu);
}

function modeOf(state: VcpuState | undefined): Cpu["mode"] {
  if (state === undefined) return "xapic";
  if (!hasBit(state.apic_base, APIC_BASE_ENABLE_BIT)) return "disabled";
  return hasBit(state.apic_base, APIC_BASE_X2APIC_BIT) ? "x2apic" : "xapic";
}

/** The id that answers physical destinations. KVM fixes the x2APIC id to the vCPU's number. */
export function apicId(cpu: Cpu): ApicId {
  return cpu.mode === "x2apic" ? cpu.vcpu : cpu.lapic.id >>> 24;
}

/** Whether software has enabled a local APIC, so that it accepts vectors. */
export function softwareEnabled(cpu: Cpu): boolean {
  return hasBit(cpu.lapic.svr, SVR_ENABLE_BIT);
}

/**
 * Whether a guest has set up its local APICs: one is on, and an LVT entry of its own has a vector. Linux masks the
 * timer of an idle vCPU and leaves the vector there; a guest with a paravirtual timer has that of errors.
 */
export function usesLapics(cpus: readonly Cpu[]): boolean {
  return cpus.some(
    (cpu) =>
      softwareEnabled(cpu) &&
      [cpu.lapic.lvt_timer, cpu.lapic.lvt_error].some((entry) => (entry & 0xff) >= FIRST_LEGAL_VECTOR),
  );
}

/**
 * What a local APIC's EOI of a vector means to the IOAPIC: it is heard only of a level-triggered interrupt,
 * which TMR tells, and not with directed EOI. KVM then clears remote IRR of every pin of that vector,
 * whichever vCPU the pin is addressed to.
 *
 * @returns `undefined` when the vector is neither pending nor in service here.
 */
export function eoiAtIoapic({ lapic }: Cpu, vector: Vector): "heard" | "edge" | "directed" | undefined {
  if (!lapic.irr.includes(vector) && !lapic.isr.includes(vector)) return undefined;
  if (hasBit(lapic.svr, DIRECTED_EOI_BIT)) return "directed";
  return lapic.tmr.includes(vector) ? "heard" : "edge";
}

/** LINT0 as it decides about the PIC's INTR. KVM looks neither at the software enable nor at the vCPU's number. */
export function lint0(cpu: Cpu): "virtual-wire" | "open" | "masked" | "other-mode" {
  if (cpu.mode === "disabled") return "virtual-wire";
  if (hasBit(cpu.lapic.lvt_lint0, LVT_MASK_BIT)) return "masked";
  return lvtMode(cpu.lapic.lvt_lint0) === LVT_EXTINT ? "open" : "other-mode";
}

/** The vCPU that KVM hands the PIC's INTR to: the first that lets it in. */
export function intrTarget(cpus: readonly Cpu[]): Cpu | undefined {
  return cpus.find((cpu) => ["virtual-wire", "open"].includes(lint0(cpu)));
}

/**
 * The processor priority that vectors have to exceed by their upper four bits, worked out afresh: the
 * register in a snapshot may be out of date (Intel SDM vol. 3, 12.8.3.1).
 */
export function processorPriority({ lapic }: Cpu): { ppr: number; from: "tpr" | "isr" } {
  const service = (lapic.isr.at(-1) ?? 0) & 0xf0;
  return (lapic.tpr & 0xf0) >= service
    ? { ppr: lapic.tpr & 0xff, from: "tpr" }
    : { ppr: service, from: "isr" };
}

/** Whether a vector in the IRR would be handed to the vCPU now. Vectors below 16 never are: class 0. */
export function outranks(cpu: Cpu, vector: Vector): boolean {
  return (vector & 0xf0) > (processorPriority(cpu).ppr & 0xf0);
}

/** The vectors in service that hold a vector back, in the order in which EOIs end them. */
export function serviceAhead({ lapic }: Cpu, vector: Vector): number[] {
  return lapic.isr.filter((serving) => serving >> 4 >= vector >> 4).reverse();
}

/** Whether the TPR holds a vector back. */
export function tprBlocks({ lapic }: Cpu, vector: Vector): boolean {
  return (lapic.tpr & 0xf0) >= (vector & 0xf0);
}
