import type { Pin, Vector } from "../../abi/numbers.ts";
import type { U64 } from "../../abi/u64.ts";
import { type Facts as AnyFacts, FACTS, type Fact, type FactKind, type Shape } from "../../vm/facts.ts";
import { INPUTS } from "./routing.ts";

/** What can be known of an x86 VM beside the registers of its chips, as arch/x86/kvm has it. */

/**
 * Who can hold an input up, by its number in `irq_states`: `KVM_USERSPACE_IRQ_SOURCE_ID` (KVM_IRQ_LINE; an irqfd without
 * a resampler lets go at once), `KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID`, and the PIT (`kvm_pit.irq_source_id`, the first that
 * is given out).
 */
export const LINE_SOURCES = ["line", "resample", "pit"] as const;
export type LineSource = (typeof LINE_SOURCES)[number] | `source-${number}`;

/** An input that is up, and the sources that hold it (`kvm_pic.irq_states`, `kvm_ioapic.irq_states`: a bit each). */
export interface HeldInput {
  chip: keyof typeof INPUTS;
  pin: Pin;
  /** A source without a name of its own is `source-N`. */
  by: LineSource[];
}

export interface Lines {
  /** The inputs that are up; the others are down. */
  held: HeldInput[];
  /** `kvm_ioapic.irr_delivered`: pins whose rise was delivered and whose line is still up. */
  irr_delivered?: Pin[];
  /** `kvm_ioapic.rtc_status`: EOIs that KVM waits for before it takes another rise of GSI 8. */
  rtc?: { pending_eoi: number; vcpus?: number[] };
  /** `kvm_pic.output`: INTR as the PICs last gave it. */
  pic_output?: boolean;
}

export const TIMER_MODES = ["one-shot", "periodic", "tsc-deadline"] as const;

/** `struct kvm_timer` of a vCPU's local APIC. */
export interface LapicTimer {
  vcpu: number;
  /** LVT timer bits 17-18 (`timer_mode`). */
  mode: (typeof TIMER_MODES)[number];
  /** Ticks that are over and not yet in the IRR (`pending`). */
  pending: number;
  /** `tscdeadline`, in the guest's TSC; 0 is disarmed. */
  tscdeadline?: U64;
  /** `period`, in nanoseconds of host time. */
  period_ns?: U64;
  /** `target_expiration` from the moment of the reading on; below 0 is late. Absent where the timer is not armed. */
  fires_in_ns?: number;
}

/** `struct kvm_kpit_state`. */
export interface Pit {
  /** Whether ticks that the guest missed come again at its EOI (KVM_REINJECT_CONTROL). */
  reinject: boolean;
  /** Ticks that wait for an EOI. */
  pending?: number;
  /** Whether the guest has acknowledged the last tick (`irq_ack`). */
  irq_ack?: boolean;
}

export interface Timers {
  lapic: LapicTimer[];
  /** Absent where the VM has no PIT in the kernel (KVM_CREATE_PIT2). */
  pit?: Pit;
}

/** Whether interrupts reach vCPUs without an exit (APICv of VMX, AVIC of SVM). */
export interface Apicv {
  /** `kvm_lapic.apicv_active`, by vCPU. */
  vcpus: { vcpu: number; active: boolean }[];
  /**
   * `kvm_arch.apicv_inhibit_reasons`: what turns it off for the whole VM, by the names of enum `kvm_apicv_inhibit`
   * without their `APICV_INHIBIT_REASON_`: `DISABLE`, `HYPERV`, `PIT_REINJ`. A bit without a name is `bit-N`.
   */
  inhibits: string[];
}

/** What hardware was told of a vCPU's interrupts: VMX's posted-interrupt descriptor. */
export interface Posted {
  vcpu: number;
  /** Vectors that were posted and are not yet in the IRR. */
  pir: Vector[];
  /** Outstanding notification. */
  on: boolean;
  /** Suppress notification. */
  sn: boolean;
}

/** All facts of an x86 VM, by the names that snapshots and `--chip` have for them. */
export interface Facts extends AnyFacts {
  lines?: Fact<Lines>;
  timers?: Fact<Timers>;
  apicv?: Fact<Apicv>;
  posted?: Fact<readonly Posted[]>;
}

const MOST_VCPUS = 4096;
const perVcpu = (has: Record<string, Shape>, may: Record<string, Shape> = {}): Shape => ({
  list: { has: { vcpu: "u32", ...has }, may },
  most: MOST_VCPUS,
});
const PINS: Shape = { list: "u8", most: 256 };

/** {@link Facts}, for those that treat all of them alike. */
export const X86_FACTS: Readonly<Record<keyof Facts, FactKind>> = {
  ...FACTS,
  lines: {
    title: "who holds a line up",
    shape: {
      has: {
        held: {
          list: {
            has: { chip: Object.keys(INPUTS), pin: "u8", by: { list: "text", most: 64 } },
          },
          most: 256,
        },
      },
      may: {
        irr_delivered: PINS,
        rtc: { has: { pending_eoi: "integer" }, may: { vcpus: { list: "u32", most: MOST_VCPUS } } },
        pic_output: "flag",
      },
    },
    compared: ({ held, ...rest }: Lines) => ({ ...rest, held: heldByChip(held) }),
  },
  timers: {
    title: "timers",
    shape: {
      has: {
        lapic: perVcpu(
          { mode: TIMER_MODES, pending: "u32" },
          { tscdeadline: "u64", period_ns: "u64", fires_in_ns: "integer" },
        ),
      },
      may: { pit: { has: { reinject: "flag" }, may: { pending: "integer", irq_ack: "flag" } } },
    },
    // What time alone changes, in a VM that is paused too: when a timer fires is told from the moment of each reading
    // on, and KVM's PIT counts ticks that nobody takes (arch/x86/kvm/i8254.c, pit_timer_fn).
    compared: ({ lapic, pit }: Timers) => ({
      lapic: lapic.map(({ fires_in_ns: _, ...timer }) => timer),
      ...(pit && { pit: { reinject: pit.reinject } }),
    }),
  },
  apicv: {
    title: "APICv",
    shape: { has: { vcpus: perVcpu({ active: "flag" }), inhibits: { list: "text", most: 64 } } },
  },
  posted: {
    title: "posted interrupts",
    shape: perVcpu({ pir: { list: "u8", most: 256 }, on: "flag", sn: "flag" }),
  },
};

/** Who holds each input of a chip that is up, in the place of its pin. */
function heldByChip(held: readonly HeldInput[]): object {
  const chips: Partial<Record<HeldInput["chip"], string[]>> = {};
  for (const { chip, pin, by } of held) {
    chips[chip] ??= [];
    chips[chip][pin] = by.join(", ");
  }
  return Object.fromEntries(Object.entries(chips).map(([chip, pins]) => [chip, [...pins]]));
}
