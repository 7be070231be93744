import { describe, expect, test } from "vitest";
import { ChainJoiner, chainsOf } from "../../../../src/arch/x86/lives/chains.ts";
import type { Chain } from "../../../../src/lives/chain.ts";
import { FirstChains, Tally } from "../../../../src/lives/tally.ts";
import type { TraceEvent } from "../../../../src/tracefs/event.ts";
import { accept, eoi, inject, msi, trace } from "../../../support/trace-events.ts";

/** Events one microsecond apart. */
function* many(count: number, each: (index: number) => Parameters<typeof trace>): Generator<TraceEvent> {
  let time = 0;
  for (let index = 0; index < count; index++) {
    for (const event of trace(...each(index))) {
      time += 1000;
      yield { ...event, time };
    }
  }
}

describe("a trace of many interrupts", () => {
  const interrupt = (): Parameters<typeof trace> => [accept(0x41), inject(0x41), eoi(0x41)];

  test("is handed on as it goes, so that what is kept does not grow", () => {
    let [begun, handedOn, most] = [0, 0, 0];
    const joiner = new ChainJoiner(() => handedOn++);
    for (const event of many(50_000, interrupt)) {
      joiner.push(event);
      if (event.event === "kvm_eoi") most = Math.max(most, ++begun - handedOn);
    }
    joiner.finish();
    expect({ begun, handedOn, most }).toEqual({ begun: 50_000, handedOn: 50_000, most: 10_000 });
  });

  test("has every interrupt once, in the order in which they began", () => {
    const chains = chainsOf(many(30_000, interrupt));
    expect(chains.map(({ id }) => id)).toEqual(Array.from({ length: 30_000 }, (_, index) => index + 1));
    expect(new Set(chains.map(({ outcome }) => outcome))).toEqual(new Set(["complete"]));
  });

  test.each<[string, (index: number) => Parameters<typeof trace>]>([
    ["one vector is injected and never ended", () => [accept(0x41), inject(0x41)]],
    ["each waits in another local APIC", (index) => [accept(0x41, { apicid: index })]],
    ["MSIs go to nobody", () => [msi(0x61, { dest: 5 })]],
  ])("is joined in a time that grows with it alone, where %s", (_, each) => {
    const tally = new Tally();
    const joiner = new ChainJoiner((chain) => tally.add(chain));
    for (const event of many(100_000, each)) joiner.push(event);
    joiner.finish();
    expect(tally.outcomes).toEqual({ complete: 0, coalesced: 0, posted: 0, unfinished: 100_000 });
    expect(tally.unfinished).toMatchObject([{ count: 100_000 }]);
  });

  test("keeps those that began first, however late they end", () => {
    const first = new FirstChains(3);
    for (const id of [9, 8, 7, 6, 5, 2, 4, 1, 3]) first.add({ id } as Chain);
    expect(first.kept.map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(first.count).toBe(9);
  });
});
