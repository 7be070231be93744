import { release } from "node:os";
import { HOST_ARCH } from "../arch/arches.ts";
import { isPerVcpu } from "../arch/codec.ts";
import type { ChipId, ChipImage } from "./chip.ts";
import type { Fact, Facts, IrqfdFact, Unknown } from "./facts.ts";
import type { GuestState } from "./guest.ts";
import type { Irqchip } from "./machine.ts";
import { type Routing, routesOf } from "./routing.ts";
import type { KernelIrqchip, SnapshotHost, SnapshotSource } from "./snapshot.ts";

/** How long a thread was held: from asking it to stop until it was let go. */
export interface ThreadStop {
  tid: number;
  ns: number;
}

/** Where a VM is and what it has. */
export interface Identity {
  source: SnapshotSource;
  host: SnapshotHost;
  /** What can be read: chips, and vCPUs (`vcpu[n]`) where they can be seen. */
  chips: readonly ChipId[];
  /** The facts that can be told of it, by their names; none when not given. A reading may still lack some. */
  facts?: readonly string[];
  /** How many vCPUs the VM has; absent where that can't be told, as of a file that may have some of them. */
  vcpus?: number;
  /** Which controllers are in the kernel; absent where that can't be told. */
  irqchip?: KernelIrqchip;
  /** When it was as it is, as ISO 8601; absent where that is whenever it is read. */
  capturedAt?: string;
  /** Whether it is a file: it can be read, not driven, and never changes. */
  readOnly?: true;
  /** Whether it is in a session's holder, and is reached as a process all the same. */
  holder?: true;
  /** How a message names it: "session 'default'", "pid 4242", "snap.json". */
  label: string;
}

/** A VM's identity, and what is known of it besides the state of its chips. */
export interface SourceInfo extends Identity {
  /** Where its GSIs go; absent where that can't be told. */
  routing?: Routing;
  /** A guest of ours that runs on it. */
  guest?: GuestState;
}

/** What a reading is to have. */
export interface Wanted {
  /** Chips and vCPUs, in this order. Without any, nobody is stopped. */
  chips: readonly ChipId[];
  /** Facts, by the names that the architecture has for them; none when not given. What can't be told stays away. */
  facts?: readonly string[];
}

/** One look at a VM, taken in one call. */
export interface Reading {
  identity: Identity;
  /** Raw bytes, as the kernel gives them, in the order asked for. */
  images: ChipImage[];
  /** Where its GSIs go; absent where that can't be told. */
  routing?: Fact<Routing>;
  /** A guest of ours that runs on it. */
  guest?: Fact<GuestState>;
  /** Which vCPUs run and which do not (`run` of a snapshot's vCPUs), as far as that is known. */
  runs: ReadonlyMap<number, boolean>;
  /** The facts that were asked for, as far as they are known. Those of the architecture are among them. */
  facts?: Facts;
  /** Why others of them are not. */
  unknown?: Unknown;
  /** Whether chips are of one moment, or each of its own. */
  consistency: "atomic" | "per chip" | "unsynchronised";
  /**
   * Of an unsynchronised one: whether two looks in a row agreed on all that does not change by itself. When none did,
   * it is the last look.
   */
  settled?: boolean;
  /** The threads of another process that it stopped, and for how long. */
  stops: readonly ThreadStop[];
}

/** What a reading tells of a VM besides the state of its chips. */
export function infoOf({
  identity,
  routing,
  guest,
}: Pick<Reading, "identity" | "routing" | "guest">): SourceInfo {
  return {
    ...identity,
    ...(routing === undefined ? {} : { routing: routing.value }),
    ...(guest === undefined ? {} : { guest: guest.value }),
  };
}

/** This host, as a snapshot of a VM on it names it. @param apiVersion what `KVM_GET_API_VERSION` gave. */
export function thisHost(apiVersion?: number): SnapshotHost {
  return {
    kernel: release(),
    arch: HOST_ARCH.name,
    ...(apiVersion === undefined ? {} : { kvm_api_version: apiVersion }),
  };
}

/** The identity of a VM of our own, of which all is known. */
export function ownIdentity(
  vm: Pick<Identity, "label" | "source" | "host"> & { vcpus: number; irqchip: Irqchip },
): Identity {
  const { label, source, host, vcpus, irqchip } = vm;
  const chips = HOST_ARCH.chips(vcpus);
  const kept = irqchip === "full" ? chips : chips.filter((id) => isPerVcpu(HOST_ARCH.controller(id)!));
  return {
    label,
    source,
    host,
    chips: [...kept, ...Array.from({ length: vcpus }, (_, n): ChipId => `vcpu[${n}]`)],
    facts: source.backend === "kvm" ? ["routes", "irqfds"] : ["routes"],
    vcpus,
    irqchip,
  };
}

/** What is to be asked of whoever keeps a VM of our own, for a reading of it. */
export function ownWish({ chips, facts = [] }: Wanted): { ids: readonly ChipId[]; facts?: boolean } {
  return { ids: chips, ...(facts.includes("irqfds") && { facts: true }) };
}

interface OwnParts {
  images: ChipImage[];
  routing: Routing;
  guest?: GuestState;
  irqfds?: IrqfdFact[];
}

/** A reading of a VM of our own. Its guest runs vCPU 0, nobody the others. */
export function ownReading(
  identity: Identity,
  { images, routing, guest, irqfds }: OwnParts,
  { facts = [] }: Partial<Wanted> = {},
): Reading {
  const from = "session";
  const running = guest?.running === true;
  return {
    identity,
    images,
    routing: { value: routing, from },
    ...(guest === undefined ? {} : { guest: { value: guest, from } }),
    facts: {
      ...(facts.includes("routes") && { routes: { value: routesOf(HOST_ARCH.routing, routing), from } }),
      ...(irqfds && { irqfds: { value: irqfds, from } }),
    },
    runs: new Map(Array.from({ length: identity.vcpus ?? 0 }, (_, n) => [n, n === 0 && running])),
    consistency: running ? "per chip" : "atomic",
    stops: [],
  };
}
