import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { openProcess } from "../../src/sources/attach/source.ts";
import type { ChipId } from "../../src/vm/chip.ts";
import { type BusyVmm, bundle, leftovers } from "./attach.ts";

/** What a run found wrong; nothing is right. */
export interface SafetyResult {
  attaches: number;
  /** How often the program was killed, and how often it had finished before. */
  kills: number;
  problems: string[];
}

const VM_CHIPS: readonly ChipId[] = ["pic1", "pic2", "ioapic"];
const ALL_CHIPS: readonly ChipId[] = [...VM_CHIPS, "lapic[0]", "vcpu[0]", "lapic[1]", "vcpu[1]"];

/**
 * Attaches to a busy VMM many times, every tenth time with its vCPUs.
 *
 * @param times how many attaches.
 */
export async function attachOften(vmm: BusyVmm, times: number): Promise<SafetyResult> {
  const before = await vmm.chips();
  const problems: string[] = [];
  for (let n = 0; n < times; n++) {
    const target = await openProcess({ pid: vmm.pid });
    const { images } = await target.read({ chips: n % 10 === 9 ? ALL_CHIPS : VM_CHIPS });
    await target.close();
    for (const { id, bytes } of images) {
      const own = before[id];
      if (own !== undefined && own !== Buffer.from(bytes).toString("hex")) problems.push(`${id} differs`);
    }
  }
  problems.push(...(await harm(vmm, before)));
  return { attaches: times, kills: 0, problems };
}

/**
 * Kills the program that attaches at random points while it attaches again and again.
 *
 * @param signal what it is killed with, all those in turn.
 */
export async function killOften(
  vmm: BusyVmm,
  times: number,
  signals: readonly NodeJS.Signals[],
): Promise<SafetyResult> {
  const driver = bundle("attach-driver");
  const before = await vmm.chips();
  const problems: string[] = [];
  let kills = 0;
  for (let n = 0; n < times; n++) {
    const ids = n % 4 === 3 ? ALL_CHIPS : VM_CHIPS;
    const signal = signals[n % signals.length]!;
    const child = spawn(process.execPath, [driver, String(vmm.pid), "100000", ...ids], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    const attached = once(createInterface({ input: child.stdout! }), "line") as Promise<[string]>;
    const first = await Promise.race([attached, ended]);
    if (first[0] !== "attached") problems.push(`the driver did not attach: ${first[0]}`);
    await sleep(Math.random() * 20);
    child.kill(signal);
    const [code, by] = await ended;
    if (by === signal) kills++;
    else problems.push(`the driver ended with ${by ?? code} instead of ${signal}`);
    problems.push(...leftovers(vmm.pid).map((what) => `after ${signal}: ${what}`));
    if (problems.length > 0 && leftovers(vmm.pid)[0]?.endsWith("is gone")) break;
  }
  problems.push(...(await harm(vmm, before)));
  return { attaches: 0, kills, problems };
}

/** What has become of the VMM: its chips, its own checks, and whether all of its threads go on. */
async function harm(vmm: BusyVmm, before: Record<string, string>): Promise<string[]> {
  const problems = leftovers(vmm.pid);
  if (problems.length > 0) return problems;
  const earlier = await vmm.status();
  const counted = vmm.counter();
  await sleep(500);
  const later = await vmm.status();
  if (later["trouble"] !== "ok") problems.push(`the VMM says: ${later["trouble"]}`);
  for (const name of ["checks", "sleeps", "polls", "pipes", "alarms"]) {
    if (Number(later[name]) <= Number(earlier[name])) problems.push(`its ${name} do not go on`);
  }
  if (vmm.counter() === counted) problems.push("its vCPU does not run");
  const after = await vmm.chips();
  for (const id of Object.keys(before)) {
    if (before[id] !== after[id]) problems.push(`its own view of ${id} has changed`);
  }
  return problems;
}
