import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { User } from "../support/cli.ts";
import { Many } from "./program.ts";
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

describe("many calls in one process", () => {
  it("have the environment of their user, whatever one of them was given", async () => {
    const user = new User();
    const many = new Many(user.env, user.folder);
    try {
      await many.call(["list"], { XDG_RUNTIME_DIR: "/nonexistent/folder" });
      expect(await many.call(["create", "x", "--backend", "model"])).toMatchObject({ status: 0 });
      expect(readdirSync(join(user.folder, "kvm-irq"))).toEqual(["x"]);
    } finally {
      await many.call(["destroy", "x"]);
      many.dispose();
      expect(user.dispose()).toEqual([]);
    }
  });
});
