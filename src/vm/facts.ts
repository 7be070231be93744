import type { Gsi } from "../abi/numbers.ts";
import type { U64 } from "../abi/u64.ts";
import type { Route } from "./routing.ts";

/**
 * What can be known of a VM beside the registers of its chips: no ioctl tells it. Here is what every KVM has, under the
 * names of `<linux/kvm_host.h>` and `<linux/kvm_irqfd.h>`; what is an architecture's own stands with it (`ArchData.facts`).
 * A field is absent where it was not read or this kernel lacks it. None of it is ever restored.
 */

/** A value, and how it came to be known. */
export interface Fact<T> {
  value: T;
  from: (typeof ORIGINS)[number];
}

/** `session`: by the process that keeps the VM. `file`: a snapshot that does not say. */
export const ORIGINS = ["ioctl", "kernel memory", "session", "file", "assumed"] as const;

/** Who has an eventfd open: a descriptor of a process (`eventfd-id` of its /proc/PID/fdinfo). */
export interface EventfdHolder {
  pid: number;
  /** /proc/PID/comm. */
  comm: string;
  fd: number;
  /** The VM's own process, a worker of vhost, a user of VFIO (it has a VFIO device open), or another one. */
  is: (typeof HOLDERS)[number];
}

export const HOLDERS = ["vmm", "vhost", "vfio", "process"] as const;

/** `struct eventfd_ctx`. */
export interface Eventfd {
  /** `eventfd_ctx.id`, unique on a host; absent before Linux 5.2. */
  id?: number;
  /** What was written and nobody has taken. KVM takes what it sees, so that of an irqfd this is 0 nearly always. */
  count?: U64;
  /** Absent where processes could not be looked through; empty where none has it open any longer. */
  holders?: EventfdHolder[];
}

/** `struct kvm_kernel_irqfd`: an eventfd whose writes raise a GSI. */
export interface IrqfdFact {
  gsi: Gsi;
  eventfd: Eventfd;
  /** Level-triggered: this eventfd is written at each EOI (KVM_IRQFD_FLAG_RESAMPLE). Absent for an edge. */
  resample?: Eventfd;
  /**
   * `irq_entry`: the one route that KVM has ready for this GSI. `null` where the GSI has none, or several: then the
   * table is asked at each write (`irqfd_update` of virt/kvm/eventfd.c).
   */
  entry?: Route | null;
  /** Whether a device posts its interrupts past it (`producer`: VFIO, IRQ bypass). */
  producer?: boolean;
}

/** Facts that any KVM has, by the names that snapshots and `--chip` have for them. */
export interface Facts {
  /** `kvm.irq_routing`: where GSIs go, all kinds of routes, as the kernel has them now. */
  routes?: Fact<readonly Route[]>;
  /** `kvm.irqfds.items`. */
  irqfds?: Fact<readonly IrqfdFact[]>;
}

/** Why facts are not there that were asked for, by their names: a sentence without a subject and full stop. */
export type Unknown = Readonly<Record<string, string>>;

/** What a decoded value has to be. Plain data: the snapshot's schema and what travels over a socket are checked by it. */
export type Shape =
  | "flag"
  /** At most 256 characters. */
  | "text"
  /** The name of a chip that GSIs can go to. */
  | "chip"
  | "u8"
  | "u16"
  | "u32"
  /** A number while it is exact, else hexadecimal text. */
  | "u64"
  /** A whole number, of either sign. */
  | "integer"
  | "null"
  /** One of these words. */
  | readonly string[]
  | { list: Shape; most: number }
  | { has: Shapes; may?: Shapes }
  | { either: readonly Shape[] };

type Shapes = Readonly<Record<string, Shape>>;

/** A kind of fact. */
export interface FactKind {
  /** What a sentence calls it. */
  readonly title: string;
  readonly shape: Shape;
  /** Its value with what can be compared in places of its own; the value itself when not given. */
  compared?(value: never): object;
}

/** `KVM_MAX_IRQ_ROUTES`: as many GSIs there are, and irqfds of one process are not many more. */
const MOST = 4096;

const ROUTE: Shape = {
  either: [
    { has: { gsi: "u32", chip: "chip", pin: "u8" } },
    { has: { gsi: "u32", msi: { has: { address: "u32", data: "u32" }, may: { address_hi: "u32" } } } },
    { has: { gsi: "u32", hv_sint: { has: { vcpu: "u32", sint: "u32" } } } },
    { has: { gsi: "u32", xen_evtchn: { has: { vcpu: "u32", port: "u32", priority: "u32" } } } },
  ],
};

const EVENTFD: Shape = {
  has: {},
  may: {
    id: "u32",
    count: "u64",
    holders: { list: { has: { pid: "u32", comm: "text", fd: "u32", is: HOLDERS } }, most: MOST },
  },
};

/** {@link Facts}, for those that treat all of them alike. */
export const FACTS = {
  routes: { title: "the routing", shape: { list: ROUTE, most: MOST } },
  irqfds: {
    title: "irqfds",
    shape: {
      list: {
        has: { gsi: "u32", eventfd: EVENTFD },
        may: { resample: EVENTFD, entry: { either: ["null", ROUTE] }, producer: "flag" },
      },
      most: 2 * MOST,
    },
    compared: byGsi,
  },
} as const satisfies Record<keyof Facts, FactKind>;

/** Irqfds in the place of their GSI: alone, as nearly always, or as a list. */
function byGsi(irqfds: readonly IrqfdFact[]): object {
  const places: (object | object[])[] = [];
  for (const { gsi, ...irqfd } of irqfds) {
    const others = places[gsi];
    places[gsi] = others === undefined ? irqfd : [others, irqfd].flat();
  }
  return [...places];
}
