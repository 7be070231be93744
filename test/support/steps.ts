import fc from "fast-check";
import {
  DELIVERY_MODES,
  encodeRedirectionEntry,
  type RedirectionEntry,
} from "../../src/arch/x86/ioapic/layout.ts";
import { SIZEOF } from "../../src/arch/x86/ioctl.ts";
import {
  LAPIC_REGISTERS,
  LAPIC_VECTOR_REGISTERS,
  type LapicRegister,
  type LapicVectorRegister,
} from "../../src/arch/x86/lapic/layout.ts";
import { encodeMsi } from "../../src/arch/x86/msi.ts";
import { PIC, type PicField } from "../../src/arch/x86/pic/layout.ts";
import type { PicEoi } from "../../src/arch/x86/pic/model.ts";
import type { PresetName } from "../../src/arch/x86/presets.ts";
import type { ChipId } from "../../src/vm/chip.ts";
import type { MsiMessage, Route, Routing } from "../../src/vm/routing.ts";

/** Bytes that go over those which a chip has, at an offset. */
export interface Patch {
  offset: number;
  bytes: number[];
}

/**
 * A step of a random sequence. A write starts from the chip's bytes of that moment (or from zeros), so that
 * it may be a small change, a state that makes no sense, or none at all: a mere restore.
 */
export type Step =
  | { do: "line"; gsi: number; level: 0 | 1 }
  | ({ do: "msi" } & MsiMessage)
  | { do: "route"; routing: Routing }
  | { do: "write"; chip: ChipId; from: "current" | "zero"; patches: Patch[] }
  | { do: "preset"; preset: PresetName }
  | { do: "readVcpu"; vcpu: number }
  | { do: "acknowledge" }
  | { do: "eoi" }
  | { do: "eoiPic"; pic: "pic1" | "pic2"; eoi: PicEoi };

const byte = fc.integer({ min: 0, max: 0xff });
const oneBit = fc.constantFrom(1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80);
const word = fc.integer({ min: 0, max: 0xffff_ffff });
const vector = fc.oneof(fc.constantFrom(0x34, 0x35, 0x51, 0x80, 0x06, 0xff), byte);
/** Lines that meet often, so that one step finds what another left. */
const gsi = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(2, 4, 8, 9, 16, 20) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 23 }) },
  { weight: 1, arbitrary: fc.constantFrom(24, 100, 0xffff_ffff) },
);
const pin = fc.oneof(fc.constantFrom(2, 4, 8, 9, 16, 20), fc.integer({ min: 0, max: 23 }));

