import type { Arch, Controller } from "../../src/arch/arch.ts";
import { ARCHES, HOST_ARCH } from "../../src/arch/arches.ts";
import { codecOf } from "../../src/arch/codec.ts";
import { ioapicOf } from "../../src/arch/ioapic-layout.ts";
import { bank, reg32, reg64, regs32 } from "../../src/registers/bank.ts";
import { bitSet, bits, bitwise, type Field, u32, u64, word } from "../../src/registers/field.ts";
import { ofSizes, struct } from "../../src/registers/struct.ts";
import type { Chips } from "../../src/vm/chip.ts";
import type { Snapshot } from "../../src/vm/snapshot.ts";

/**
 * An architecture that nobody has, with a chip, fields, lines and MSIs of its own: what asks this host's
 * architecture about a snapshot, where the snapshot's own has the answer, fails with it.
 */
const OLD_TIMER = struct("made_up_timer", 8, { at: u32(0), flags: u32(4) });
const TIMER = struct("made_up_timer", 16, { at: u32(0), flags: u32(4), offset: u64(8) });

const CHIPS: readonly Controller[] = [
  {
    kind: "dist",
    title: "distributor",
    access: { device: "kvm-made-up-dist", group: 1 },
    layout: bank("made-up distributor", {
      ctlr: reg32(0x0, (at) => ofWord(at, word(bits(0, 1), ["off", "on"]))),
      enabled: reg32(0x100, (at) => bitwise(u32(at))),
      group: reg32(0x80),
      pending: regs32(0x200, 2, (at) => bitSet(at, 2, 4)),
    }),
  },
  {
    kind: "redist",
    title: "redistributor",
    access: { device: "kvm-made-up-dist", group: 5, base: (vcpu) => BigInt(vcpu) << 32n },
    layout: bank("made-up redistributor", { ctlr: reg32(0x0), typer: reg64(0x8) }),
  },
  {
    kind: "timer",
    title: "timer",
    access: { vcpu: [{ get: "KVM_GET_MP_STATE", size: TIMER.size, others: [OLD_TIMER.size] }] },
    layout: ofSizes(TIMER, OLD_TIMER),
  },
  {
    kind: "wide",
    title: "IOAPIC",
    access: { irqchip: 9 },
    layout: ofSizes(ioapicOf(24), ioapicOf(48)),
  },
];

const { vcpu: _, ...host } = HOST_ARCH as Arch;
export const MADE_UP: Arch = {
  ...host,
  name: "made-up",
  rawLayout: "made-up",
  chipKinds: CHIPS,
  maxVcpus: 4,
  ...codecOf(CHIPS),
  routing: {
    ...host.routing,
    tables: { default: { description: "one line", routes: [{ gsi: 7, chip: "dist", pin: 3 }] } },
  },
  msi: { ...host.msi, describe: ({ data }) => `message ${data}` },
};
(ARCHES as Arch[]).push(MADE_UP);

/** A field of the word that begins at a place. */
function ofWord<T>(at: number, field: Field<T>): Field<T> {
  return {
    ...field,
    read: (view, base) => field.read(view, base + at),
    write: (view, base, value) => field.write(view, base + at, value),
  };
}

export interface DistState {
  ctlr: "off" | "on";
  enabled: number;
  group: number;
  pending: number[];
}

/** A snapshot of such a VM. */
export function madeUpSnapshot(dist: Partial<DistState> = {}): Snapshot<Chips & { dist: DistState }> {
  return {
    format: "kvm-irq.snapshot",
    version: 1,
    captured_at: "2026-01-01T00:00:00.000Z",
    source: { kind: "file" },
    host: { kernel: "6.0", arch: MADE_UP.name },
    chips: { dist: { ctlr: "on", enabled: 0, group: 0, pending: [], ...dist } },
  };
}
