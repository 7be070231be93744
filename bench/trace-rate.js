/**
 * What `trace` loses, takes and needs beside a VMM that raises GSI 4 at a rate, and how fast a saved trace is read.
 *
 *     node bench/trace-rate.js [--rates 10000,50000] [--seconds 5] [--guest] [--storms 10] [--saved 1000000]
 *
 * `--program FILE` measures another build. `npm run bench:trace`.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    program: { type: "string", default: beside("../bin/kvm-irq.js") },
    rates: { type: "string", default: "10000,40000,50000,100000" },
    seconds: { type: "string", default: "5" },
    guest: { type: "boolean", default: false },
    storms: { type: "string", default: "3" },
    saved: { type: "string", default: "1000000" },
  },
});
const FORMS = {
  statistics: ["--stats-only", "--json"],
  ndjson: ["--json"],
  table: [],
};
const folder = mkdtempSync(join(tmpdir(), "kvm-irq-bench-"));
const vmm = join(folder, "storm-vmm");
const image = join(folder, "guest.bin");

try {
  build();
  for (const rate of values.rates.split(",").filter(Boolean)) {
    for (const form of Object.keys(FORMS)) console.log(await atRate(Number(rate), form));
  }
  for (let run = 0; run < Number(values.storms); run++) console.log(await interruptStorm());
  if (Number(values.saved) > 0) for (const line of await readSaved(Number(values.saved))) console.log(line);
} finally {
  rmSync(folder, { recursive: true });
}

function build() {
  const object = join(folder, "guest.o");
  for (const [tool, ...args] of [
    ["cc", "-O2", "-pthread", "-o", vmm, beside("../test/support/storm-vmm.c")],
    ["as", "--32", "-o", object, beside("../src/arch/x86/guest/guest.S")],
    ["ld", "-m", "elf_i386", "-Ttext", "0x1000", "--oformat", "binary", "-o", image, object],
  ]) {
    const { status, stderr } = spawnSync(tool, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`${tool}: ${stderr}`);
  }
}

async function startVmm(rate, seconds) {
  const child = spawn(vmm, [rate, seconds, ...(values.guest ? [image] : [])].map(String), {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

/** Starts a trace and waits until it records; samples what it takes until it ends. */
async function startTrace(pid, args) {
  const child = spawn(process.execPath, [values.program, "trace", "--pid", String(pid), ...args]);
  await once(child.stderr, "data");
  const ended = once(child, "exit");
  return { child, ended, use: sample(child.pid) };
}

/** CPU seconds and memory of a process, as last seen. */
function sample(pid) {
  const use = { cpu: 0, peakMb: 0, begin: cpuOf(pid) };
  const timer = setInterval(() => {
    try {
      use.cpu = cpuOf(pid) - use.begin;
      use.peakMb = Math.round(peakKb(pid) / 1024);
    } catch {
      clearInterval(timer);
    }
  }, 20);
  timer.unref();
  return use;
}

function cpuOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function peakKb(pid) {
  return Number(/^VmHWM:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))[1]);
}

async function atRate(rate, form) {
  const seconds = Number(values.seconds);
  const load = await startVmm(rate, seconds);
  const { child, ended, use } = await startTrace(load.pid, FORMS[form]);
  let tail = "";
  child.stdout.on("data", (chunk) => {
    tail = (tail + chunk.toString("latin1")).slice(form === "statistics" ? -1e7 : -1000);
  });
  load.stdin.write("\n");
  const said = await text(load.stdout);
  const over = performance.now();
  await ended;
  const late = performance.now() - over;
  const [pulses, handled, took] = said.trim().split(" ").map(Number);
  const { events, lost } = figures(form, tail);
  const share = ((lost / (events + lost)) * 100).toFixed(2);
  return (
    `${form.padEnd(10)} ${Math.round((pulses / took) * 1e9)} pulses/s, ${Math.round(((events + lost) / took) * 1e9)} events/s` +
    `${handled > 0 ? ` (${handled} handled)` : ""}: lost ${lost} (${share} %), CPU ${((use.cpu / took) * 1e11).toFixed(0)} %, ` +
    `peak ${use.peakMb} MB, over ${late.toFixed(0)} ms after the load`
  );
}

function figures(form, tail) {
  if (form === "table") {
    const [, events, lost] = /(\d+) events in [^,;]*(?:, (\d+) lost)?; /.exec(tail);
    return { events: Number(events), lost: Number(lost ?? 0) };
  }
  return JSON.parse(tail.trim().split("\n").at(-1)).summary;
}

/** Ctrl-C in a storm: how long until the trace has ended. */
async function interruptStorm() {
  const load = await startVmm(0, 0);
  const { child, ended, use } = await startTrace(load.pid, FORMS.statistics);
  child.stdout.resume();
  load.stdin.write("\n");
  await sleep(Number(values.seconds) * 1000);
  const before = use.peakMb;
  const start = performance.now();
  child.kill("SIGINT");
  await Promise.race([ended, sleep(60_000)]);
  const took = performance.now() - start;
  child.kill("SIGKILL");
  load.stdin.end();
  await once(load, "exit");
  return `storm: ended ${took.toFixed(0)} ms after SIGINT, peak ${before} MB at that time, ${use.peakMb} MB in all`;
}

/** How fast a saved trace is read, in each form that does not need it whole. */
async function readSaved(count) {
  const file = join(folder, "saved.ndjson");
  await writeSaved(file, count);
  const results = [`${count} events saved, ${Math.round(statSync(file).size / 1e6)} MB`];
  for (const [form, args] of Object.entries(FORMS)) {
    const start = performance.now();
    const child = spawn(process.execPath, [values.program, "trace", "--from", file, ...args], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const use = sample(child.pid);
    const [status] = await once(child, "exit");
    const seconds = (performance.now() - start) / 1000;
    results.push(
      `--from as ${form}: status ${status}, ${Math.round(count / seconds)} events/s, peak ${use.peakMb} MB`,
    );
  }
  return results;
}

/** Pulses of 24 lines, each an IOAPIC interrupt that is ended 10 us later. */
async function writeSaved(file, count) {
  const out = createWriteStream(file);
  const line = (value) => `${JSON.stringify(value)}\n`;
  const header = { format: "kvm-irq.trace", version: 1, started_at: "", kernel: "", clock: "mono" };
  out.write(line({ ...header, clock_origin: "0", events: [], missing: [] }));
  let time = 0;
  const event = (pid, name, args) => {
    time += 1000;
    return line({ time, cpu: 0, pid, comm: "CPU 0/KVM", process: 100, event: name, args });
  };
  for (let done = 0; done < count; ) {
    const gsi = done % 24;
    const vector = 0x30 + gsi;
    const piece = [
      event(101, "kvm_set_irq", { gsi, level: 1, irq_source_id: 0 }),
      event(101, "kvm_apic_accept_irq", { apicid: 0, dm: 0, tm: 0, vec: vector }),
      event(101, "kvm_ioapic_set_irq", { e: vector, pin: gsi, coalesced: false }),
      event(102, "kvm_inj_virq", { vector, soft: false, reinjected: false }),
      event(102, "kvm_eoi", { apicid: 0, vector }),
      event(101, "kvm_set_irq", { gsi, level: 0, irq_source_id: 0 }),
    ].slice(0, count - done);
    done += piece.length;
    if (!out.write(piece.join(""))) await once(out, "drain");
  }
  out.end(line({ summary: { events: count, lost: 0, duration: time } }));
  await once(out, "close");
}
