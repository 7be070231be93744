import { execFileSync } from "node:child_process";
import { IOCTL, SIZEOF } from "../../src/abi/ioctl.ts";
import { openProcess } from "../../src/target/process.ts";
import type { BusyVmm } from "./attach.ts";

/** How long a VMM is held for one dump of PIC1, PIC2 and IOAPIC, in microseconds. */
export interface StopTimes {
  /** The tenth percentile: what it takes when no other program wants the CPUs. */
  p10: number;
  median: number;
  p99: number;
}

export interface AttachBench {
  dumps: number;
  stopped: StopTimes;
  /** How often a vCPU left KVM_RUN meanwhile: each stop of a vCPU's thread would be one. */
  vcpuExits: number;
  /** What the guest counted in a millisecond while the dumps went on, over what it counted before. */
  guestSpeed: number;
  /** The longest that another thread of the VMM stood still, while the dumps went on and with gdb. */
  pause: { dumps: number; gdb?: number };
}

const CHIPS = ["pic1", "pic2", "ioapic"] as const;

/** Dumps the chips of a VMM many times, and once with gdb where that is there. */
export async function benchAttach(vmm: BusyVmm, dumps: number): Promise<AttachBench> {
  const target = await openProcess({ pid: vmm.pid });
  for (let n = 0; n < 20; n++) await target.readChips(CHIPS);
  const before = guestSpeed(vmm, () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500));
  await vmm.ask("gap");
  const runs = Number((await vmm.status())["runs"]);
  const stops: number[] = [];
  const start = { count: vmm.counter(), time: performance.now() };
  for (let n = 0; n < dumps; n++) {
    await target.readChips(CHIPS);
    stops.push(target.lastStops[0]!.ns / 1000);
  }
  const speed = (vmm.counter() - start.count) / (performance.now() - start.time);
  const pause = Number(await vmm.ask("gap"));
  const vcpuExits = Number((await vmm.status())["runs"]) - runs;
  await target.close();
  stops.sort((a, b) => a - b);
  const at = (share: number) => stops[Math.floor((stops.length - 1) * share)]!;
  const gdb = await pauseByGdb(vmm);
  return {
    dumps,
    stopped: { p10: at(0.1), median: at(0.5), p99: at(0.99) },
    vcpuExits,
    guestSpeed: speed / before,
    pause: { dumps: pause, ...(gdb === undefined ? {} : { gdb }) },
  };
}

function guestSpeed(vmm: BusyVmm, wait: () => void): number {
  const start = { count: vmm.counter(), time: performance.now() };
  wait();
  return (vmm.counter() - start.count) / (performance.now() - start.time);
}

/** The same dump by `gdb -batch`. @returns the pause, or `undefined` without gdb. */
async function pauseByGdb(vmm: BusyVmm): Promise<number | undefined> {
  await vmm.ask("gap");
  const calls = CHIPS.flatMap((_, chip) => [
    "-ex",
    `set var *(int *)$chip = ${chip}`,
    "-ex",
    `print (int)ioctl(${vmm.vmFd}, ${IOCTL.KVM_GET_IRQCHIP}, $chip)`,
  ]);
  const make = ["-ex", `set $chip = (char *)malloc(${SIZEOF.kvm_irqchip})`];
  try {
    const answer = execFileSync("gdb", ["-batch", "-nx", "-p", String(vmm.pid), ...make, ...calls], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    if ([...answer.matchAll(/^\$\d+ = 0$/gm)].length !== CHIPS.length) return undefined;
  } catch {
    return undefined;
  }
  return Number(await vmm.ask("gap"));
}
