import Table from "cli-table3";
import { ATTACKS } from "./registry.ts";
import { runAttack, SEED } from "./run-attack.ts";

/** How many of one attack's failures are shown. */
const SHOWN = 10;

/**
 * Makes every attack in its long form, or those that are named, and shows a table of them.
 *
 * @returns how many tries went wrong.
 */
export async function attackAll(names: readonly string[], divisor: number): Promise<number> {
  console.error(`attack: seed ${SEED}; ATTACK_SEED=${SEED} does the same again`);
  const head = ["ATTACK", "WHAT", "TRIED", "RIGHT", "WRONG", "WORST MiB", "CPU s"];
  const table = new Table({
    head,
    style: { head: [], border: [], compact: true },
    colWidths: [null, 60],
    wordWrap: true,
  });
  let wrong = 0;
  for (const attack of ATTACKS.filter(({ name }) => names.length === 0 || names.includes(name))) {
    if (attack.lacking) {
      table.push([attack.name, `skipped: ${attack.lacking}`, 0, 0, 0, "", ""]);
      continue;
    }
    const started = performance.now();
    const tally = await runAttack(attack, Math.ceil(attack.long / divisor));
    wrong += tally.wrong.length;
    const { tried, worstKib, worstMs } = tally;
    const worst = [worstKib && Math.round(worstKib / 1024), worstMs && (worstMs / 1000).toFixed(1)];
    table.push([attack.name, attack.what, tried, tried - tally.wrong.length, tally.wrong.length, ...worst]);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.error(`attack: ${attack.name}: ${tried} tried, ${tally.wrong.length} wrong (${seconds} s)`);
    for (const what of tally.wrong.slice(0, SHOWN)) console.error(`  ${JSON.stringify(what).slice(1, -1)}`);
  }
  console.log(table.toString());
  return wrong;
}
