import { describe, expect, it } from "vitest";
import { ATTACKS } from "./registry.ts";
import { runAttack, SEED } from "./run-attack.ts";

/** The short form of `npm run attack`. */
describe("the built program withstands", { concurrent: true, timeout: 300_000 }, () => {
  for (const attack of ATTACKS) {
    it.skipIf(Boolean(attack.lacking))(`${attack.name}: ${attack.what}`, async () => {
      const { tried, wrong } = await runAttack(attack, attack.short);
      expect(wrong, `seed ${SEED}`).toEqual([]);
      expect(tried).toBeGreaterThanOrEqual(attack.short / 2);
    });
  }
});
