/**
 * Attaches to a busy VMM 2,000 times, then kills the program that attaches 200 times at random points, with
 * SIGINT and SIGTERM and then with SIGKILL, and looks whether the VMM was harmed. Then attaches 100 times each to
 * VMMs whose seccomp filters allow one way to wait, and 1,000 times to one that tries a forbidden call all the
 * time: `node scripts/attach-safety.js [attaches] [kills] [filtered]`. Needs root, /dev/kvm and a C compiler.
 * Exits 1 on any harm.
 */
import { importSupport } from "../test/support/import.js";

const [, , attaches = 2000, kills = 200, filtered = 100] = process.argv.map(Number);
const support = await importSupport("attach", "attach-safety", "sandboxed-vmm");
const { BusyVmm, attachOften, killOften, WAYS_TO_WAIT, attachToFiltered, escapesOf } = support;

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
  report(`${name} (${seconds} s)`, problems);
}
for (const way of WAYS_TO_WAIT) {
  for (const { way: name, chips, problems } of await attachToFiltered(way, filtered)) {
    report(`${filtered} attaches, filter for ${name}, ${chips}`, problems);
  }
}
const { attempts, escapes } = await escapesOf(filtered * 10);
report(
  `${filtered * 10} attaches, ${attempts} forbidden calls`,
  escapes > 0 ? [`${escapes} went through`] : [],
);

function report(name, problems) {
  console.log(`${name}: ${problems.length === 0 ? "unharmed" : "HARMED"}`);
  for (const problem of problems.slice(0, 20)) console.log(`  ${problem}`);
  if (problems.length > 0) process.exitCode = 1;
}
