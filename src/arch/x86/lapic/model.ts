import type { Vector } from "../../../abi/numbers.ts";
import { viewOf } from "../../../abi/u64.ts";
import {
  DFR_CLUSTER,
  DFR_FLAT,
  DIRECTED_EOI_BIT,
  LAPIC,
  LAPIC_REGISTERS,
  LAPIC_VECTOR_REGISTERS,
  type LapicRegister,
  type LapicVectorRegister,
  LVT_EXTINT,
  LVT_MASK_BIT,
  LVT_MODE_SHIFT,
  lvtMode,
  SVR_ENABLE_BIT,
} from "./layout.ts";

/** Six LVT entries (bits 16-23: the last one's number) and an integrated APIC (bits 0-7). */
const VERSION = 0x50014;
/** Software disabled, spurious vector 0xff (Intel SDM vol. 3, 12.4.7.1). */
const SVR_RESET = 0xff;
const LVT_ENTRIES = ["lvt_timer", "lvt_thermal", "lvt_perf", "lvt_lint0", "lvt_lint1", "lvt_error"] as const;
const SVR_ENABLE = 1 << SVR_ENABLE_BIT;
const SVR_DIRECTED_EOI = 1 << DIRECTED_EOI_BIT;
const LVT_MASKED = 1 << LVT_MASK_BIT;
const PRIORITY_CLASS = 0xf0;

/** The local APIC of a vCPU in xAPIC mode: its register page, and how it takes and ends interrupts. */
export class Lapic {
  readonly #page = new Uint8Array(LAPIC.size);
  readonly #view = viewOf(this.#page);
  readonly #bootstrap: boolean;
  /** The vector of the last INTA, until an EOI. */
  #taken: number | undefined;
  /** @param vcpu the number that the APIC's id starts with; 0 is the bootstrap processor. */
  constructor(vcpu: number) {
    this.#bootstrap = vcpu === 0;
    this.#set("id", vcpu << 24);
    this.reset();
  }

