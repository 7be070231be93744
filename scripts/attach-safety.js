/**
 * Attaches to a busy VMM 2,000 times, then kills the program that attaches 200 times at random points, with
 * SIGINT and SIGTERM and then with SIGKILL, and looks whether the VMM was harmed: `node
 * scripts/attach-safety.js [attaches] [kills]`. Needs root, /dev/kvm and a C compiler. Exits 1 on any harm.
 */
import { importSupport } from "../test/support/import.js";

const [attaches, kills] = [process.argv[2] ?? 2000, process.argv[3] ?? 200].map(Number);
const { BusyVmm, attachOften, killOften } = await importSupport("attach", "attach-safety");

const runs = [
  [`${attaches} attaches`, (vmm) => attachOften(vmm, attaches)],
  [`${kills} kills by SIGINT and SIGTERM`, (vmm) => killOften(vmm, kills, ["SIGINT", "SIGTERM"])],
  [`${kills} kills by SIGKILL`, (vmm) => killOften(vmm, kills, ["SIGKILL"])],
];
for (const [name, run] of runs) {
  const vmm = await BusyVmm.start();
  const started = performance.now();
  const { problems } = await run(vmm);
  await vmm.end();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${name}: ${problems.length === 0 ? "unharmed" : "HARMED"} (${seconds} s)`);
  for (const problem of problems.slice(0, 20)) console.log(`  ${problem}`);
  if (problems.length > 0) process.exitCode = 1;
}
