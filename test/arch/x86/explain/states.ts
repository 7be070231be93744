import fc from "fast-check";
import { hasBit } from "../../../../src/abi/bits.ts";
import { HOST_ARCH } from "../../../../src/arch/arches.ts";
import {
  DELIVERY_MODES,
  DEST_MODES,
  decodeIoapic,
  TRIG_MODES,
} from "../../../../src/arch/x86/ioapic/layout.ts";
import type { LapicState } from "../../../../src/arch/x86/lapic/layout.ts";
import type { PicField, PicState } from "../../../../src/arch/x86/pic/layout.ts";
import type { Chips } from "../../../../src/arch/x86/state.ts";
import type { Machine } from "../../../../src/vm/machine.ts";
import { snapshotOf, writeState } from "./prediction.ts";

/** A state to try: what to put on top of a fresh machine's chips, lines to hold, and lines to pulse. */
export interface RandomState {
  pics: [Partial<PicState>, Partial<PicState>];
  ioapic: Pick<NonNullable<Chips["ioapic"]>, "irr" | "redirtbl">;
  lapics: Partial<LapicState>[];
  holds: number[];
  /** Whether the IOAPIC is set anew, as it is, once the lines are held. */
  resets: boolean;
  pulses: number[];
}

const byte = fc.nat(0xff);
/** Bytes with few bits, so that not everything masks everything. */
const sparse = fc.tuple(byte, byte, byte).map(([a, b, c]) => a & b & c);
const flag = fc.constantFrom(0, 0, 0, 1);
const bit = fc.nat(7).map((n) => 1 << n);

const pic = fc.record({
  irr: sparse,
  imr: sparse,
  isr: fc.oneof(fc.constant(0), sparse),
  priority_add: fc.constantFrom(0, 0, 1, 3, 7),
  irq_base: fc.constantFrom(0, 0x20, 0x28, 0x70),
  special_mask: flag,
  special_fully_nested_mode: flag,
  auto_eoi: flag,
  rotate_on_auto_eoi: flag,
  init_state: fc.constantFrom(0, 0, 0, 1, 2, 3),
  poll: fc.constant(0),
  elcr: sparse,
} satisfies Partial<Record<PicField, fc.Arbitrary<number>>>);

const vector = fc.oneof(byte, fc.constantFrom(0x05, 0x10, 0x31, 0x41, 0x41, 0x52, 0xe8));
const ldr = fc.oneof(fc.constant(0), bit, bit, byte);

const entry = fc.record({
  vector,
  delivery_mode: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom("fixed" as const, "lowest-priority" as const) },
    { weight: 1, arbitrary: fc.constantFrom(...DELIVERY_MODES) },
  ),
  dest_mode: fc.constantFrom(...DEST_MODES),
  delivery_status: fc.constant("idle" as const),
  polarity: fc.constantFrom("high", "low"),
  remote_irr: fc.constantFrom(false, false, true),
  trig_mode: fc.constantFrom(...TRIG_MODES),
  mask: fc.constantFrom(false, false, false, true),
  dest_id: fc.oneof(fc.constantFrom(0, 1, 2, 3, 0xff), bit, byte),
});

const vectors = fc
  .oneof(
    { weight: 3, arbitrary: fc.constant<number[]>([]) },
    { weight: 1, arbitrary: fc.array(vector, { maxLength: 4 }) },
  )
  .map((list) => [...new Set(list)].sort((a, b) => a - b));

const lapic = (vcpu: number) =>
  fc.record({
    id: fc
      .oneof({ weight: 4, arbitrary: fc.constant(vcpu) }, fc.constantFrom(0, 1, 2, 9))
      .map((id) => id * 2 ** 24),
    svr: fc.constantFrom(0x1ff, 0x1ff, 0x1ff, 0xff),
    ldr: ldr.map((id) => id * 2 ** 24),
    dfr: fc.oneof(
      { weight: 4, arbitrary: fc.constant(0xffff_ffff) },
      fc.constantFrom(0x0fff_ffff, 0x3fff_ffff),
    ),
    tpr: fc.constantFrom(0, 0, 0, 0x30, 0xff),
    lvt_lint0: fc.constantFrom(0x700, 0x1_0700, 0x1_0000, 0x400, 0x31),
    irr: vectors,
    isr: vectors,
    tmr: vectors,
  });

