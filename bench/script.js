import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KvmMachine } from "../dist/index.js";
import { quantile } from "./paired.js";

/** Lines of the script: a pulse and an expectation in turn. */
const LINES = 1000;
/** Separate commands that are timed, of as many as the script has lines. */
const SAMPLE = 40;
/** Pulses of the script whose steps are timed: enough for what the program starts with not to count. */
const STEPS = 20_000;
const ROUNDS = 5;

/**
 * A script of 1,000 pulses and expects through `run`, beside the same as commands of their own on a session.
 * Of the latter a sample is timed and scaled, in turn with whole runs of the script.
 *
 * @param {string[]} program how to call it.
 * @param {NodeJS.ProcessEnv} env
 * @returns {{ lines: number, sample: number, runMs: number, separateMs: number, factor: number }} medians.
 */
export function scriptBesideCommands(program, env) {
  const lines = Array.from({ length: LINES }, (_, n) => lineAt(n));
  return withScript(lines, (script) => {
    timed([...program, "create", "separate", "--preset", "ioapic", "--replace"], env);
    const rounds = Array.from({ length: ROUNDS }, (_, round) => {
      const runMs = timed([...program, "run", script, "--preset", "ioapic", "--quiet"], env);
      const first = (round * SAMPLE) / ROUNDS;
      const some = lines.slice(first, first + SAMPLE / ROUNDS);
      const ms = some.map((line) => timed([...program, "-s", "separate", ...line.split(" ")], env));
      const separateMs = (ms.reduce((sum, each) => sum + each, 0) / some.length) * LINES;
      return { runMs, separateMs, factor: separateMs / runMs };
    });
    const median = (key) =>
      quantile(
        rounds.map((round) => round[key]),
        0.5,
      );
    return {
      lines: LINES,
      sample: SAMPLE,
      ...{ runMs: median("runMs"), separateMs: median("separateMs"), factor: median("factor") },
    };
  });
}

/**
 * What one more line `pulse 4` costs a script, all told: reading, checking, running. Beside it, in turn, the
 * FFI's cost of the two ioctls that are in it.
 *
 * @returns {{ stepUs: number, ffiUs: number, ratio: number }} medians.
 */
export function stepBesideIoctls(program, env) {
  const run = (script) => timed([...program, "run", script, "--backend", "kvm", "--quiet"], env);
  const pulses = (count) => Array.from({ length: count }, () => "pulse 4");
  const rounds = withScript(pulses(1), (short) =>
    withScript(pulses(STEPS), (long) =>
      Array.from({ length: ROUNDS }, () => {
        const stepUs = ((run(long) - run(short)) / STEPS) * 1000;
        const ffiUs = pulseMicroseconds();
        return { stepUs, ffiUs, ratio: stepUs / ffiUs };
      }),
    ),
  );
  const median = (key) =>
    quantile(
      rounds.map((round) => round[key]),
      0.5,
    );
  return { stepUs: median("stepUs"), ffiUs: median("ffiUs"), ratio: median("ratio") };
}

/** A rise and a fall, by the library. */
function pulseMicroseconds() {
  const machine = new KvmMachine(1);
  try {
    const start = process.hrtime.bigint();
    for (let n = 0; n < STEPS; n++) {
      machine.setIrqLine(4, 1);
      machine.setIrqLine(4, 0);
    }
    return Number(process.hrtime.bigint() - start) / 1e3 / STEPS;
  } finally {
    machine.close();
  }
}

function lineAt(n) {
  const gsi = (n >> 1) % 24;
  return n % 2 === 0 ? `pulse ${gsi}` : `expect lapic[0].irr=${0x30 + gsi}`;
}

function withScript(lines, action) {
  const folder = mkdtempSync(join(tmpdir(), "kvm-irq-bench-script-"));
  try {
    const path = join(folder, "script.kvmirq");
    writeFileSync(path, `${lines.join("\n")}\n`);
    return action(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Milliseconds that a whole process takes. */
function timed([program, ...args], env) {
  const start = process.hrtime.bigint();
  const { status, stderr } = spawnSync(program, args, { env });
  if (status !== 0) throw new Error(`${args.join(" ")}: status ${status}\n${stderr}`);
  return Number(process.hrtime.bigint() - start) / 1e6;
}
