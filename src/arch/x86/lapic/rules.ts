import { hex } from "../../../abi/bits.ts";
import type { Vector } from "../../../abi/numbers.ts";
import { before, bitClear, bitSet, type Evidence, is, listHas, missing } from "../../../rules/evidence.ts";
import { type Rule, rule } from "../../../rules/rule.ts";
import type { Arrival, Scene, Sent, Vm } from "../explain/context.ts";
import { interruptible, takesInterrupts } from "../vcpu/rules.ts";
import { hasVector } from "./destination.ts";
import {
  APIC_BASE_ENABLE_BIT,
  type Cpu,
  cpusOf,
  FIRST_LEGAL_VECTOR,
  LVT_MASK_BIT,
  lint0,
  outranks,
  processorPriority,
  SVR_ENABLE_BIT,
  serviceAhead,
  softwareEnabled,
  tprBlocks,
} from "./logic.ts";

const MODES = "82093AA, 3.2.4, bits 8-10; KVM lapic.c __apic_accept_irq";
const DESTINATION = "SDM vol. 3, 12.6.2; KVM lapic.c kvm_irq_delivery_to_apic_fast";
const BASE = "SDM vol. 3, 12.4.3";
const SVR = "SDM vol. 3, 12.4.7.2 and 12.9";
const VECTORS = "SDM vol. 3, 12.5.2";
const PRIORITY = "SDM vol. 3, 12.8.3";
const EOI = "SDM vol. 3, 12.8.5";
const LINT0 = "SDM vol. 3, 12.5.1; KVM irq.c kvm_apic_accept_pic_intr";

/** Modes in which no interrupt comes under KVM, seen on a running kernel. */
const NOT_DELIVERED: readonly string[] = ["reserved-3", "reserved-6", "extint"];

/** A message that nobody is there for. */
export const NO_DESTINATION = rule<Sent>(
  "no-destination",
  { hop: "blocked", finding: "error" },
  DESTINATION,
  ({ cpus, destination, at }) =>
    cpus !== undefined && destination.cpus.length + destination.off.length === 0 && [at.dest_id],
  { ioapic: "ioapic-no-destination", msi: "msi-no-destination" },
);

/** What keeps a message from whom it is meant for, once it is sent. */
export const MESSAGE_RULES: readonly Rule<Sent>[] = [
  rule("smi", "unknown", MODES, ({ entry, at }) => entry.delivery_mode === "smi" && [at.delivery_mode], {
    ioapic: "ioapic-smi",
    msi: "msi-smi",
  }),
  rule(
    "delivery-mode",
    "blocked",
    MODES,
    ({ entry, at }) => NOT_DELIVERED.includes(entry.delivery_mode) && [at.delivery_mode],
    { ioapic: "ioapic-delivery-mode", msi: "msi-delivery-mode" },
  ),
  rule(
    "no-local-apics",
    "unknown",
    DESTINATION,
    ({ cpus }) => cpus === undefined && [missing("chips.lapic")],
    { ioapic: "ioapic-no-local-apics", msi: "msi-no-local-apics" },
  ),
  rule(
    "lowest-priority-lost",
    "blocked",
    DESTINATION,
    ({ destination: { cpus, named }, at }) => cpus.length === 0 && named.length > 0 && [at.dest_id],
    { ioapic: "ioapic-lowest-priority-lost", msi: "msi-lowest-priority-lost" },
  ),
  NO_DESTINATION,
];

/** Whether the message of an MSI route reaches a local APIC. */
export const MSI_RULES: readonly Rule<Sent>[] = [
  ...MESSAGE_RULES,
  rule("msi-open", "open", "SDM vol. 3, 12.11", ({ at }) => [at.dest_id]),
];

