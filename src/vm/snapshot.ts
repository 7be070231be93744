import type { ChipImage, Chips, VcpuState } from "./chip.ts";
import type { Facts, Unknown } from "./facts.ts";
import type { GuestState } from "./guest.ts";
import type { Routing } from "./routing.ts";

export const SNAPSHOT_FORMAT = "kvm-irq.snapshot";
/** Counts breaks of the format; additions leave it as it is. */
export const SNAPSHOT_VERSION = 1;

/** All of them are in the kernel, the local APICs alone, or none. */
export const KERNEL_IRQCHIPS = ["full", "split", "none"] as const;
export type KernelIrqchip = (typeof KERNEL_IRQCHIPS)[number];

/** Where a snapshot was taken. `kind` is `session`, `process`, `file` or `scratch`. */
export interface SnapshotSource {
  kind: string;
  name?: string | undefined;
  backend?: string | undefined;
  pid?: number | undefined;
  /** How another process's VM was read: `kernel` (its memory) or `ptrace`. */
  via?: string | undefined;
  /** `false` where no two looks at a VM in the kernel's memory agreed: its parts need not fit together. */
  settled?: boolean | undefined;
  [further: string]: unknown;
}

/** The host that a snapshot was taken on. */
export interface SnapshotHost {
  kernel: string;
  arch: string;
  kvm_api_version?: number | undefined;
  [further: string]: unknown;
}

/**
 * What `dump --json` prints and `restore` takes. `vcpus` is there to read and is never restored, and so are the facts: those
 * of {@link Facts}, and beside them the architecture's own.
 */
export interface Snapshot<C extends Chips = Chips, V extends VcpuState = VcpuState> extends Facts {
  format: typeof SNAPSHOT_FORMAT;
  version: typeof SNAPSHOT_VERSION;
  captured_at: string;
  source: SnapshotSource;
  host: SnapshotHost;
  chips: C;
  vcpus?: V[];
  /** Which controllers are in the kernel; absent where that could not be told. Never restored. */
  irqchip?: KernelIrqchip;
  /** Where GSIs went; absent where that could not be told. Never restored. */
  routing?: Routing;
  /** A guest of ours on vCPU 0, and what it has handled. Never restored. */
  guest?: GuestState;
  /** Why facts are not there that were asked for. */
  unknown?: Unknown;
}

/** The facts of a reading or a snapshot of an architecture, by their names. */
export function factsOf(facts: readonly string[], of: object): Facts {
  return Object.fromEntries(Object.entries(of).filter(([name]) => facts.includes(name)));
}

/** What of the VM of another process can't be shown, and why; `undefined` when that is nothing. */
export function notSeen({ irqchip, source }: Pick<Snapshot, "irqchip" | "source">): string | undefined {
  if (source.kind !== "process") return undefined;
  if (source["vcpus"] === null) {
    return "which vCPUs belong to this VM is not known, for its process has several: they and their local APICs are not read";
  }
  if (irqchip === undefined || irqchip === "full") return undefined;
  return irqchip === "split"
    ? "the PICs and the IOAPIC are emulated in the VMM's user space; the kernel has the local APICs (split irqchip)"
    : "all interrupt controllers are emulated in the VMM's user space; the kernel has none (no irqchip)";
}

/**
 * Makes a snapshot of what was read.
 *
 * @param images chips and vCPUs as the kernel gave them.
 * @param capturedAt when they were read.
 */
export function makeSnapshot<C extends Chips, V extends VcpuState>(
  arch: { decode(images: readonly ChipImage[]): { chips: C; vcpus?: V[] } },
  images: readonly ChipImage[],
  source: SnapshotSource,
  host: SnapshotHost,
  capturedAt: Date = new Date(),
): Snapshot<C, V> {
  return {
    format: SNAPSHOT_FORMAT,
    version: SNAPSHOT_VERSION,
    captured_at: capturedAt.toISOString(),
    source,
    host,
    ...arch.decode(images),
  };
}
