/**
 * Measures what the budgets are about, as ratios to a baseline in the same run. `npm run bench`, or
 * `npm run bench -- --rounds 50` for a calmer picture.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { guestLatencies, guestSteps, microseconds, percentile } from "./guest-latency.js";
import { ioctlRates } from "./ioctl-rate.js";
import { pairedTimes, timedEnv } from "./paired.js";
import { scriptBesideCommands, stepBesideIoctls } from "./script.js";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "25" } } });
const rounds = Number(values.rounds);
const program = fileURLToPath(new URL("../bin/kvm-irq.js", import.meta.url));
const node = process.execPath;
const folder = mkdtempSync(join(tmpdir(), "kvm-irq-bench-"));
const haveKvm = spawnSync(node, [program, "doctor"]).status === 0;
const env = { ...timedEnv(), XDG_RUNTIME_DIR: folder, KVM_IRQ_BACKEND: haveKvm ? "kvm" : "model" };
const call = (...args) => [node, program, ...args];
const BUDGETS = {
  "kvm-irq --version": 1.15,
  "kvm-irq pulse 4": 1.3,
  "kvm-irq dump --json": 1.3,
  "kvm-irq create": 2.6,
};

console.log(
  `backend: ${haveKvm ? "KVM" : "the software model"}; Node ${process.version}; ${rounds} rounds\n`,
);
try {
  wholeProcesses();
  await holderMemory();
  script();
  if (haveKvm) {
    scriptStep();
    await rates();
    await latency();
  }
} finally {
  spawnSync(node, [program, "destroy", "--all"], { env });
  rmSync(folder, { recursive: true, force: true });
}

function wholeProcesses() {
  spawnSync(node, [program, "create"], { env });
  const destroy = () => spawnSync(node, [program, "destroy", "new"], { env });
  const results = pairedTimes(
    {
      "node -e 0": { argv: [node, "-e", "0"], env },
      "kvm-irq --version": { argv: call("--version"), env },
      "kvm-irq pulse 4": { argv: call("pulse", "4"), env },
      "kvm-irq dump --json": { argv: call("dump", "--json"), env },
      "kvm-irq create": { argv: call("create", "new"), env, after: destroy },
    },
    rounds,
  );
  for (const [name, { ms, ratio, low, high }] of Object.entries(results)) {
    const spread = `(${low.toFixed(2)} to ${high.toFixed(2)})`;
    console.log(
      `${name.padEnd(22)} ${ms.toFixed(1).padStart(7)} ms  ${ratio.toFixed(2)} x ${spread}${verdict(ratio, BUDGETS[name])}`,
    );
  }
}

async function holderMemory() {
  const { pid } = JSON.parse(spawnSync(node, [program, "create", "memory", "--json"], { env }).stdout);
  const idle = spawn(node, ["-e", "setInterval(() => {}, 1e6)"], { env, stdio: "ignore" });
  spawnSync(node, [program, "-s", "memory", "dump", "--json"], { env });
  await sleep(1500);
  const [holder, baseline] = [residentKb(pid), residentKb(idle.pid)];
  idle.kill();
  const ratio = holder / baseline;
  const [own, base] = [holder, baseline].map((kb) => (kb / 1024).toFixed(1));
  console.log(
    `\nholder's memory        ${own} MiB, idle node ${base} MiB  ${ratio.toFixed(2)} x${verdict(ratio, 1.2)}`,
  );
}

function verdict(ratio, budget) {
  return budget === undefined ? "" : `  budget ${budget.toFixed(2)}: ${ratio <= budget ? "kept" : "MISSED"}`;
}

function residentKb(pid) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);
}

function script() {
  const { lines, sample, runMs, separateMs, factor } = scriptBesideCommands([node, program], env);
  console.log(`\n${lines.toLocaleString("en")} pulses and expects`);
  console.log(`a script of \`run\`     ${runMs.toFixed(0).padStart(8)} ms`);
  console.log(
    `separate commands     ${separateMs.toFixed(0).padStart(8)} ms (from ${sample} of them)  ${factor.toFixed(0)} x`,
  );
}

function scriptStep() {
  const { stepUs, ffiUs, ratio } = stepBesideIoctls([node, program], env);
  console.log(`a step of \`run\`       ${stepUs.toFixed(1).padStart(8)} us`);
  console.log(
    `the FFI's part of it  ${ffiUs.toFixed(1).padStart(8)} us  ${ratio.toFixed(2)} x${verdict(ratio, 3)}`,
  );
}

async function rates() {
  console.log("\nKVM_IRQ_LINE_STATUS, calls a second");
  for (const { name, perSecond } of await ioctlRates()) {
    console.log(`${name.padEnd(22)} ${Math.round(perSecond).toLocaleString("en").padStart(9)}`);
  }
}

async function latency() {
  console.log("\nfrom a line's rise to the guest's handler, median and p99");
  const [library, inC] = await guestLatencies();
  const base = inC && percentile(inC.times, 50);
  for (const { name, times } of [library, inC].filter(Boolean)) {
    const [median, p99] = [50, 99].map((percent) => percentile(times, percent));
    const ratio = base === undefined ? "" : `  ${(median / base).toFixed(2)} x`;
    console.log(
      `${name.padEnd(22)} ${median.toFixed(1).padStart(7)} us ${p99.toFixed(1).padStart(8)} us${ratio}`,
    );
  }
  for (const { from, to, times } of (await guestSteps()) ?? []) {
    const [median, p99] = [times.median, times.p99].map(microseconds);
    console.log(
      `  ${`${from} to ${to}`.padEnd(20)} ${median.padStart(7)} us ${p99.padStart(8)} us  (traced)`,
    );
  }
}
