import { User } from "../support/cli.ts";
import { type Attack, Tally } from "./attack.ts";
import { Random } from "./random.ts";

/** Decides everything that is random here: `ATTACK_SEED` repeats what was found. Under vitest always the same. */
export const SEED = Number(process.env["ATTACK_SEED"] ?? (process.env["VITEST"] ? 1 : Date.now() % 2 ** 31));

/** Makes one attack, as a user with an empty folder, and looks what it left there. */
export async function runAttack(attack: Attack, count: number): Promise<Tally> {
  const tally = new Tally();
  const user = new User();
  try {
    await attack.run({ random: new Random(SEED, attack.name), user, tally }, count);
  } finally {
    user.dispose();
  }
  return tally;
}
