import { describe, expect, it } from "vitest";
import type { Chain } from "../../src/lives/chain.ts";
import { FirstChains } from "../../src/lives/tally.ts";

const began = (id: number) => ({ id }) as Chain;
const idsOf = (chains: FirstChains) => chains.kept.map(({ id }) => id);

describe("FirstChains", () => {
  it("keeps those that began first, in whatever order they end", () => {
    const chains = new FirstChains(3);
    for (const id of [9, 8, 7, 6, 5, 4, 10, 11, 12, 2, 1, 3]) chains.add(began(id));
    expect(idsOf(chains)).toEqual([1, 2, 3]);
    expect(chains.count).toBe(12);
  });

  it("takes one that began before the last of a full list, and none that began after it", () => {
    const chains = new FirstChains(2);
    for (const id of [2, 4, 6, 8]) chains.add(began(id));
    expect(idsOf(chains)).toEqual([2, 4]);
    chains.add(began(5));
    chains.add(began(3));
    expect(idsOf(chains)).toEqual([2, 3]);
  });

  it("keeps a late chain of a list that is not full", () => {
    const chains = new FirstChains(5);
    for (const id of [3, 1]) chains.add(began(id));
    expect(idsOf(chains)).toEqual([1, 3]);
    chains.add(began(7));
    expect(idsOf(chains)).toEqual([1, 3, 7]);
  });
});
