import { bitsOf } from "../../abi/bits.ts";
import { toU64, viewOf } from "../../abi/u64.ts";
import type { Fact, Unknown } from "../../vm/facts.ts";
import type { KernelHost } from "../arch.ts";
import {
  type Apicv,
  type Facts,
  type HeldInput,
  type LapicTimer,
  LINE_SOURCES,
  type Lines,
  type Posted,
  TIMER_MODES,
  type Timers,
} from "./facts.ts";
import { TSC_DEADLINE } from "./lapic/memory.ts";
import { INPUTS } from "./routing.ts";
import { isApicvActive, type VcpuRead } from "./vcpu/memory.ts";
import type { VmRead } from "./vm-memory.ts";

/** A vCPU and its number. */
type Vcpu = VcpuRead & { vcpu: number };

/** What there is of a VM beside its chips' registers; a text where there is no such thing, which says why. */
type Finder = (vm: VmRead, vcpus: readonly Vcpu[], host: KernelHost) => object | string;

const WORD = 8;
const ENQUEUED = 1;
const INHIBIT = "APICV_INHIBIT_REASON_";
/** ON and SN of a posted-interrupt descriptor (Intel SDM vol. 3, table 31-1), in the word behind its PIR. */
const [ON, SN] = [1n, 2n];

/** The bits of a map in kernel memory, lowest first. */
function bitsIn(map: Uint8Array): number[] {
  return [...map].flatMap((byte, index) => bitsOf(byte).map((bit) => 8 * index + bit));
}

function held(states: Uint8Array | undefined, input: (index: number) => Pick<HeldInput, "chip" | "pin">) {
  if (states === undefined) return [];
  const view = viewOf(states);
  return Array.from({ length: states.length / WORD }, (_, index): HeldInput => {
    const sources = bitsOf(toU64(view.getBigUint64(index * WORD, true)));
    return {
      ...input(index),
      by: sources.map((source) => LINE_SOURCES[source] ?? (`source-${source}` as const)),
    };
  }).filter(({ by }) => by.length > 0);
}

function linesOf({ pic, ioapic }: VmRead): Lines | string {
  if (pic === undefined && ioapic === undefined)
    return "this VM has neither PICs nor an IOAPIC in the kernel";
  const { pins } = INPUTS.pic1;
  const waits = ioapic?.rtc_pending_eoi;
  return {
    held: [
      ...held(pic?.irq_states, (index) =>
        index < pins ? { chip: "pic1", pin: index } : { chip: "pic2", pin: index - pins },
      ),
      ...held(ioapic?.irq_states, (pin) => ({ chip: "ioapic", pin })),
    ],
    ...(ioapic?.irr_delivered === undefined ? {} : { irr_delivered: bitsOf(ioapic.irr_delivered) }),
    ...(waits === undefined
      ? {}
      : {
          rtc: {
            pending_eoi: waits | 0,
            ...(ioapic?.rtc_vcpus === undefined ? {} : { vcpus: bitsIn(ioapic.rtc_vcpus) }),
          },
        }),
    ...(pic?.output === undefined ? {} : { pic_output: pic.output !== 0 }),
  };
}

function timerOf({ vcpu, arch: { apic } }: Vcpu, now: bigint): LapicTimer[] {
  if (apic?.timer_mode === undefined || apic.timer_pending === undefined) return [];
  const mode = TIMER_MODES[apic.timer_mode >> 17];
  if (mode === undefined) return [];
  const isDeadline = apic.timer_mode === TSC_DEADLINE;
  const isArmed = apic.hrtimer_state === ENQUEUED || apic.hv_timer === 1;
  const at = !isArmed
    ? undefined
    : !isDeadline
      ? apic.timer_expires
      : apic.hv_timer
        ? undefined
        : apic.hrtimer_expires;
  return [
    {
      vcpu,
      mode,
      pending: apic.timer_pending,
      ...(isDeadline && apic.tscdeadline !== undefined && { tscdeadline: toU64(apic.tscdeadline) }),
      ...(!isDeadline && !!apic.timer_period && { period_ns: toU64(apic.timer_period) }),
      ...(at === undefined ? {} : { fires_in_ns: Number(BigInt.asIntN(64, at - now)) }),
    },
  ];
}

function timersOf({ pit }: VmRead, vcpus: readonly Vcpu[], { nowNs }: KernelHost): Timers | string {
  const lapic = vcpus.flatMap((one) => timerOf(one, nowNs));
  if (lapic.length === 0 && pit === undefined) return "this VM has no timer in the kernel";
  if (pit?.reinject === undefined) return { lapic };
  return {
    lapic,
    pit: {
      reinject: pit.reinject !== 0,
      ...(pit.pending === undefined ? {} : { pending: pit.pending | 0 }),
      ...(pit.irq_ack === undefined ? {} : { irq_ack: pit.irq_ack !== 0 }),
    },
  };
}

function apicvOf({ apicv_inhibits }: VmRead, vcpus: readonly Vcpu[], { enumOf }: KernelHost): Apicv | string {
  if (apicv_inhibits === undefined) return "this kernel does not say what inhibits APICv";
  const names = new Map([...(enumOf("kvm_apicv_inhibit") ?? [])].map(([name, bit]) => [bit, name]));
  const nameOf = (bit: number) => names.get(bit)?.replace(INHIBIT, "") ?? `bit-${bit}`;
  const lapics = vcpus.filter(({ arch }) => arch.apic !== undefined);
  return {
    vcpus: lapics.map((one) => ({ vcpu: one.vcpu, active: isApicvActive(one) })),
    inhibits: bitsOf(toU64(apicv_inhibits)).map(nameOf),
  };
}

function postedOf(_: VmRead, vcpus: readonly Vcpu[], { vendor }: KernelHost): readonly Posted[] | string {
  if (vendor === "kvm_amd") return "AVIC has no such descriptor: it posts into the IRR itself";
  if (vendor !== "kvm_intel") return "this CPU posts no interrupts for KVM";
  const all = vcpus.flatMap(({ vcpu, kvm_intel }): Posted[] => {
    const { pir_vt, pir = pir_vt, pi_control: control } = kvm_intel ?? {};
    if (pir === undefined || control === undefined) return [];
    return [{ vcpu, pir: bitsIn(pir), on: (control & ON) !== 0n, sn: (control & SN) !== 0n }];
  });
  return all.length < vcpus.length ? "this kernel keeps it elsewhere" : all;
}

const FINDERS: Readonly<Record<string, Finder>> = {
  lines: linesOf,
  timers: timersOf,
  apicv: apicvOf,
  posted: postedOf,
};

/** x86's own facts of a VM, as far as they are asked for. */
export function factsOf(names: readonly string[], vm: VmRead, vcpus: readonly Vcpu[], host: KernelHost) {
  const facts: Record<string, Fact<unknown>> = {};
  const unknown: Record<string, string> = {};
  for (const name of names) {
    const found = FINDERS[name]?.(vm, vcpus, host);
    if (typeof found === "string") unknown[name] = found;
    else if (found !== undefined) facts[name] = { value: found, from: "kernel memory" };
  }
  return { facts: facts as Facts, unknown: unknown as Unknown };
}