function littleEndian(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
const register = (name: LapicRegister, value: fc.Arbitrary<number>) =>
  value.map((number): Patch => ({ offset: LAPIC_REGISTERS[name], bytes: littleEndian(number) }));

/** A few bytes here and there, or a stretch of the chip: up to all of it. */
function wildBytes(size: number): fc.Arbitrary<Patch[]> {
  const few = fc.array(
    fc.record({ bytes: fc.array(byte, { minLength: 1, maxLength: 4 }), offset: fc.nat(size - 4) }),
    { minLength: 1, maxLength: 6 },
  );
  // A seed is much cheaper than a thousand arbitrary bytes, and the stretch can still shrink.
  const stretch = fc.tuple(fc.integer(), fc.nat(size), fc.nat(size)).map(([seed, one, other]) => {
    const offset = Math.min(one, other);
    return [{ offset, bytes: pseudoRandomBytes(seed, size).slice(offset, Math.max(one, other)) }];
  });
  const whole = fc.integer().map((seed) => [{ offset: 0, bytes: pseudoRandomBytes(seed, size) }]);
  return fc.oneof(
    { weight: 2, arbitrary: few },
    { weight: 2, arbitrary: stretch },
    { weight: 1, arbitrary: whole },
  );
}

/** Marsaglia's xorshift, 32 bits. */
function pseudoRandomBytes(seed: number, size: number): number[] {
  let state = seed === 0 ? 1 : seed;
  return Array.from({ length: size }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

const picField = fc.constantFrom<PicField>(
  "last_irr",
  "irr",
  "imr",
  "isr",
  "priority_add",
  "special_mask",
  "auto_eoi",
  "rotate_on_auto_eoi",
  "special_fully_nested_mode",
  "elcr",
);
const picFields = fc.array(
  fc
    .tuple(picField, fc.oneof(fc.constant(0), oneBit, byte))
    .map(([field, value]): Patch => ({ offset: Object.keys(PIC.fields).indexOf(field), bytes: [value] })),
  { maxLength: 4 },
);
const picPatches = fc.oneof(
  { weight: 3, arbitrary: picFields },
  { weight: 1, arbitrary: wildBytes(SIZEOF.kvm_pic_state) },
);

const destination = fc.oneof(
  fc.integer({ min: 0, max: 4 }),
  oneBit,
  fc.constantFrom(0xff, 0x0f, 3, 7, 0x11, 0x13),
  byte,
);
const mostly = (value: boolean) =>
  fc.oneof({ weight: 7, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: fc.constant(!value) });

type DeliveryMode = RedirectionEntry["delivery_mode"];
const vectored = fc.constantFrom<DeliveryMode>("fixed", "lowest-priority");
const anyMode = fc.oneof(
  { weight: 4, arbitrary: vectored },
  { weight: 3, arbitrary: fc.constantFrom<DeliveryMode>("nmi", "init", ...DELIVERY_MODES) },
);
const redirectionEntry = (delivery_mode: fc.Arbitrary<DeliveryMode>) =>
  fc
    .tuple(
      pin,
      fc.record({
        vector,
        delivery_mode,
        dest_mode: fc.constantFrom("physical" as const, "logical" as const),
        delivery_status: fc.constant("idle" as const),
        polarity: fc.constant("high" as const),
        remote_irr: mostly(false),
        trig_mode: fc.constantFrom("edge" as const, "level" as const),
        mask: mostly(false),
        dest_id: destination,
      }),
    )
    .map(([number, entry]): Patch => {
      const { low, high } = encodeRedirectionEntry(entry);
      return { offset: 24 + number * 8, bytes: [...littleEndian(low), ...littleEndian(high)] };
    });
const ioapicIrr = fc
  .oneof(
    fc.constant(0),
    pin.map((number) => 2 ** number),
    word,
  )
  .map((irr): Patch => ({ offset: 16, bytes: littleEndian(irr) }));
const ioapicPatches = fc.oneof(
  { weight: 6, arbitrary: fc.array(redirectionEntry(anyMode), { maxLength: 5 }) },
  { weight: 1, arbitrary: fc.tuple(ioapicIrr) },
  { weight: 1, arbitrary: wildBytes(SIZEOF.kvm_ioapic_state) },
);

const logicalId = fc.oneof(oneBit, fc.constantFrom(0, 3, 0x11, 0x12, 0x21, 0x22, 0x13), byte);
/** A vector in one of the 256-bit registers. */
const vectorIn = (...registers: LapicVectorRegister[]) =>
  fc.tuple(fc.constantFrom(...registers), vector).map(([register, number]): Patch => {
    const bytes = littleEndian((1 << (number & 31)) >>> 0);
    return { offset: LAPIC_VECTOR_REGISTERS[register] + (number >>> 5) * 16, bytes };
  });
const lapicPatch = (tpr: fc.Arbitrary<number>, pending: fc.Arbitrary<Patch>) =>
  fc.oneof(
    { weight: 4, arbitrary: register("svr", fc.constantFrom(0x1ff, 0x1ff, 0x1ff, 0x11ff, 0xff)) },
    {
      weight: 2,
      arbitrary: register(
        "ldr",
        logicalId.map((id) => id * 2 ** 24),
      ),
    },
    { weight: 2, arbitrary: register("dfr", fc.constantFrom(0xffff_ffff, 0x0fff_ffff, 0x0fff_ffff, 0)) },
    {
      weight: 1,
      arbitrary: register(
        "id",
        fc.integer({ min: 0, max: 4 }).map((id) => id * 2 ** 24),
      ),
    },
    { weight: 1, arbitrary: register("tpr", tpr) },
    { weight: 1, arbitrary: register("lvt_lint0", fc.constantFrom(0x700, 0x1_0000, 0x400)) },
    { weight: 2, arbitrary: pending },
  );
/** Enabled, with a logical id of its own in the flat model or in a cluster, as an OS sets it. */
function asAnOs(vcpu: number): fc.Arbitrary<Patch[]> {
  return fc
    .constantFrom({ dfr: 0xffff_ffff, id: 1 << vcpu }, { dfr: 0x0fff_ffff, id: 0x10 | (1 << vcpu) })
    .map(({ dfr, id }) => [
      { offset: LAPIC_REGISTERS.svr, bytes: littleEndian(0x1ff) },
      { offset: LAPIC_REGISTERS.dfr, bytes: littleEndian(dfr) },
      { offset: LAPIC_REGISTERS.ldr, bytes: littleEndian(id * 2 ** 24) },
    ]);
}

const lapicPatches = (vcpu: number) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.array(lapicPatch(byte, vectorIn("irr", "isr", "tmr")), { maxLength: 4 }) },
    { weight: 3, arbitrary: asAnOs(vcpu) },
    { weight: 1, arbitrary: wildBytes(SIZEOF.kvm_lapic_state) },
  );

function write(chip: fc.Arbitrary<ChipId>, patches: fc.Arbitrary<Patch[]>): fc.Arbitrary<Step> {
  const from = fc.oneof(
    { weight: 20, arbitrary: fc.constant("current" as const) },
    { weight: 1, arbitrary: fc.constant("zero" as const) },
  );
  return fc.record({ do: fc.constant("write" as const), chip, from, patches });
}

const line: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("line" as const),
  gsi,
  level: fc.constantFrom(1 as const, 0 as const),
});
const wayOfPin = (chip: "pic1" | "pic2" | "ioapic") =>
  fc.record({ chip: fc.constant(chip), pin: chip === "ioapic" ? pin : fc.nat(7) });
