import { execFileSync } from "node:child_process";
import { IOCTL, SIZEOF } from "../../src/arch/x86/ioctl.ts";
import { openProcess } from "../../src/sources/attach/source.ts";
import { type BusyVmm, bundle } from "./attach.ts";
import { has } from "./commands.ts";

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
  /** The same for the first dump of programs that have just been started. */
  first: StopTimes;
  /** How often a vCPU left KVM_RUN meanwhile: each stop of a vCPU's thread would be one. */
  vcpuExits: number;
  /** What the guest counted in a millisecond while the dumps went on, over what it counted before. */
  guestSpeed: number;
  /** The longest that another thread of the VMM stood still, while the dumps went on and with gdb, or why not. */
  pause: { dumps: number; gdb: number | string };
}

const CHIPS = ["pic1", "pic2", "ioapic"] as const;

/** Dumps the chips of a VMM many times, and once with gdb where that is there. */
export async function benchAttach(vmm: BusyVmm, dumps: number): Promise<AttachBench> {
  const target = await openProcess({ pid: vmm.pid });
  for (let n = 0; n < 20; n++) await target.read({ chips: CHIPS });
  const before = guestSpeed(vmm, () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500));
  await vmm.ask("gap");
  const runs = Number((await vmm.status())["runs"]);
  const stops: number[] = [];
  const start = { count: vmm.counter(), time: performance.now() };
  for (let n = 0; n < dumps; n++) {
    await target.read({ chips: CHIPS });
    stops.push(target.lastStops[0]!.ns / 1000);
  }
  const speed = (vmm.counter() - start.count) / (performance.now() - start.time);
  const pause = Number(await vmm.ask("gap"));
  const vcpuExits = Number((await vmm.status())["runs"]) - runs;
  await target.close();
  const first = firstStops(vmm, Math.ceil(dumps / 10));
  const gdb = await pauseByGdb(vmm);
  return {
    dumps,
    stopped: timesOf(stops),
    first: timesOf(first),
    vcpuExits,
    guestSpeed: speed / before,
    pause: { dumps: pause, gdb },
  };
}

function timesOf(us: number[]): StopTimes {
  us.sort((a, b) => a - b);
  const at = (share: number) => us[Math.floor((us.length - 1) * share)]!;
  return { p10: at(0.1), median: at(0.5), p99: at(0.99) };
}

/** How long programs that have just been started held the thread, in microseconds: one program per sample. */
function firstStops(vmm: BusyVmm, samples: number): number[] {
  const driver = bundle("attach-driver");
  return Array.from({ length: samples }, () => {
    const args = [driver, String(vmm.pid), "1", ...CHIPS];
    const said = execFileSync(process.execPath, args, { encoding: "utf8" });
    return JSON.parse(said.trim().split("\n").at(-1)!).ns[0] / 1000;
  });
}

function guestSpeed(vmm: BusyVmm, wait: () => void): number {
  const start = { count: vmm.counter(), time: performance.now() };
  wait();
  return (vmm.counter() - start.count) / (performance.now() - start.time);
}

/** The same dump by `gdb -batch`. @returns the pause in microseconds, or why there is none. */
async function pauseByGdb(vmm: BusyVmm): Promise<number | string> {
  if (!has("gdb")) return "no gdb here";
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
    if ([...answer.matchAll(/^\$\d+ = 0$/gm)].length !== CHIPS.length)
      return `gdb: ${answer.trim().split("\n").at(-1)}`;
  } catch (error) {
    return `gdb failed: ${error instanceof Error ? error.message : error}`;
  }
  return Number(await vmm.ask("gap"));
}
