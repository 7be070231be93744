import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { KvmMachine } from "../dist/index.js";

const PULSES = 1000;
const GSI = 4;
const beside = (name) => fileURLToPath(new URL(name, import.meta.url));

/**
 * From the rise of a line to its handler in the guest of `create --guest ioapic`, which waits in HLT:
 * through the library, and in a C program doing the same where there is a compiler. Microseconds, sorted.
 *
 * @returns {Promise<{name: string, times: number[]}[]>}
 */
export async function guestLatencies() {
  const inC = timesInC();
  return [
    { name: "library (ffi-rs)", times: await timesInLibrary() },
    ...(inC === undefined ? [] : [{ name: "C program", times: inC }]),
  ];
}

async function timesInLibrary() {
  const machine = new KvmMachine(1);
  try {
    return await pulseGuest(machine);
  } finally {
    machine.close();
  }
}

async function pulseGuest(machine) {
  await machine.runGuest("ioapic");
  const handled = () => machine.guest.handled[0]?.count ?? 0;
  const times = [];
  while (times.length < PULSES) {
    const before = handled();
    await sleep(1);
    const start = process.hrtime.bigint();
    machine.setIrqLine(GSI, 1);
    while (handled() === before);
    times.push(Number(process.hrtime.bigint() - start) / 1000);
    machine.setIrqLine(GSI, 0);
  }
  return times.sort((a, b) => a - b);
}

/**
 * The same once more while `kvm-irq trace` looks on: how long the kernel says each step took.
 *
 * @returns {Promise<{from: string, to: string, times: {count: number, min: number, median: number, p99: number,
 *   max: number}}[] | undefined>} nanoseconds; `undefined` where events can't be recorded.
 */
export async function guestSteps() {
  const machine = new KvmMachine(1);
  const argv = ["trace", "--pid", String(process.pid), "--gsi", String(GSI), "--stats-only", "--json"];
  const tracer = spawn(process.execPath, [beside("../bin/kvm-irq.js"), ...argv]);
  try {
    const ended = text(tracer.stdout);
    const [said] = await Promise.race([once(tracer.stderr, "data"), once(tracer, "exit")]);
    if (!String(said).startsWith("tracing ")) return undefined;
    await pulseGuest(machine);
    tracer.kill("SIGINT");
    const { statistics } = JSON.parse(await ended);
    return statistics.find(({ gsi }) => gsi === GSI).between;
  } finally {
    tracer.kill("SIGKILL");
    machine.close();
  }
}

/** `undefined` where it can't be compiled. */
function timesInC() {
  const folder = mkdtempSync(join(tmpdir(), "kvm-irq-bench-c-"));
  const [object, image, binary] = ["guest.o", "guest.bin", "guest-latency"].map((name) => join(folder, name));
  try {
    for (const [tool, ...args] of [
      ["as", "--32", "-o", object, beside("../src/arch/x86/guest/guest.S")],
      ["ld", "-m", "elf_i386", "-Ttext", "0x1000", "-e", "start", "--oformat", "binary", "-o", image, object],
      ["cc", "-O2", "-pthread", "-o", binary, beside("guest-latency.c")],
    ]) {
      if (spawnSync(tool, args).status !== 0) return undefined;
    }
    const lines = spawnSync(binary, [image, String(PULSES)], { encoding: "utf8" })
      .stdout.trim()
      .split("\n");
    return lines.map((line) => Number(line) / 1000).sort((a, b) => a - b);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Nanoseconds as microseconds with one decimal. */
export function microseconds(nanoseconds) {
  return (nanoseconds / 1000).toFixed(1);
}

/** A value that so many of a hundred are below. */
export function percentile(times, percent) {
  return times[Math.min(times.length - 1, Math.floor((times.length * percent) / 100))];
}

/** Powers of two of microseconds, a bar each. */
export function histogram(times) {
  const counts = new Map();
  for (const time of times) {
    const bucket = Math.floor(Math.log2(Math.max(time, 1)));
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  return [...counts]
    .sort(([a], [b]) => a - b)
    .map(([bucket, count]) => {
      const range = `${2 ** bucket}-${2 ** (bucket + 1)} us`;
      return `${range.padStart(14)}  ${String(count).padStart(5)}  ${"#".repeat(Math.ceil((count / times.length) * 50))}`;
    })
    .join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [library, inC] = await guestLatencies();
  for (const { name, times } of [library, inC].filter(Boolean)) {
    const figures = [0, 50, 99, 100].map((percent) => percentile(times, percent).toFixed(1));
    process.stdout.write(
      `${name}: ${PULSES} of GSI ${GSI}, min ${figures[0]}, median ${figures[1]}, p99 ${figures[2]}, max ${figures[3]} us\n`,
    );
    process.stdout.write(`${histogram(times)}\n`);
  }
  if (inC !== undefined) {
    const ratio = percentile(library.times, 50) / percentile(inC.times, 50);
    process.stdout.write(`median: ${ratio.toFixed(2)} x the C program\n`);
  }
  for (const { from, to, times } of (await guestSteps()) ?? []) {
    const [min, median, p99, max] = [times.min, times.median, times.p99, times.max].map(microseconds);
    process.stdout.write(
      `${from} to ${to}: ${times.count}, min ${min}, median ${median}, p99 ${p99}, max ${max} us (traced)\n`,
    );
  }
}