const message = fc
  .record({
    dest_id: destination,
    redirection_hint: mostly(false),
    dest_mode: fc.constantFrom("physical" as const, "logical" as const),
    vector,
    delivery_mode: anyMode,
    level: fc.constantFrom("assert" as const, "deassert" as const),
    trig_mode: fc.constantFrom("edge" as const, "level" as const),
  })
  .map(encodeMsi);
/** A GSI's ways: pins of different chips, or an MSI. */
const ways: fc.Arbitrary<({ chip: "pic1" | "pic2" | "ioapic"; pin: number } | { msi: MsiMessage })[]> =
  fc.oneof(
    { weight: 3, arbitrary: fc.tuple(wayOfPin("ioapic")) },
    { weight: 2, arbitrary: fc.tuple(wayOfPin("pic1"), wayOfPin("pic2"), wayOfPin("ioapic")) },
    { weight: 3, arbitrary: message.map((msi) => [{ msi }]) },
  );
const table = fc
  .uniqueArray(fc.tuple(fc.constantFrom(2, 4, 8, 9, 16, 20, 24, 100), ways), {
    selector: ([gsi]) => gsi,
    maxLength: 6,
  })
  .map((rows) => rows.flatMap(([gsi, found]) => found.map((way): Route => ({ gsi, ...way }))));
const route: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("route" as const),
  routing: fc.oneof(fc.constant<Routing>("default"), table),
});
const msi = message.map((fields): Step => ({ do: "msi", ...fields }));
const preset: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("preset" as const),
  preset: fc.constantFrom<PresetName>("pic", "ioapic", "ioapic"),
});

/** What a sequence can be made of besides line changes. */
const KINDS = ["pic", "ioapic", "lapic", "msi", "route", "preset", "readVcpu"] as const;
type Kind = (typeof KINDS)[number];

const anyKinds: fc.Arbitrary<Kind[]> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<Kind[]>([...KINDS]) },
  { weight: 1, arbitrary: fc.subarray([...KINDS], { minLength: 1 }) },
);

/** A sequence of random steps for a VM of so many vCPUs. */
export interface Sequence {
  vcpus: number;
  steps: Step[];
}

/**
 * Sequences of lines, writes of sane and wild states, presets, and reads of a vCPU (which are steps because
 * they can change it). Each leaves some kinds of step out, so that what needs the absence of one, such as a
 * local APIC that nobody has set, comes up too.
 *
 * @param most the most vCPUs and the most steps.
 */