/** A vector that a local APIC leaves in its IRR for ever. */
export const ILLEGAL_VECTOR = rule<{ vector: Vector | null; at?: Sent["at"] }>(
  "illegal-vector",
  { hop: "blocked", finding: "error" },
  VECTORS,
  ({ vector, at }) => vector !== null && vector < FIRST_LEGAL_VECTOR && (at ? [at.vector] : []),
  { "local apic": "lapic-illegal-vector" },
);

/** Whether a local APIC accepts a message, and hands it to its vCPU. */
export const LAPIC_RULES: readonly Rule<Arrival>[] = [
  rule("lapic-hardware-disabled", "blocked", BASE, ({ cpu }) => {
    return cpu.mode === "disabled" && [globallyOff(cpu)];
  }),
  rule("lapic-software-disabled", "blocked", SVR, ({ cpu, deliveryMode }) => {
    return (
      !softwareEnabled(cpu) &&
      hasVector(deliveryMode) && [
        is(of(cpu, "svr"), hex(cpu.lapic.svr, 1)),
        bitClear(of(cpu, "svr"), SVR_ENABLE_BIT),
      ]
    );
  }),
  ILLEGAL_VECTOR,
  rule("lapic-in-service", "in service", PRIORITY, ({ cpu, vector }) => {
    return vector !== null && cpu.lapic.isr.includes(vector) && inService(cpu, vector);
  }),
  rule("lapic-behind-tpr", "held", PRIORITY, (arrival) => {
    const [service, tpr] = behind(arrival, "tpr") ?? [];
    return tpr && [...tpr, ...service!];
  }),
  rule("lapic-behind-service", "held", PRIORITY, (arrival) => behind(arrival, "isr")?.flat()),
  rule("lapic-pending", "pending", VECTORS, ({ cpu, vector }) => {
    return vector !== null && cpu.lapic.irr.includes(vector) && [listHas(of(cpu, "irr"), hex(vector))];
  }),
  rule("lapic-open", "open", PRIORITY, ({ cpu, vector }) =>
    vector === null ? [] : [bitSet(of(cpu, "svr"), SVR_ENABLE_BIT)],
  ),
];

const of = ({ vcpu }: Cpu, field: string) => `lapic[${vcpu}].${field}`;
const globallyOff = ({ vcpu }: Cpu) => bitClear(`vcpus[${vcpu}].apic_base`, APIC_BASE_ENABLE_BIT);

function inService(cpu: Cpu, vector: Vector): Evidence[] {
  return serviceAhead(cpu, vector).map((serving) => listHas(of(cpu, "isr"), hex(serving)));
}

/** What is in service before a vector, and the TPR, where the processor's priority is that of one of them. */
function behind({ cpu, vector }: Arrival, by: "tpr" | "isr"): [Evidence[], Evidence[]] | undefined {
  if (vector === null || outranks(cpu, vector) || processorPriority(cpu).from !== by) return undefined;
  const tpr = by === "tpr" || tprBlocks(cpu, vector) ? [is(of(cpu, "tpr"), hex(cpu.lapic.tpr))] : [];
  return [inService(cpu, vector), tpr];
}

export const lvtLint0 = (cpu: Cpu) => is(of(cpu, "lvt_lint0"), hex(cpu.lapic.lvt_lint0, 1));

/** The LINT0 that lets the PIC's INTR in. KVM offers INTR to the vCPUs in order. */
export const LINT0_RULES: readonly Rule<Vm>[] = [
  rule("lint0-unknown", "unknown", LINT0, ({ cpus }) => cpus === undefined && [missing("chips.lapic")]),
  rule("lint0-virtual-wire", "open", LINT0, ({ intr }) => {
    return intr !== undefined && lint0(intr) === "virtual-wire" && [globallyOff(intr)];
  }),
  rule("lint0-open", "open", LINT0, ({ intr }) => {
    return intr && [lvtLint0(intr), bitClear(of(intr, "lvt_lint0"), LVT_MASK_BIT)];
  }),
  rule("lint0-masked", "blocked", LINT0, ({ cpus }) => {
    const first = cpus?.[0];
    const masked = first !== undefined && lint0(first) === "masked";
    return masked && [lvtLint0(first), bitSet(of(first, "lvt_lint0"), LVT_MASK_BIT)];
  }),
  rule("lint0-not-extint", "blocked", LINT0, ({ cpus }) => cpus?.[0] && [lvtLint0(cpus[0])]),
  rule("lint0-nobody", "blocked", LINT0, () => [is("chips.lapic", "[]")]),
];

