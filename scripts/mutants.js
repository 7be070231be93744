/**
 * Breaks the model on purpose, one way at a time, and sees that the differential test notices each:
 * `npm run test:mutants`. Exits 1 when a mutant survives. Needs /dev/kvm.
 */
import { readFileSync } from "node:fs";
import Table from "cli-table3";
import { loadDifferential } from "./differential.js";

/** As many steps as the test has: what survives these would survive it. */
const STEPS = 20_000;
const SEED = 1;

/** Each changes one place of one file of src/arch/x86; test/house.test.ts holds that it is still there. */
const MUTANTS = JSON.parse(readFileSync(new URL("mutants.json", import.meta.url), "utf8"));

const table = new Table({ head: ["mutant", "file", "caught"], style: { head: [], border: [] } });
let survivors = 0;
for (const mutant of MUTANTS) {
  const { differentialRun } = await loadDifferential(mutant);
  const { steps, failure } = differentialRun(STEPS, { seed: SEED, shrink: false });
  if (failure === undefined) survivors++;
  table.push([mutant.name, mutant.file, failure === undefined ? "SURVIVED" : `after ${steps} steps`]);
}
console.log(table.toString());
console.log(`${MUTANTS.length - survivors} of ${MUTANTS.length} mutants caught`);
process.exitCode = survivors === 0 ? 0 : 1;