export function anySequence(most: { vcpus: number; steps: number }): fc.Arbitrary<Sequence> {
  return fc.tuple(fc.integer({ min: 1, max: most.vcpus }), anyKinds).chain(([vcpus, kinds]) =>
    fc.record({
      vcpus: fc.constant(vcpus),
      steps: fc.array(anyStep(vcpus, kinds), { minLength: 1, maxLength: most.steps, size: "max" }),
    }),
  );
}

function anyStep(vcpus: number, kinds: Kind[]): fc.Arbitrary<Step> {
  const vcpu = fc.nat(vcpus - 1);
  const weighted: Record<Kind, { weight: number; arbitrary: fc.Arbitrary<Step> }> = {
    pic: { weight: 5, arbitrary: write(fc.constantFrom<ChipId>("pic1", "pic2"), picPatches) },
    ioapic: { weight: 8, arbitrary: write(fc.constant<ChipId>("ioapic"), ioapicPatches) },
    lapic: {
      weight: 8,
      arbitrary: vcpu.chain((index) => write(fc.constant<ChipId>(`lapic[${index}]`), lapicPatches(index))),
    },
    msi: { weight: 6, arbitrary: msi },
    route: { weight: 2, arbitrary: route },
    preset: { weight: 1, arbitrary: preset },
    readVcpu: { weight: 3, arbitrary: fc.record({ do: fc.constant("readVcpu" as const), vcpu }) },
  };
  return fc.oneof({ weight: 24, arbitrary: line }, ...kinds.map((kind) => weighted[kind]));
}

/**
 * Sequences for a VM whose vCPU 0 runs: besides lines and sane writes, the CPU takes interrupts and ends
 * them. Nothing that is not an interrupt with a vector: an NMI or INIT would end the guest.
 *
 * @param throughLapic whether the local APIC takes part, or the PICs alone.
 * @param most the most vCPUs and the most steps.
 */
export function anyCpuSequence(
  throughLapic: boolean,
  most: { vcpus: number; steps: number },
): fc.Arbitrary<Sequence> {
  const vcpus = throughLapic ? fc.integer({ min: 1, max: most.vcpus }) : fc.constant(1);
  return vcpus.chain((count) =>
    fc.record({
      vcpus: fc.constant(count),
      steps: fc.array(throughLapic ? lapicCpuStep(count) : picCpuStep, {
        minLength: 1,
        maxLength: most.steps,
        size: "max",
      }),
    }),
  );
}

const picName = fc.constantFrom("pic1" as const, "pic2" as const);
const picEoi: fc.Arbitrary<PicEoi> = fc.oneof(
  fc.record({ command: fc.constant("non-specific" as const), rotate: fc.boolean() }),
  fc.record({ command: fc.constant("specific" as const), level: fc.nat(7), rotate: fc.boolean() }),
);
const picCpuStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: line },
  { weight: 8, arbitrary: fc.constant<Step>({ do: "acknowledge" }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("eoiPic" as const), pic: picName, eoi: picEoi }) },
  { weight: 2, arbitrary: write(fc.constantFrom<ChipId>("pic1", "pic2"), picFields) },
);

/**
 * Without what a CPU that runs changes by running: it computes PPR from ISR at once, where one at rest
 * leaves that for later, and it keeps of TPR what CR8 has, the class.
 */
const priorityClass = fc.nat(15).map((number) => number * 16);
const lapicOfRunning = fc.array(lapicPatch(priorityClass, vectorIn("irr", "tmr")), { maxLength: 4 });

function lapicCpuStep(vcpus: number): fc.Arbitrary<Step> {
  const entries = fc.array(redirectionEntry(vectored), { maxLength: 5 });
  const lapic = fc
    .nat(vcpus - 1)
    .chain((vcpu) => write(fc.constant<ChipId>(`lapic[${vcpu}]`), fc.oneof(asAnOs(vcpu), lapicOfRunning)));
  return fc.oneof(
    { weight: 20, arbitrary: picCpuStep },
    { weight: 5, arbitrary: fc.constant<Step>({ do: "eoi" }) },
    { weight: 3, arbitrary: write(fc.constant<ChipId>("ioapic"), entries) },
    { weight: 2, arbitrary: lapic },
    { weight: 1, arbitrary: preset },
  );
}
