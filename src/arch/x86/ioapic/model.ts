import type { Pin, Vector } from "../../../abi/numbers.ts";
import type { ApicBus } from "../lapic/bus.ts";
import type { VcpuModel } from "../vcpu/model.ts";
import { decodeIoapic, encodeIoapic, IOAPIC_NUM_PINS, type IoapicState } from "./layout.ts";
import { RTC_PIN, RtcEois } from "./rtc-eois.ts";

const BASE_ADDRESS = 0xfec0_0000;

/** The IOAPIC: 24 pins, a redirection entry each. */
export class Ioapic {
  readonly #bus: ApicBus;
  #state: IoapicState;
  /**
   * Edge pins that are in IRR but delivered: the kernel leaves them out of what KVM_GET_IRQCHIP shows,
   * so that setting the state again does not deliver them twice.
   */
  #delivered = 0;
  readonly #rtcEois: RtcEois;

  constructor(bus: ApicBus) {
    this.#bus = bus;
    this.#rtcEois = new RtcEois(bus);
    this.#state = resetState();
  }

  /** `struct kvm_ioapic_state`, 216 bytes. */
  read(): Uint8Array {
    const { irr } = this.#state;
    return encodeIoapic({ ...this.#state, irr: (irr & ~this.#delivered) >>> 0 });
  }

  /**
   * KVM_SET_IRQCHIP: the bytes as they are, then a rise of every pin that `irr` has. The RTC's is not
   * coalesced here; which EOIs it waits for is found anew from the local APICs.
   */
  write(bytes: Uint8Array): void {
    this.#state = decodeIoapic(bytes);
    const { irr } = this.#state;
    this.#state.irr = 0;
    this.#delivered = 0;
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      if (irr & (1 << pin)) this.#rise(pin, false);
    }
    this.#rtcEois.restoreAll(this.#state.redirtbl[RTC_PIN]!);
  }

  /**
   * Sets the level of a pin.
   *
   * @returns CPUs reached, 0 when coalesced, -1 when masked or waiting for the EOI of a level interrupt.
   *   A fall answers 1.
   */
  setPin(pin: Pin, level: 0 | 1): number {
    if (level === 1) return this.#rise(pin, true);
    this.#state.irr &= ~(1 << pin);
    return 1;
  }

  /** A local APIC was set: what the RTC's interrupt waits for may have changed. */
  lapicWritten(vcpu: VcpuModel): void {
    this.#rtcEois.restore(vcpu, this.#state.redirtbl[RTC_PIN]!);
  }

  /**
   * A local APIC ended a vector: the RTC's EOIs count in any case. A broadcast clears remote IRR, and the line
   * still up, the interrupt goes out again.
   */
  eoi(vcpu: number, vector: Vector, broadcast: boolean): void {
    this.#rtcEois.ended(vcpu, vector);
    if (!broadcast) return;
    this.#state.redirtbl.forEach((entry, pin) => {
      if (entry.vector !== vector || entry.trig_mode !== "level") return;
      entry.remote_irr = false;
      if (this.#state.irr & (1 << pin)) this.#service(pin, false);
    });
  }

  /** @param byLine whether a line rose; the RTC's EOIs count for such a rise alone. */
  #rise(pin: Pin, byLine: boolean): number {
    if (byLine && pin === RTC_PIN && this.#rtcEois.pending > 0) return 0;
    const bit = 1 << pin;
    const pending = (this.#state.irr & bit) !== 0;
    this.#state.irr |= bit;
    if (this.#state.redirtbl[pin]!.trig_mode === "edge") {
      this.#delivered &= ~bit;
      if (pending) return 0;
    }
    return this.#service(pin, byLine);
  }

  /** Sends a pin's interrupt, unless the entry is masked or its last one has not ended. */
  #service(pin: Pin, byLine: boolean): number {
    const entry = this.#state.redirtbl[pin]!;
    const level = entry.trig_mode === "level";
    if (entry.mask || (level && entry.remote_irr)) return -1;
    if (!level) this.#delivered |= 1 << pin;
    const delivery = this.#bus.send(entry);
    if (pin === RTC_PIN && byLine) this.#rtcEois.started(entry.vector, delivery);
    if (level && delivery.status !== 0) entry.remote_irr = true;
    return delivery.status;
  }
}

/** Every entry masked, else zero. */
function resetState(): IoapicState {
  const state = decodeIoapic(new Uint8Array(24 + IOAPIC_NUM_PINS * 8));
  const redirtbl = state.redirtbl.map((entry) => ({ ...entry, mask: true }));
  return { ...state, base_address: BASE_ADDRESS, redirtbl };
}
