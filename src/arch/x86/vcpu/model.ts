import { viewOf } from "../../../abi/u64.ts";
import type { RedirectionEntry } from "../ioapic/layout.ts";
import { Lapic } from "../lapic/model.ts";
import type { Behaviour } from "../model/behaviour.ts";
import {
  decodeVcpu,
  EVENTS,
  putVcpu,
  REGS,
  SEGMENT,
  SEGMENTS,
  SREGS,
  VCPU,
  VCPU_IMAGE,
  type VcpuState,
} from "./layout.ts";

/** An interrupt on its way to local APICs: what a redirection entry or an MSI says of it. */
export interface InterruptMessage
  extends Pick<RedirectionEntry, "vector" | "delivery_mode" | "dest_mode" | "dest_id" | "trig_mode"> {
  /** An MSI's wish that one of the CPUs addressed be picked, whatever the delivery mode. */
  redirection_hint?: boolean;
}

type MpState = VcpuState["mp_state"];

/** The kernel queues one NMI behind the one that is being taken (two while none is). */
const MOST_NMIS = 2;

/** A vCPU that never runs: its local APIC, and the events that wait for it. */
export class VcpuModel {
  readonly index: number;
  readonly lapic: Lapic;
  readonly #behaviour: Behaviour;
  #mpState: MpState;
  #nmis = 0;
  #smi = false;
  #init = false;
  /** Whether a remote read has come, which shows a halted vCPU as runnable from then on. */
  #woken = false;
  /** The vector of a startup interrupt that waits. */
  #sipi: number | undefined;
  /** The vector that started this vCPU, which sets where it begins. */
  #startedBy: number | undefined;
  /** The state that this vCPU was put into; without one it has the registers of a reset. */
  #loaded: VcpuState | undefined;

  constructor(index: number, behaviour: Behaviour) {
    this.index = index;
    this.#behaviour = behaviour;
    this.lapic = new Lapic(index);
    this.#mpState = index === 0 ? "runnable" : "uninitialized";
  }