  /** INIT (Intel SDM vol. 3, 12.4.7.3): everything but the id as at power-up; words without a name stay. */
  reset(): void {
    for (const name of ["tpr", "ldr", "esr", "icr", "icr2", "timer_initial", "timer_divide"] as const) {
      this.#set(name, 0);
    }
    for (const base of Object.values(LAPIC_VECTOR_REGISTERS)) {
      for (let word = 0; word < 8; word++) this.#view.setUint32(base + word * 16, 0, true);
    }
    for (const name of LVT_ENTRIES) this.#set(name, LVT_MASKED);
    if (this.#bootstrap) this.#set("lvt_lint0", LVT_EXTINT << LVT_MODE_SHIFT);
    this.#set("version", VERSION);
    this.#set("dfr", DFR_FLAT);
    this.#set("svr", SVR_RESET);
    this.#taken = undefined;
    this.#updatePpr();
  }

  /** `struct kvm_lapic_state`, 1024 bytes. */
  read(): Uint8Array {
    return this.#page.slice();
  }

  /**
   * KVM_SET_LAPIC: the page as it is, but for version, PPR and the running count of the timer.
   *
   * The kernel looks at ISR anew only after it has computed PPR. Until PPR is computed again, it goes by TPR
   * alone where nothing was in service before, and by the vector of an INTA where no EOI has followed.
   */
  write(bytes: Uint8Array): void {
    const hadService = this.#highest("isr") !== undefined;
    this.#page.set(bytes);
    this.#set("version", VERSION);
    this.#set("timer_current", 0);
    this.#set("ppr", this.#priority(hadService ? (this.#taken ?? this.#highest("isr")) : undefined));
    this.#taken = undefined;
  }

  get id(): number {
    return this.#get("id") >>> 24;
  }

  /** The logical id: bits 24-31 of LDR. */
  get logicalId(): number {
    return this.#get("ldr") >>> 24;
  }

  /** How the logical id is read; DFR values that the manual does not know are neither. */
  get logicalModel(): "flat" | "cluster" | "unknown" {
    const dfr = this.#get("dfr");
    return dfr === DFR_FLAT ? "flat" : dfr === DFR_CLUSTER ? "cluster" : "unknown";
  }

  get ldr(): number {
    return this.#get("ldr");
  }

  /** Bits 4-7 of TPR, which CR8 shows too. */
  get priorityClass(): number {
    return (this.#get("tpr") & PRIORITY_CLASS) >>> 4;
  }

  /** Bit 8 of SVR. A software-disabled APIC takes no fixed interrupt. */
  get softwareEnabled(): boolean {
    return (this.#get("svr") & SVR_ENABLE) !== 0;
  }

  /** Whether the PICs' INTR comes through: LINT0 unmasked and in ExtINT mode. */
  get takesExtint(): boolean {
    const lint0 = this.#get("lvt_lint0");
    return (lint0 & LVT_MASKED) === 0 && lvtMode(lint0) === LVT_EXTINT;
  }

  /**
   * A fixed interrupt: IRR collects it, TMR remembers how it was triggered.
   *
   * @returns whether the APIC took it, also when that vector was pending already.
   */
  request(vector: Vector, level: boolean): boolean {
    if (!this.softwareEnabled) return false;
    this.#setVector("tmr", vector, level);
    this.#setVector("irr", vector, true);
    return true;
  }

  /** Whether a vector waits or is in service, so that an EOI for it is still to come. */
  awaitsEoi(vector: Vector): boolean {
    return this.#hasVector("irr", vector) || this.#hasVector("isr", vector);
  }

  /** The CPU runs: KVM, which looks for an interrupt to give it, computes PPR again, software-disabled or not. */
  run(): void {
    this.#updatePpr();
  }

  /** INTA: takes the highest vector of IRR into service if its class is above PPR's. */
  acknowledge(): number | undefined {
    this.run();
    const vector = this.#highest("irr");
    if (vector === undefined || (vector & PRIORITY_CLASS) <= this.#get("ppr")) return undefined;
    this.#setVector("irr", vector, false);
    this.#setVector("isr", vector, true);
    this.#taken = vector;
    this.#updatePpr();
    return vector;
  }

  /**
   * EOI: ends the highest vector in service. PPR is computed again, with nothing in service too.
   *
   * @returns the vector, and whether it is broadcast to the IOAPIC: TMR has it, and SVR's directed EOI is
   *   off. `undefined` when none was in service.
   */
  eoi(): { vector: Vector; broadcast: boolean } | undefined {
    const vector = this.#highest("isr");
    if (vector !== undefined) this.#setVector("isr", vector, false);
    this.#taken = undefined;
    this.run();
    if (vector === undefined) return undefined;
    const directed = (this.#get("svr") & SVR_DIRECTED_EOI) !== 0;
    return { vector, broadcast: this.#hasVector("tmr", vector) && !directed };
  }

  /** PPR (Intel SDM vol. 3, 12.8.3.1): the higher class of TPR and of what is in service. */
  #priority(inService: number | undefined): number {
    const tpr = this.#get("tpr") & 0xff;
    const serviced = (inService ?? 0) & PRIORITY_CLASS;
    return (tpr & PRIORITY_CLASS) >= serviced ? tpr : serviced;
  }

  #updatePpr(): void {
    this.#set("ppr", this.#priority(this.#highest("isr")));
  }

  #get(register: LapicRegister): number {
    return this.#view.getUint32(LAPIC_REGISTERS[register], true);
  }

  #set(register: LapicRegister, value: number): void {
    this.#view.setUint32(LAPIC_REGISTERS[register], value, true);
  }

  #hasVector(register: LapicVectorRegister, vector: Vector): boolean {
    return (this.#view.getUint32(wordOf(register, vector), true) & (1 << (vector & 31))) !== 0;
  }

  #setVector(register: LapicVectorRegister, vector: Vector, on: boolean): void {
    const offset = wordOf(register, vector);
    const bit = 1 << (vector & 31);
    const word = this.#view.getUint32(offset, true);
    this.#view.setUint32(offset, on ? word | bit : word & ~bit, true);
  }

  #highest(register: LapicVectorRegister): number | undefined {
    for (let word = 7; word >= 0; word--) {
      const bits = this.#view.getUint32(LAPIC_VECTOR_REGISTERS[register] + word * 16, true);
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return undefined;
  }
}

function wordOf(register: LapicVectorRegister, vector: Vector): number {
  return LAPIC_VECTOR_REGISTERS[register] + (vector >>> 5) * 16;
}
