import type { Gsi } from "../abi/numbers.ts";
import type { ChipId, ChipImage, InjectionStatus, LineStep } from "./chip.ts";
import type { IrqfdFact } from "./facts.ts";
import type { GuestState } from "./guest.ts";
import type { IrqfdAction, IrqfdState } from "./irqfd.ts";
import type { MsiMessage, Routing } from "./routing.ts";

/** Who stands behind a VM: the kernel, or the software model. */
export type Backend = "kvm" | "model";

/** Which controllers are in the kernel. */
export const IRQCHIPS = {
  full: "PICs, IOAPIC and local APICs",
  split: "local APICs alone; MSIs and GSIs routed to MSIs reach them",
} as const;

export type Irqchip = keyof typeof IRQCHIPS;

/** The interrupt controllers of a VM, whoever owns it: synchronous and one step at a time. */
export interface Controllers {
  readonly backend: Backend;
  readonly vcpus: number;
  /** The bytes of one chip. @throws KvmIrqError when there is no such chip. */
  readChip(id: ChipId): Uint8Array;
  /** Sets one chip. Vcpu images can't be written. @throws KvmIrqError when there is no such chip. */
  writeChip(image: ChipImage): void;
  /** Sets the level of a GSI. A GSI that is routed nowhere is accepted and answers a negative status. */
  setIrqLine(gsi: Gsi, level: 0 | 1): InjectionStatus;
  /**
   * Sends a message to local APICs, as a device does that has MSI.
   *
   * @throws KvmIrqError `bad-msi` for an address outside 0xfeeXXXXX.
   */
  signalMsi(message: MsiMessage): InjectionStatus;
}

/**
 * A VM with in-kernel interrupt controllers, as the process that owns it sees it. `Kvm` machines and the
 * model both are one; a holder serves one over its socket.
 */
export interface Machine extends Controllers {
  readonly irqchip: Irqchip;
  /** The version that `KVM_GET_API_VERSION` gives; absent for the model. */
  readonly apiVersion?: number;
  /** Where GSIs go. */
  readonly routing: Routing;
  /**
   * Replaces the whole routing. Lines that are high stay so at the pins that they had.
   *
   * @throws KvmIrqError `bad-route`, and then nothing has changed.
   */
  setRouting(routing: Routing): void;
  /**
   * Binds eventfds to GSIs, kicks and unbinds them; absent where no kernel watches them.
   *
   * @returns every irqfd there is afterwards.
   * @throws KvmIrqError `bad-gsi` for a GSI that has an irqfd already, has none, or goes nowhere.
   */
  irqfd?(action: IrqfdAction): IrqfdState[];
  /** Its irqfds as facts; absent where no kernel watches them. */
  irqfdFacts?(): IrqfdFact[];
  /** Puts a vCPU that has not run yet into a state; absent where that can't be done. */
  loadVcpu?(image: ChipImage): void;
  /** What runs on vCPU 0; absent when nothing does. */
  readonly guest: GuestState | undefined;
  close(): void;
}

/** Reads chips in the order asked for. */
export function readChips(machine: Pick<Machine, "readChip">, ids: readonly ChipId[]): ChipImage[] {
  return ids.map((id) => ({ id, bytes: machine.readChip(id) }));
}

/** Sets line levels in order, those that go nowhere too, which the machine ignores. */
export function setIrqLines(
  machine: Pick<Machine, "setIrqLine">,
  steps: readonly LineStep[],
): InjectionStatus[] {
  return steps.map(({ gsi, level }) => machine.setIrqLine(gsi, level));
}