  /**
   * Takes a message that is addressed to this vCPU.
   *
   * @returns whether it was taken, and whether as a fixed interrupt, which ends with an EOI.
   */
  accept({ delivery_mode, vector, trig_mode }: InterruptMessage): { taken: boolean; fixed: boolean } {
    switch (delivery_mode) {
      case "fixed":
      case "lowest-priority": {
        const taken = this.lapic.request(vector, trig_mode === "level");
        return { taken, fixed: taken };
      }
      case "smi":
        if (!this.#behaviour.smm) return { taken: false, fixed: false };
        this.#smi = true;
        break;
      case "nmi":
        this.#nmis = Math.min(this.#nmis + 1, MOST_NMIS);
        break;
      case "init":
        this.#init = true;
        this.#sipi = undefined;
        break;
      // Code 6 is the startup interrupt of inter-processor messages, code 3 the remote read of the
      // external APIC bus, which the kernel uses to wake a vCPU. An IOAPIC that sends them is not stopped.
      case "reserved-6":
        this.#sipi = vector;
        break;
      case "reserved-3":
        this.#woken = true;
        break;
      // ExtINT is LINT0's: as a message it reaches nobody.
      case "extint":
        return { taken: false, fixed: false };
    }
    return { taken: true, fixed: false };
  }

  /** Puts this vCPU into the state of an image, which its local APIC is no part of. */
  load(image: Uint8Array): void {
    const state = decodeVcpu(image, this.index);
    this.#loaded = state;
    this.#mpState = state.mp_state;
    this.#nmis = state.nmi.pending;
    this.#smi = state.smi.pending;
  }

  /**
   * The image of this vCPU (see `VCPU_IMAGE`). Reading it makes the vCPU take a pending INIT and startup
   * interrupt, because KVM_GET_MP_STATE, its last part, does that.
   *
   * @returns the image, and whether an INIT has reset the local APIC.
   */
  read(): { image: Uint8Array; reset: boolean } {
    const image = new Uint8Array(VCPU_IMAGE.size);
    writeRegisters(image, this.index === 0, this.#startedBy);
    if (this.#loaded !== undefined) putVcpu(image, this.#loaded);
    image[VCPU_IMAGE.sregs + SREGS.cr8] = this.lapic.priorityClass;
    const nmis = this.#behaviour.countsNmis ? this.#nmis : Math.min(this.#nmis, 1);
    writeEvents(image, { nmis, smi: this.#smi, init: this.#init });
    const reset = this.#takeInit();
    this.#takeSipi();
    VCPU.fields.mp_state.write(viewOf(image), 0, this.#shownMpState());
    return { image, reset };
  }

  #shownMpState(): MpState {
    return this.#woken && this.#mpState === "halted" ? "runnable" : this.#mpState;
  }

  #takeInit(): boolean {
    if (!this.#init) return false;
    this.#init = false;
    this.#woken = false;
    this.#nmis = 0;
    this.#smi = false;
    this.#startedBy = undefined;
    this.#loaded = undefined;
    this.#mpState = this.index === 0 ? "runnable" : "init_received";
    this.lapic.reset();
    return true;
  }

  #takeSipi(): void {
    if (this.#sipi !== undefined && this.#mpState === "init_received") {
      this.#startedBy = this.#sipi;
      this.#loaded = undefined;
      this.#mpState = "runnable";
    }
    this.#sipi = undefined;
  }
}

/** The types that cs, ds, es, fs, gs, ss, tr and ldt have at reset. */
const SEGMENT_TYPES = [0xb, 3, 3, 3, 3, 3, 0xb, 2] as const;

/** Register values at reset (Intel SDM vol. 3, table 10-1), rdx as for a CPU without CPUID leaves. */
const RESET = { rdx: 0x600, rip: 0xfff0, rflags: 2, cs: 0xf000, csBase: 0xffff_0000, cr0: 0x6000_0010 };
const SEGMENT_LIMIT = 0xffff;
/** IA32_APIC_BASE: where the page is, globally enabled, and the bootstrap processor's mark. */
const APIC_BASE = 0xfee0_0800;
const APIC_BASE_BSP = 0x100;
/** `KVM_VCPUEVENT_VALID_NMI_PENDING | _SHADOW | _SMM`. */
const VALID_EVENTS = 0x0d;

function writeRegisters(image: Uint8Array, bootstrap: boolean, startedBy: number | undefined): void {
  const view = viewOf(image);
  const { regs, sregs } = VCPU_IMAGE;
  view.setUint32(regs + REGS.rdx, RESET.rdx, true);
  view.setUint32(regs + REGS.rip, startedBy === undefined ? RESET.rip : 0, true);
  view.setUint32(regs + REGS.rflags, RESET.rflags, true);
  SEGMENT_TYPES.forEach((type, index) => {
    const segment = sregs + index * SEGMENT.size;
    view.setUint32(segment + SEGMENT.limit, SEGMENT_LIMIT, true);
    image[segment + SEGMENT.type] = type;
    image[segment + SEGMENT.present] = 1;
    image[segment + SEGMENT.s] = Number(index < SEGMENTS.length);
  });
  const cs = sregs;
  view.setUint32(cs, startedBy === undefined ? RESET.csBase : startedBy << 12, true);
  view.setUint16(cs + SEGMENT.selector, startedBy === undefined ? RESET.cs : startedBy << 8, true);
  view.setUint16(sregs + SREGS.gdt + 8, SEGMENT_LIMIT, true);
  view.setUint16(sregs + SREGS.idt + 8, SEGMENT_LIMIT, true);
  view.setUint32(sregs + SREGS.cr0, RESET.cr0, true);
  view.setUint32(sregs + SREGS.apic_base, APIC_BASE + (bootstrap ? APIC_BASE_BSP : 0), true);
}

function writeEvents(image: Uint8Array, events: { nmis: number; smi: boolean; init: boolean }): void {
  const base = VCPU_IMAGE.events;
  image[base + EVENTS.nmi_pending] = events.nmis;
  image[base + EVENTS.flags] = VALID_EVENTS;
  image[base + EVENTS.smi_pending] = Number(events.smi);
  image[base + EVENTS.smi_latched_init] = Number(events.init);
}
