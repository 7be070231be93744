import { describe, expect, test } from "vitest";
import { events as x86 } from "../../src/arch/x86/events/facet.ts";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { wavesOf } from "../../src/lives/waves.ts";
import { eventsOf } from "../support/recorded-trace.ts";
import { accept, ack, down, entry, eoi, inject, ioapic, pic, trace, up } from "../support/trace-events.ts";

const { lineOf } = x86;

const waves = (events: ReturnType<typeof trace>) =>
  Object.fromEntries(
    wavesOf(events, chainsOf(events), lineOf).map(({ name, changes }) => [
      name,
      changes.map(({ time, value }) => [time / 1000, value]),
    ]),
  );

describe("waves", () => {
  test("are a line, and what its local APIC has pending and in service", () => {
    expect(waves(trace(up(4), accept(52), ioapic(4, entry(52)), down(4), inject(52), eoi(52)))).toEqual({
      gsi4: [
        [0, 1],
        [3, 0],
      ],
      apic0_irr: [
        [1, 52],
        [4, null],
      ],
      apic0_isr: [
        [4, 52],
        [5, null],
      ],
    });
  });

  test("of the PICs carry pins", () => {
    expect(waves(trace(up(4), pic(4), inject(0x24), ack(0, 4)))).toMatchObject({
      pic_irr: [
        [1, 4],
        [2, null],
      ],
      pic_isr: [
        [2, 4],
        [3, null],
      ],
    });
  });

  test("carry the highest of several vectors", () => {
    const events = trace(accept(52), accept(60), accept(40), inject(60), inject(52));
    expect(waves(events)["apic0_irr"]).toEqual([
      [0, 52],
      [1, 60],
      [3, 52],
      [4, 40],
    ]);
  });

  test("leave out lines that never went up", () => {
    expect(waves(trace(down(9)))).toEqual({});
  });

  test("come line by line, then chip by chip", () => {
    const events = [...eventsOf("pic-edge"), ...eventsOf("ioapic-level")];
    const named = wavesOf(
      events,
      [...chainsOf(eventsOf("pic-edge")), ...chainsOf(eventsOf("ioapic-level"))],
      lineOf,
    );
    expect(named.map(({ name }) => name)).toEqual([
      "gsi4",
      "gsi10",
      "pic_irr",
      "pic_isr",
      "apic0_irr",
      "apic0_isr",
    ]);
  });
});