/** Mostly one logical model for all, as an OS sets them up; sometimes each its own. */
const lapics = (vcpus: number) =>
  fc
    .tuple(
      fc.boolean(),
      fc.constantFrom(0xffff_ffff, 0x0fff_ffff),
      ...Array.from({ length: vcpus }, (_, n) => lapic(n)),
    )
    .map(([uniform, dfr, ...list]) =>
      uniform ? list.map((one, n) => ({ ...one, dfr, ldr: 2 ** (24 + n) })) : list,
    );

const RTC_PIN = 8;
const RTC_VECTOR = 0xe8;

/**
 * Gives the RTC's pin a vector of its own. KVM counts the EOIs that this pin is owed in a place that no
 * ioctl shows: IRR and ISR tell it only as long as no other pin sends the same vector.
 */
function rtcApart(redirtbl: RandomState["ioapic"]["redirtbl"]): RandomState["ioapic"]["redirtbl"] {
  return redirtbl.map((one, pin) => {
    if (pin === RTC_PIN) return { ...one, vector: RTC_VECTOR };
    return one.vector === RTC_VECTOR ? { ...one, vector: RTC_VECTOR + 1 } : one;
  });
}

/** States of a machine with that many vCPUs. */
export function randomState(vcpus: number): fc.Arbitrary<RandomState> {
  return fc.record({
    pics: fc.tuple(pic, pic),
    ioapic: fc.record({
      irr: fc.oneof(fc.constant(0), fc.nat(0xff_ffff)),
      redirtbl: fc.array(entry, { minLength: 24, maxLength: 24 }).map(rtcApart),
    }),
    lapics: lapics(vcpus),
    holds: fc.array(fc.nat(23), { maxLength: 3 }),
    resets: fc.boolean(),
    pulses: fc.uniqueArray(fc.nat(23), { minLength: 3, maxLength: 4 }),
  });
}

/**
 * Puts a machine into a state. All lines are low at first: what the PICs remember of levels (`last_irr`)
 * then comes from the lines that are held, as it does in a VM.
 *
 * @returns the GSIs whose delivered edge KVM has forgotten, because the IOAPIC was set anew.
 */
export function prepare(machine: Machine, state: RandomState): number[] {
  for (let gsi = 0; gsi < HOST_ARCH.lines.count; gsi++) machine.setIrqLine(gsi, 0);
  const { chips } = snapshotOf(machine);
  writeState(machine, {
    pic1: { ...chips.pic1!, ...state.pics[0], last_irr: 0 },
    pic2: { ...chips.pic2!, ...state.pics[1], last_irr: 0 },
    ioapic: { ...chips.ioapic!, ...state.ioapic },
    lapic: state.lapics.map((change, vcpu) => ({ ...chips.lapic![vcpu]!, ...change })),
  });
  state.ioapic.redirtbl.forEach(({ trig_mode, mask }, pin) => {
    // KVM re-injects these on a write and then hides their IRR bit until the line goes low.
    if (trig_mode === "edge" && !mask) machine.setIrqLine(pin, 0);
  });
  for (const gsi of state.holds) {
    // A delivered edge whose line stays high shows only at a PIC's input: not from GSI 16 on, nor at the
    // cascade, whose level the slave overwrites.
    if (gsi < 16 && gsi !== 2) machine.setIrqLine(gsi, 1);
  }
  if (!state.resets) return [];
  const bytes = machine.readChip("ioapic");
  machine.writeChip({ id: "ioapic", bytes });
  const { irr } = decodeIoapic(bytes);
  return state.holds.filter((gsi) => !hasBit(irr, gsi));
}