/**
 * Sources that stop a vCPU to read it. That makes KVM look at its local APIC again, and what comes in while the
 * vCPU is held is not taken: a halted vCPU with something pending is the reader's own doing.
 */
const STOPPED_TO_READ: readonly string[] = ["process", "session", "scratch"];

/** A vCPU of a VM, and its local APIC in the reading before. */
export interface CpuOf {
  vm: Scene;
  cpu: Cpu;
  earlier: Cpu | undefined;
}

export function cpusIn(vm: Scene): CpuOf[] {
  const earlier = vm.previous && cpusOf(vm.previous);
  return vm.cpus.map((cpu) => ({ vm, cpu, earlier: earlier?.find(({ vcpu }) => vcpu === cpu.vcpu) }));
}

/** What to look for at a local APIC and its vCPU. */
export const CPU_FINDINGS: readonly Rule<CpuOf>[] = [
  rule(
    "apic-off-with-pending",
    {
      // Out of use, or in a transition such as a kexec: nothing is lost while interrupts are off.
      finding: ({ vm, cpu }) =>
        vm.guest && cpu.state !== undefined && !interruptible(cpu) ? "info" : "error",
    },
    SVR,
    ({ cpu }) => {
      if ((cpu.mode !== "disabled" && softwareEnabled(cpu)) || cpu.lapic.irr.length === 0) return undefined;
      const off = cpu.mode === "disabled" ? globallyOff(cpu) : bitClear(of(cpu, "svr"), SVR_ENABLE_BIT);
      return [...cpu.lapic.irr.map((vector) => listHas(of(cpu, "irr"), hex(vector))), off];
    },
  ),
  rule("halted-with-pending", { finding: "error" }, "SDM vol. 2, HLT", ({ vm, cpu, earlier }) => {
    const vector = cpu.lapic.irr.at(-1);
    if (STOPPED_TO_READ.includes(vm.snapshot.source.kind) || vector === undefined) return undefined;
    if (cpu.mode === "disabled" || !softwareEnabled(cpu)) return undefined;
    if (earlier?.state?.mp_state !== "halted" || !earlier.lapic.irr.includes(vector)) return undefined;
    if (cpu.state?.mp_state !== "halted" || !takesInterrupts(cpu.state) || !outranks(cpu, vector))
      return undefined;
    const now = [is(`vcpus[${cpu.vcpu}].mp_state`, "halted"), listHas(of(cpu, "irr"), hex(vector))];
    return [...now, ...now.map(before)];
  }),
];

/** What a vCPU has had in service in two readings. */
export interface ServingCpu {
  vcpu: number;
  still: number[];
}

/** A vCPU that nobody runs ends nothing. */
export function cpusServing(vm: Scene): ServingCpu[] {
  return cpusIn(vm)
    .filter(({ cpu }) => !(vm.guest && cpu.state?.run === false))
    .map(({ cpu: { vcpu, lapic }, earlier }) => ({
      vcpu,
      still: lapic.isr.filter((vector) => earlier?.lapic.isr.includes(vector)),
    }))
    .filter(({ still }) => still.length > 0);
}

export const CPU_SERVICE_FINDINGS: readonly Rule<ServingCpu>[] = [
  rule("in-service-too-long", { finding: "warning" }, EOI, ({ vcpu, still }) =>
    still.map((vector) => listHas(`lapic[${vcpu}].isr`, hex(vector))).flatMap((now) => [now, before(now)]),
  ),
];
