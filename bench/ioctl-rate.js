import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Bench } from "tinybench";
import { Kvm } from "../dist/index.js";

/**
 * Calls a second of one ioctl: through the library, and in a C loop where there is a compiler.
 *
 * @returns {Promise<{name: string, perSecond: number}[]>}
 */
export async function ioctlRates() {
  const kvm = Kvm.open();
  const vm = kvm.createVm();
  vm.createIrqchip();
  let level = 0;
  const bench = new Bench({ time: 1000 }).add("library (ffi-rs)", () => {
    level ^= 1;
    vm.irqLineStatus(4, level);
  });
  await bench.run();
  vm.close();
  kvm.close();
  const perSecond = 1000 / bench.tasks[0].result.latency.p50;
  const inC = rateInC();
  return [
    { name: "library (ffi-rs)", perSecond },
    ...(inC === undefined ? [] : [{ name: "C loop", perSecond: inC }]),
  ];
}

/** The same loop in C; `undefined` where it can't be compiled. */
function rateInC() {
  const folder = mkdtempSync(join(tmpdir(), "kvm-irq-bench-c-"));
  try {
    const source = fileURLToPath(new URL("irq-line.c", import.meta.url));
    const binary = join(folder, "irq-line");
    if (spawnSync("cc", ["-O2", "-o", binary, source]).status !== 0) return undefined;
    return Number(spawnSync(binary).stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
