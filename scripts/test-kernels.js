/**
 * Runs the tests that need a real KVM inside other kernels than the host's: Debian's cloud kernels under
 * plain emulation, each with its own kvm-amd. docs/kernels.md has the whole story.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { writeDisk } from "./kernels/disk.js";
import { bootGuest } from "./kernels/guest.js";
import { writeInitramfs } from "./kernels/initramfs.js";
import { getKernel } from "./kernels/packages.js";
import { PAYLOADS } from "./kernels/payloads.js";
import { withoutPassed } from "./kernels/report.js";
import { requireTools, UserError } from "./kernels/tools.js";

const USAGE = `usage: npm run test:kernels -- [options]

  --kernel SERIES|FILE.deb  6.1, 6.12, or a Debian kernel package; may be repeated (default: 6.1 and 6.12)
  --payload NAME            only this one; may be repeated (${PAYLOADS.map(({ name }) => name).join(", ")})
  --command CMD             run this instead of the payloads, and show what it prints
  --limit SECONDS           end a kernel that takes longer (default: 3600)
  --verbose                 show everything that the payloads print
  --keep                    keep the disk, the initramfs and the kernels' messages
  --install                 as root: install the programs that are missing, with apt-get
`;

const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));
const CACHE = join(PROJECT, ".cache", "kernels");

function readOptions() {
  const { values } = parseArgs({
    options: {
      kernel: { type: "string", multiple: true, default: ["6.1", "6.12"] },
      payload: { type: "string", multiple: true },
      command: { type: "string" },
      limit: { type: "string", default: "3600" },
      verbose: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      install: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const limit = Number(values.limit);
  if (!(limit > 0)) throw new UserError(`--limit takes seconds, not '${values.limit}'`);
  return { ...values, limit, payloads: choosePayloads({ ...values, limit }) };
}

function choosePayloads({ payload: names, command, limit }) {
  if (command !== undefined) return [{ name: "command", command, limit, tap: false }];
  const unknown = names?.find((name) => PAYLOADS.every((payload) => payload.name !== name));
  if (unknown !== undefined) throw new UserError(`there is no payload ${unknown}\n\n${USAGE}`);
  return PAYLOADS.filter(({ name }) => names?.includes(name) ?? true);
}

/** A folder for one run's files, gone when the program ends however it ends. */
function workFolder({ keep }) {
  const folder = mkdtempSync(join(tmpdir(), "kvm-irq-kernels-"));
  process.once("exit", () => (keep ? note(`kept ${folder}`) : rmSync(folder, { recursive: true })));
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
  return folder;
}

/** Boots one kernel and runs the payloads in it. */
async function testKernel(kernel, disk, folder, { limit, verbose, command }) {
  note(`${kernel.release}: booting`);
  const initramfs = join(folder, `${kernel.release}.cpio`);
  const log = join(folder, `${kernel.release}.log`);
  writeInitramfs(kernel, initramfs);
  const show = verbose || command !== undefined;
  const outcome = await bootGuest({ image: kernel.image, initramfs, disk, log, limit }, (line) => {
    if (show) console.log(line);
  });
  return { release: kernel.release, ...outcome };
}

/** What is wrong with a kernel's outcome, as sentences with what they are based on; none when all is well. */
function failures({ release, report, problem }, payloads) {
  const found = problem === undefined ? [] : [`${release}: ${problem}`];
  for (const { name, tap } of payloads) {
    const result = report.results.find((each) => each.name === name);
    const text = result && withoutPassed(result.output).join("\n");
    if (result === undefined) found.push(`${release}: ${name} did not run`);
    else if (result.status !== 0)
      found.push(`${release}: ${name} ended with status ${result.status}\n${text}`);
    else if (result.failed > 0) found.push(`${release}: ${name} has failed tests\n${text}`);
    else if (tap && result.passed === 0) found.push(`${release}: ${name} passed no test\n${text}`);
  }
  return found;
}

function printTable(outcomes) {
  const table = new Table({
    head: ["kernel", "payload", "passed", "failed", "skipped", "seconds"],
    colAligns: ["left", "left", "right", "right", "right", "right"],
    style: { head: [], border: [], compact: true },
  });
  for (const { release, report } of outcomes) {
    table.push([release, "(boot)", "", "", "", report.bootSeconds?.toFixed(1) ?? "-"]);
    for (const { name, passed, failed, skipped, seconds } of report.results) {
      table.push([release, name, passed, failed, skipped, seconds.toFixed(1)]);
    }
  }
  console.log(table.toString());
}

function note(text) {
  process.stderr.write(`${text}\n`);
}

async function main() {
  const options = readOptions();
  if (options.help) return console.log(USAGE);
  requireTools(options);
  const kernels = options.kernel.map((wanted) => getKernel(wanted, CACHE));
  const folder = workFolder(options);
  const disk = join(folder, "disk.img");
  writeDisk({ project: PROJECT, payloads: options.payloads, file: disk });
  const outcomes = [];
  for (const kernel of kernels) outcomes.push(await testKernel(kernel, disk, folder, options));
  printTable(outcomes);
  const found = outcomes.flatMap((outcome) => failures(outcome, options.payloads));
  for (const failure of found) note(failure);
  if (found.length > 0) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  const foreseen = error instanceof UserError || error.code?.startsWith("ERR_PARSE_ARGS");
  note(foreseen ? `test-kernels: ${error.message}` : error.stack);
  process.exitCode = 2;
}
