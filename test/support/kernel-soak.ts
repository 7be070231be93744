import { setTimeout as sleep } from "node:timers/promises";
import { KvmIrqError } from "../../src/abi/error.ts";
import { HOST_ARCH } from "../../src/arch/arches.ts";
import { openProcess } from "../../src/sources/attach/source.ts";
import { openByKernel } from "../../src/sources/kernel/source.ts";
import type { ChipImage } from "../../src/vm/chip.ts";
import { BusyVmm } from "./attach.ts";
import { StateVmm } from "./state-vmm.ts";

/** How a VMM of state-vmm.c is started. */
export type Shape = readonly [irqchip: "full" | "split", vcpus: number, ...options: string[]];

/** The VMs whose states are compared. */
export const SHAPES: readonly Shape[] = [
  ["full", 1, "pit"],
  ["full", 2, "x2apic"],
  ["full", 8],
  ["full", 22, "x2apic-ids"],
  ["split", 1, "x2apic-ids"],
  ["split", 8, "x2apic"],
  ["split", 22],
];

/** A chip byte by byte; of a vCPU, whose structures have more than is looked at, what they say. */
function shown({ id, bytes }: ChipImage): string {
  if (!id.startsWith("vcpu")) return Buffer.from(bytes).toString("hex");
  return JSON.stringify(HOST_ARCH.decode([{ id, bytes }]).vcpus![0]);
}

/**
 * Puts a VM into random states, and reads each by the kernel's memory and by ptrace.
 *
 * @returns what differs from what the VMM's own ioctls give, or could not be read; nothing is right.
 */
export async function compareStates(shape: Shape, states: number, seed: number): Promise<string[]> {
  const [irqchip, vcpus, ...options] = shape;
  const vmm = await StateVmm.start(irqchip, vcpus, ...options);
  const kernel = await openByKernel({ pid: vmm.pid });
  const ptrace = await openProcess({ pid: vmm.pid });
  const problems: string[] = [];
  try {
    const { chips } = kernel.identity;
    for (let n = seed; n < seed + states; n++) {
      await vmm.ask(`random ${n}`);
      const { images, settled } = await kernel.read({ chips });
      const own = await vmm.state();
      const stopped = new Map((await ptrace.read({ chips })).images.map((one) => [one.id, shown(one)]));
      const note = (problem: string) => problems.push(`${shape.join(" ")}, state ${n}: ${problem}`);
      if (settled !== true) note("no two looks agreed");
      if (images.length !== own.size) note(`${images.length} of ${own.size} chips`);
      for (const image of images) {
        const { id, unread = [] } = image;
        if (unread.length > 0) note(`${id} lacks ${unread.join(", ")}`);
        if (shown(image) !== shown({ id, bytes: own.get(id)! })) note(`${id} is not as the VMM has it`);
        if (shown(image) !== stopped.get(id)) note(`${id} is not as ptrace has it`);
      }
    }
  } finally {
    await Promise.all([kernel.close(), ptrace.close()]);
    await vmm.end();
  }
  return problems;
}

/** Reads the busy VMM many times. @returns the rate of its guest meanwhile, beside that of before, and what went wrong. */
export async function readBusy(readings: number): Promise<{ ratio: number; problems: string[] }> {
  const vmm = await BusyVmm.start("calm");
  const counted = async (work: () => Promise<unknown>) => {
    const [start, from] = [performance.now(), vmm.counter()];
    await work();
    return ((vmm.counter() - from) >>> 0) / (performance.now() - start);
  };
  try {
    const before = await counted(() => sleep(1000));
    const source = await openByKernel({ pid: vmm.pid });
    const { chips } = source.identity;
    const vmChips = chips.filter((id) => !id.startsWith("vcpu"));
    const during = await counted(async () => {
      for (let n = 0; n < readings; n++) {
        await source.read({ chips: n % 100 === 0 ? chips : vmChips });
        if (n % 16 === 0) await sleep(0);
      }
    });
    await source.close();
    const { trouble } = await vmm.status();
    return { ratio: during / before, problems: trouble === "ok" ? [] : [trouble!] };
  } finally {
    await vmm.end();
  }
}

/**
 * Reads VMs that are killed meanwhile, each after another time.
 *
 * @returns errors that are none of a VM that has gone; nothing is right.
 */
export async function comeAndGo(vms: number): Promise<string[]> {
  const problems: string[] = [];
  for (let n = 0; n < vms; n++) {
    const vmm = await StateVmm.start("full", 2);
    const ended = sleep(n % 8).then(() => vmm.end());
    try {
      for (;;) {
        const source = await openByKernel({ pid: vmm.pid });
        try {
          await source.read({ chips: source.identity.chips.slice(0, 5) });
        } finally {
          await source.close();
        }
        await sleep(0);
      }
    } catch (error) {
      const code = error instanceof KvmIrqError ? error.code : undefined;
      if (code !== "no-process" && code !== "no-vm") problems.push(`VM ${n}: ${error}`);
    }
    await ended;
  }
  return problems;
}
