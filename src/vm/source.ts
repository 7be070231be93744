import type { ChipId, ChipImage, InjectionStatus, LineStep } from "./chip.ts";
import type { GuestState } from "./guest.ts";
import type { IrqfdAction, IrqfdState } from "./irqfd.ts";
import type { MsiMessage, Routing } from "./routing.ts";
import type { KernelIrqchip, SnapshotHost, SnapshotSource } from "./snapshot.ts";

/** How long a thread was held: from asking it to stop until it was let go. */
export interface ThreadStop {
  tid: number;
  ns: number;
}

/** Where a VM is and what it has, without touching it. */
export interface TargetInfo {
  source: SnapshotSource;
  host: SnapshotHost;
  /** What {@link Target.readChips} can be asked for: chips, and vCPUs (`vcpu[n]`) where they can be seen. */
  chips: ChipId[];
  /** How many vCPUs the VM has; absent where that can't be told, as of a file that may have some of them. */
  vcpus?: number;
  /** Which controllers are in the kernel; absent where that can't be told. */
  irqchip?: KernelIrqchip;
  /** Where its GSIs go; absent where that can't be told. */
  routing?: Routing;
  /** A guest of ours that runs on it. */
  guest?: GuestState;
  /** Which vCPUs run and which do not (`run` of a snapshot's vCPUs), where that is known without a look at them. */
  runs?: ReadonlyMap<number, boolean>;
  /** When it was as it is, as ISO 8601; absent where that is whenever it is read. */
  capturedAt?: string;
  /** Whether it is a file: it can be read, not driven, and never changes. */
  readOnly?: true;
  /** How a message names the target: "session 'default'", "pid 4242", "snap.json". */
  label: string;
}

/**
 * Anything whose interrupt controllers can be seen: a session's VM, one inside another process, one in
 * this process, or a file.
 *
 * Calls take lists, so that one round trip (a socket hop, one stop of another process) serves a whole
 * command, and what it returns is one consistent picture (another process's vCPUs excepted: they are read in
 * turn). What a target can't do it refuses with
 * `unsupported` and a hint.
 */
export interface Target {
  describe(): Promise<TargetInfo>;
  /** Raw bytes, as the kernel gives them, in the order asked for. */
  readChips(ids: readonly ChipId[]): Promise<ChipImage[]>;
  /**
   * All or none.
   *
   * @param expected what the chips must still hold; else nothing is written and `conflict` is thrown.
   */
  writeChips(images: readonly ChipImage[], expected?: readonly ChipImage[]): Promise<void>;
  /**
   * Replaces the whole routing.
   *
   * @throws KvmIrqError `bad-route`, and then nothing has changed.
   */
  setRouting(routing: Routing): Promise<void>;
  /**
   * In order, without anything of another client in between.
   *
   * @throws KvmIrqError `bad-gsi` for a GSI that goes nowhere, where the routing is known; then no line is
   *   touched.
   */
  setIrqLines(steps: readonly LineStep[], options?: LineOptions): Promise<InjectionStatus[]>;
  /**
   * Sends messages to local APICs, in order and without anything of another client in between.
   *
   * @throws KvmIrqError `bad-msi` when one has an address outside 0xfeeXXXXX; then none is sent.
   */
  signalMsis(messages: readonly MsiMessage[]): Promise<InjectionStatus[]>;
  /** Binds eventfds to GSIs, kicks and unbinds them. @returns every irqfd there is afterwards. */
  irqfd(action: IrqfdAction): Promise<IrqfdState[]>;
  close(): Promise<void>;
  /** Resolves when the VM has ended, where that is told without asking: further calls are then refused. */
  ended?(): Promise<void>;
  /** Where calls stop threads of another process: those that the last one stopped, and for how long. */
  readonly lastStops?: readonly ThreadStop[];
  /** Where it takes a look to know: which of the vCPUs that the last call read run, and which do not. */
  readonly lastRuns?: ReadonlyMap<number, boolean>;
}

export interface LineOptions {
  /** Lines that these steps leave high go low again if this client goes away without lowering them. */
  transient?: boolean;
}
