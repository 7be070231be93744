import { release } from "node:os";
import { HOST_ARCH } from "../../arch/arches.ts";
import {
  type ChipId,
  type ChipImage,
  type InjectionStatus,
  type LineStep,
  parseChipId,
} from "../../vm/chip.ts";
import type { GuestState } from "../../vm/guest.ts";
import type { IrqfdAction, IrqfdState } from "../../vm/irqfd.ts";
import { type Irqchip, type Machine, readChips, signalMsis } from "../../vm/machine.ts";
import { setRoutedLines } from "../../vm/routed.ts";
import type { MsiMessage, Routing } from "../../vm/routing.ts";
import type { SnapshotHost } from "../../vm/snapshot.ts";
import type { Target, TargetInfo } from "../../vm/source.ts";
import { writeChips } from "../../vm/write.ts";

/** A machine of this very process, for scripts and the demo. Closing the target ends the machine. */
export class LocalTarget implements Target {
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  async describe(): Promise<TargetInfo> {
    return scratchInfo(this.#machine);
  }

  async readChips(ids: readonly ChipId[]): Promise<ChipImage[]> {
    return readChips(this.#machine, ids);
  }

  async writeChips(images: readonly ChipImage[], expected?: readonly ChipImage[]): Promise<void> {
    writeChips(this.#machine, images, expected);
  }

  async setIrqLines(steps: readonly LineStep[]): Promise<InjectionStatus[]> {
    return setRoutedLines(this.#machine, steps);
  }

  async signalMsis(messages: readonly MsiMessage[]): Promise<InjectionStatus[]> {
    return signalMsis(this.#machine, messages);
  }

  async setRouting(routing: Routing): Promise<void> {
    this.#machine.setRouting(routing);
  }

  async irqfd(action: IrqfdAction): Promise<IrqfdState[]> {
    return this.#machine.irqfd(action);
  }

  async close(): Promise<void> {
    this.#machine.close();
  }
}

/** What there is to say of a machine of this process, made or still to be made. */
export function scratchInfo(
  machine: Pick<Machine, "backend" | "vcpus" | "irqchip" | "routing" | "apiVersion">,
): TargetInfo {
  const { backend, vcpus, irqchip, routing } = machine;
  return {
    source: { kind: "scratch", backend, pid: process.pid },
    host: hostOf(machine),
    chips: machineChips(vcpus, irqchip),
    vcpus,
    irqchip,
    routing,
    runs: ownRuns(vcpus, undefined),
    label: backend === "kvm" ? "a scratch VM" : "a scratch VM of the software model",
  };
}

/** What a machine of this host's architecture can be asked for. */
export function machineChips(vcpus: number, irqchip: Irqchip): ChipId[] {
  const chips = HOST_ARCH.chips(vcpus);
  const kept = irqchip === "full" ? chips : chips.filter((id) => parseChipId(id).kind === "lapic");
  return [...kept, ...Array.from({ length: vcpus }, (_, n): ChipId => `vcpu[${n}]`)];
}

/** Who runs the vCPUs of a VM of ours: its guest vCPU 0, nobody the others. */
export function ownRuns(vcpus: number, guest: GuestState | undefined): Map<number, boolean> {
  return new Map(Array.from({ length: vcpus }, (_, n) => [n, n === 0 && guest?.running === true]));
}

/** This host, as a snapshot of a machine on it names it. */
export function hostOf(machine: Pick<Machine, "apiVersion">): SnapshotHost {
  return {
    kernel: release(),
    arch: HOST_ARCH.name,
    ...(machine.apiVersion === undefined ? {} : { kvm_api_version: machine.apiVersion }),
  };
}
