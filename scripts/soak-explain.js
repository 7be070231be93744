/**
 * Explains VMs in which nothing is wrong, 1,000 times in all, and counts errors, warnings and blocked GSIs: `node
 * scripts/soak-explain.js [explains] [program]`. Guests of 1, 2 and 8 vCPUs take 50 to 1,000 interrupts a second each
 * way, are paused, or were never started; QEMU is in its BIOS. Needs root, /dev/kvm and a C compiler. An attach that
 * is refused, as on a machine that is too busy, is counted and no alarm. Exits 1 on any false alarm.
 */
import { importSupport } from "../test/support/import.js";

const [explains, program] = [Number(process.argv[2] ?? 1000), process.argv[3]];
const { HEALTHY_GUESTS, soakExplain } = await importSupport("explain-soak");

const COLUMNS = ["explains", "refused", "errors", "warnings", "blocked"];
const refused = [];
const total = Object.fromEntries(COLUMNS.map((column) => [column, 0]));
const line = (name, numbers, said = []) =>
  `${name.padEnd(32)}${COLUMNS.map((column) => String(numbers[column]).padStart(10)).join("")}  ${said.join(", ")}`;

console.log(line("guest", Object.fromEntries(COLUMNS.map((column) => [column, column]))));
const times = Math.ceil(explains / HEALTHY_GUESTS.length);
for await (const { guest, said, ...numbers } of soakExplain(times, HEALTHY_GUESTS, program)) {
  for (const column of COLUMNS) total[column] += numbers[column];
  console.log(line(guest, numbers, said));
  if (numbers.refused > 0) refused.push(`${numbers.refused} of ${guest}`);
  if (said.length > 0 || numbers.blocked > 0) process.exitCode = 1;
}
console.log(line("all", total));
if (refused.length > 0) console.log(`attaches that were refused: ${refused.join(", ")}`);
