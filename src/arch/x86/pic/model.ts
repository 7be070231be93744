import { CASCADE_PIN, decodePic, encodePic, type PicState } from "./layout.ts";

/** The input that an 8259 names when it is asked for a vector and has none. */
const SPURIOUS_INPUT = 7;
/** PC hardware fixes inputs 0-2 of the master and 0 and 5 of the slave as edge-triggered. */
const ELCR_WRITABLE = { master: 0xf8, slave: 0xde } as const;

/**
 * What software writes to OCW2, the end-of-interrupt and rotation register (8259A data sheet,
 * "Operation command words"). `level` is an input, 0 to 7.
 */
export type PicEoi =
  | { command: "non-specific"; rotate?: boolean }
  | { command: "specific"; level: number; rotate?: boolean };

/** One 8259 as KVM keeps it: the sixteen bytes of `struct kvm_pic_state` and nothing else. */
export class Pic {
  state: PicState;

  constructor(elcrMask: number) {
    this.state = { ...decodePic(new Uint8Array(16)), elcr_mask: elcrMask };
  }

  /**
   * Sets the level of an input. IRR collects it even when the input is masked.
   *
   * @param input 0 to 7.
   * @returns 1 when taken, 0 when it is pending already, -1 when the input is masked.
   */
  setInput(input: number, level: 0 | 1): number {
    const { state } = this;
    const bit = 1 << input;
    const pending = (state.irr & bit) !== 0;
    let taken = 1;
    if (level === 0) {
      if (state.elcr & bit) state.irr &= ~bit;
      state.last_irr &= ~bit;
    } else {
      const rising = (state.last_irr & bit) === 0;
      const requests = (state.elcr & bit) !== 0 || rising;
      if (requests) {
        if (pending) taken = 0;
        state.irr |= bit;
      }
      state.last_irr |= bit;
    }
    return state.imr & bit ? -1 : taken;
  }

  /**
   * The input that the chip asks an interrupt for: unmasked, and above all that are in service.
   *
   * @param ignoreInService inputs whose service does not count, as a mask.
   */
  request(ignoreInService = 0): number | undefined {
    const { irr, imr, isr } = this.state;
    const wanted = this.#highest(irr & ~imr);
    const serviced = this.#highest(isr & ~ignoreInService);
    return wanted < serviced ? this.#inputAt(wanted) : undefined;
  }

  /** INTA for one input: into service, and out again at once with automatic EOI. */
  acknowledge(input: number): void {
    const { state } = this;
    const bit = 1 << input;
    state.isr |= bit;
    if ((state.elcr & bit) === 0) state.irr &= ~bit;
    if (state.auto_eoi) this.#endService(input, state.rotate_on_auto_eoi !== 0);
  }

  /**
   * End of interrupt. A non-specific one ends the highest in service.
   *
   * @returns whether it ended anything; a specific one always counts as doing so.
   */
  eoi(eoi: PicEoi): boolean {
    const rank = this.#highest(this.state.isr);
    if (eoi.command === "non-specific" && rank === 8) return false;
    this.#endService(eoi.command === "specific" ? eoi.level & 7 : this.#inputAt(rank), eoi.rotate ?? false);
    return true;
  }

  #endService(input: number, rotate: boolean): void {
    if (rotate) this.state.priority_add = (input + 1) & 7;
    this.state.isr &= ~(1 << input);
  }

  /** The rank, 0 first, of the highest-priority input in a mask; 8 when it is empty. */
  #highest(mask: number): number {
    let rank = 0;
    while (rank < 8 && (mask & (1 << this.#inputAt(rank))) === 0) rank++;
    return rank;
  }

  /** Priorities go round: `priority_add` is the input that ranks first. */
  #inputAt(rank: number): number {
    return (rank + this.state.priority_add) & 7;
  }
}

/** The two 8259s of a PC, the slave's output on the master's input 2. */
export class PicPair {
  readonly pic1 = new Pic(ELCR_WRITABLE.master);
  readonly pic2 = new Pic(ELCR_WRITABLE.slave);

  /** `struct kvm_pic_state` of one of the two. */
  read(name: "pic1" | "pic2"): Uint8Array {
    return encodePic(this[name].state);
  }

  /** KVM_SET_IRQCHIP: the bytes as they are. {@link cascade} follows, whichever chip was set. */
  write(name: "pic1" | "pic2", bytes: Uint8Array): void {
    this[name].state = decodePic(bytes);
  }

  /**
   * Sets the level of one of the sixteen inputs.
   *
   * @returns as {@link Pic.setInput} does.
   */
  setInput(input: number, level: 0 | 1): number {
    const status = (input < 8 ? this.pic1 : this.pic2).setInput(input & 7, level);
    this.cascade();
    return status;
  }

  /** A slave that asks for something tells the master: by a pulse, so that it makes an edge each time. */
  cascade(): void {
    if (this.pic2.request() === undefined) return;
    this.pic1.setInput(CASCADE_PIN, 1);
    this.pic1.setInput(CASCADE_PIN, 0);
  }

  /** Whether INTR is up: the master has something for the CPU. */
  get intr(): boolean {
    return this.#masterRequest() !== undefined;
  }

  /**
   * INTA: takes the highest request into service.
   *
   * @returns its vector; the spurious one (input 7 of the chip that was asked) when the request has gone.
   */
  acknowledge(): number {
    const { pic1, pic2 } = this;
    const input = this.#masterRequest();
    if (input === undefined) return pic1.state.irq_base + SPURIOUS_INPUT;
    pic1.acknowledge(input);
    let vector = pic1.state.irq_base + input;
    if (input === CASCADE_PIN) {
      const slaveInput = pic2.request();
      if (slaveInput !== undefined) pic2.acknowledge(slaveInput);
      vector = pic2.state.irq_base + (slaveInput ?? SPURIOUS_INPUT);
    }
    this.cascade();
    return vector & 0xff;
  }

  /** OCW2 of one chip. Ending a slave's interrupt takes one for each of the two. */
  eoi(name: "pic1" | "pic2", eoi: PicEoi): void {
    if (this[name].eoi(eoi)) this.cascade();
  }

  #masterRequest(): number | undefined {
    const nested = this.pic1.state.special_fully_nested_mode !== 0;
    return this.pic1.request(nested ? 1 << CASCADE_PIN : 0);
  }
}
