/**
 * Holds what is read in the kernel's memory against ioctls: `node scripts/soak-kernel.js [states] [readings] [vms] [seed]`.
 * Puts VMs into so many random states (10,000; full and split irqchip, 1 to 22 vCPUs, xAPIC and x2APIC) and compares each chip
 * with what the VMM's own ioctls give and with a reading by ptrace; reads a busy VMM (100,000 times) and tells how fast its
 * guest was meanwhile; reads VMs that are killed meanwhile (1,000). Needs root, /dev/kvm and a C compiler. Exits 1 when
 * anything differs.
 */
import { importSupport } from "../test/support/import.js";

const [states = 10_000, readings = 100_000, vms = 1_000, seed = 1] = process.argv.slice(2).map(Number);
const { SHAPES, compareStates, readBusy, comeAndGo } = await importSupport("kernel-soak");

for (const [index, shape] of SHAPES.entries()) {
  const each = Math.ceil(states / SHAPES.length);
  report(`${each} states, ${shape.join(" ")}`, await compareStates(shape, each, seed + index * each));
}
const { ratio, problems } = await readBusy(readings);
report(
  `${readings} readings of a busy VMM, its guest at ${(100 * ratio).toFixed(1)} % of its rate before`,
  problems,
);
report(`${vms} VMs that ended while they were read`, await comeAndGo(vms));

function report(name, problems) {
  console.log(`${name}: ${problems.length === 0 ? "ok" : `${problems.length} WRONG`}`);
  for (const problem of problems.slice(0, 20)) console.log(`  ${problem}`);
  if (problems.length > 0) process.exitCode = 1;
}
