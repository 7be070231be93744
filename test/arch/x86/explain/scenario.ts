import type { RedirectionEntry } from "../../../../src/arch/x86/ioapic/layout.ts";
import type { Chips, Snapshot } from "../../../../src/arch/x86/state.ts";
import type { VcpuState } from "../../../../src/arch/x86/vcpu/layout.ts";
import type { NamedRouting } from "../../../../src/vm/routing.ts";
import { resetChips } from "../../../support/reset.ts";

export type AllChips = Required<Chips>;

/** A state, a GSI, and what `explain` has to say of it. */
export interface Scenario {
  name: string;
  gsi: number;
  sentence: string;
  /** 1 when not given. */
  vcpus?: number;
  /** A fresh VM, or one as an OS with PICs or an IOAPIC leaves it. */
  base?: keyof typeof BASES;
  change?: (chips: AllChips) => void;
  /** Lines that are high; `change` has what they left in the chips. */
  holds?: number[];
  /** State that ioctls on a scratch VM can't set up: the scenario is for the pure functions alone. */
  states?: VcpuState[];
  /** Whether a guest runs; yes when not given. */
  guest?: boolean;
  routing?: NamedRouting;
  /** Codes of the findings that this state has, gravest first; none when not given. */
  findings?: string[];
  /** The public report that it is rebuilt from. */
  report?: string;
}

const BASES = {
  reset: () => {},
  pic(chips: AllChips) {
    chips.pic1.irq_base = 0x20;
    chips.pic2.irq_base = 0x28;
  },
  ioapic(chips: AllChips) {
    for (const pic of [chips.pic1, chips.pic2]) pic.imr = 0xff;
    chips.pic1.irq_base = 0x20;
    chips.pic2.irq_base = 0x28;
    for (const lapic of chips.lapic) lapic.svr |= 0x100;
    chips.ioapic.redirtbl.forEach((entry, pin) => {
      Object.assign(entry, { vector: 0x30 + pin, trig_mode: pin < 16 ? "edge" : "level", mask: false });
    });
  },
};

/** The chips of a scenario. */
export function chipsOf({ vcpus = 1, base = "reset", change }: Scenario): AllChips {
  const chips = resetChips(vcpus);
  BASES[base](chips);
  change?.(chips);
  return chips;
}

/** The snapshot of a scenario, as if of a guest in another process. */
export function snapshotFor(scenario: Scenario): Snapshot {
  return {
    format: "kvm-irq.snapshot",
    version: 1,
    captured_at: "2026-01-01T00:00:00.000Z",
    source: { kind: scenario.guest === false ? "session" : "process" },
    host: { kernel: "test", arch: "x86_64" },
    chips: chipsOf(scenario),
    ...(scenario.states === undefined ? {} : { vcpus: scenario.states }),
  };
}

/** Changes an entry of the redirection table. */
export function pin(number: number, change: Partial<RedirectionEntry>): (chips: AllChips) => void {
  return (chips) => Object.assign(chips.ioapic.redirtbl[number]!, change);
}

/** Changes of several kinds, one behind the other. */
export function all(...changes: ((chips: AllChips) => void)[]): (chips: AllChips) => void {
  return (chips) => {
    for (const change of changes) change(chips);
  };
}
