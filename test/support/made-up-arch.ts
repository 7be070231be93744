import type { Arch, Controller } from "../../src/arch/arch.ts";
import { ARCHES, HOST_ARCH } from "../../src/arch/arches.ts";
import { codecOf } from "../../src/arch/codec.ts";
import { bits, bitwise, u32, word } from "../../src/registers/field.ts";
import { struct } from "../../src/registers/struct.ts";
import type { Chips } from "../../src/vm/chip.ts";
import type { Snapshot } from "../../src/vm/snapshot.ts";

/**
 * An architecture that nobody has, with a chip, fields, lines and MSIs of its own: what asks this host's
 * architecture about a snapshot, where the snapshot's own has the answer, fails with it.
 */
const CHIPS: readonly Controller[] = [
  {
    kind: "dist",
    title: "distributor",
    access: { irqchip: 9 },
    layout: struct("made_up_dist", 12, {
      ctlr: word(bits(0, 1), ["off", "on"]),
      enabled: bitwise(u32(4)),
      group: u32(8),
    }),
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

export interface DistState {
  ctlr: "off" | "on";
  enabled: number;
  group: number;
}

/** A snapshot of such a VM. */
export function madeUpSnapshot(dist: Partial<DistState> = {}): Snapshot<Chips & { dist: DistState }> {
  return {
    format: "kvm-irq.snapshot",
    version: 1,
    captured_at: "2026-01-01T00:00:00.000Z",
    source: { kind: "file" },
    host: { kernel: "6.0", arch: MADE_UP.name },
    chips: { dist: { ctlr: "on", enabled: 0, group: 0, ...dist } },
  };
}
