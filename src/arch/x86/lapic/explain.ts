import { advice, changing } from "../../../abi/advice.ts";
import { hex, listed, shortened } from "../../../abi/bits.ts";
import {
  type Check,
  DUMP_EVERY_CHIP,
  runChecks,
  type StageDraft,
  type StageResult,
} from "../../../rules/explanation.ts";
import type { CpuContext } from "../explain/context.ts";
import { hasVector } from "../explain/message.ts";
import {
  APIC_BASE_ENABLE_BIT,
  type Cpu,
  FIRST_LEGAL_VECTOR,
  intrTarget,
  LVT_MASK_BIT,
  lint0,
  outranks,
  processorPriority,
  softwareEnabled,
} from "./logic.ts";

/** Stage 5 on the IOAPIC way: whether a local APIC accepts the message, and hands it to its vCPU. */
export function lapicStage(context: CpuContext): StageDraft {
  const { cpu, vector } = context;
  return runChecks("local apic", LAPIC_CHECKS, context, {
    state: "open",
    code: "lapic-open",
    text: `the local APIC of vCPU ${cpu.vcpu} accepts it`,
    evidence:
      vector === null
        ? `lapic[${cpu.vcpu}] passes it on to the vCPU`
        : `lapic[${cpu.vcpu}].svr bit 8 set, class ${vector >> 4} above ppr ${hex(processorPriority(cpu).ppr)}`,
  });
}

const LAPIC_CHECKS: readonly Check<CpuContext>[] = [
  hardwareDisabled,
  softwareDisabled,
  belowSixteen,
  inService,
  behindPriority,
  pending,
];

function hardwareDisabled({ cpu }: CpuContext) {
  if (cpu.mode !== "disabled") return undefined;
  return {
    state: "blocked" as const,
    code: "lapic-hardware-disabled",
    text: `the local APIC of vCPU ${cpu.vcpu} is off (apic_base bit ${APIC_BASE_ENABLE_BIT})`,
    evidence: `vcpus[${cpu.vcpu}].apic_base bit ${APIC_BASE_ENABLE_BIT} clear`,
    remedy: "the guest has to set the global enable bit of IA32_APIC_BASE",
  };
}

function softwareDisabled({ cpu, deliveryMode }: CpuContext) {
  if (softwareEnabled(cpu) || !hasVector(deliveryMode)) return undefined;
  return {
    state: "blocked" as const,
    code: "lapic-software-disabled",
    text: `the local APIC of vCPU ${cpu.vcpu} is software-disabled (svr bit 8)`,
    evidence: `lapic[${cpu.vcpu}].svr = 0x${cpu.lapic.svr.toString(16)} (bit 8 clear)`,
    remedy: advice`the guest has to set bit 8 of the spurious-interrupt vector register, or ${changing("set", `lapic[${cpu.vcpu}].svr=0x${(cpu.lapic.svr | 0x100).toString(16)}`)}`,
  };
}

function belowSixteen({ cpu, vector }: CpuContext) {
  if (vector === null || vector >= FIRST_LEGAL_VECTOR) return undefined;
  return {
    state: "blocked" as const,
    code: "lapic-illegal-vector",
    text: `vector ${hex(vector)} is below 16: it enters the IRR of vCPU ${cpu.vcpu} and is never taken from there`,
    evidence: `class 0 of vector ${hex(vector)} is never above lapic[${cpu.vcpu}].ppr`,
    remedy: "use a vector from 0x20 on",
  };
}

function inService({ cpu, vector }: CpuContext) {
  if (vector === null || !cpu.lapic.isr.includes(vector)) return undefined;
  return {
    state: "in service" as const,
    code: "lapic-in-service",
    text: `vector ${hex(vector)} is in service at vCPU ${cpu.vcpu}`,
    evidence: serviceEvidence(cpu, vector),
    until: untilOutranking(cpu, vector),
    remedy: "the guest's handler has to write the EOI register",
  };
}

function behindPriority({ cpu, vector }: CpuContext): StageResult | undefined {
  if (vector === null || outranks(cpu, vector)) return undefined;
  const { ppr, from } = processorPriority(cpu);
  const base = {
    state: "held" as const,
    text: `the priority of vCPU ${cpu.vcpu} (${hex(ppr)}) is not below vector ${hex(vector)}'s class`,
    until: untilOutranking(cpu, vector),
  };
  const tpr = `lapic[${cpu.vcpu}].tpr = ${hex(cpu.lapic.tpr)}`;
  const service = serviceAhead(cpu, vector).length > 0 ? [serviceEvidence(cpu, vector)] : [];
  return from === "tpr"
    ? {
        ...base,
        code: "lapic-behind-tpr",
        evidence: [tpr, ...service].join(", "),
        remedy: "the guest has to lower the TPR (CR8)",
      }
    : {
        ...base,
        code: "lapic-behind-service",
        evidence: [...service, ...(tprBlocks(cpu, vector) ? [tpr] : [])].join(", "),
        remedy: `the guest's handler of vector ${hex(cpu.lapic.isr.at(-1)!)} has to write the EOI register`,
      };
}

/** The vectors in service that hold a vector back, in the order in which EOIs end them. */
function serviceAhead({ lapic }: Cpu, vector: number): number[] {
  return lapic.isr.filter((serving) => serving >> 4 >= vector >> 4).reverse();
}

function tprBlocks({ lapic }: Cpu, vector: number): boolean {
  return (lapic.tpr & 0xf0) >= (vector & 0xf0);
}

function serviceEvidence(cpu: Cpu, vector: number): string {
  return `lapic[${cpu.vcpu}].isr has ${listed(serviceAhead(cpu, vector).map(hex))}`;
}

/** "once vectors 0x80 and 0x50 in service get their EOI and vCPU 0 lowers its TPR below 0x30": all that holds. */
function untilOutranking(cpu: Cpu, vector: number): string {
  const ahead = serviceAhead(cpu, vector);
  const where = ahead[0] === vector ? "" : " in service";
  const eoi =
    ahead.length === 1
      ? [`vector ${hex(ahead[0]!)}${where} gets its EOI`]
      : ahead.length > 1
        ? [`vectors ${listed(shortened(ahead.map(hex)))} in service get their EOI`]
        : [];
  const tpr = tprBlocks(cpu, vector) ? [`vCPU ${cpu.vcpu} lowers its TPR below ${hex(vector & 0xf0)}`] : [];
  return `once ${[...eoi, ...tpr].join(" and ")}`;
}

function pending({ cpu, vector }: CpuContext) {
  if (vector === null || !cpu.lapic.irr.includes(vector)) return undefined;
  return {
    state: "pending" as const,
    code: "lapic-pending",
    text: `vector ${hex(vector)} is pending at vCPU ${cpu.vcpu} already: a second one merges with it`,
    evidence: `lapic[${cpu.vcpu}].irr has ${hex(vector)}`,
  };
}

/** Stage 5 on the PIC way: the LINT0 that lets INTR in. KVM offers INTR to the vCPUs in order. */
export function lint0Stage(cpus: readonly Cpu[] | undefined): StageDraft {
  return runChecks("local apic", LINT0_CHECKS, { cpus, target: cpus && intrTarget(cpus) }, UNREACHED);
}

interface Lint0Context {
  cpus: readonly Cpu[] | undefined;
  target: Cpu | undefined;
}

const LINT0_CHECKS: readonly Check<Lint0Context>[] = [
  ({ cpus }) =>
    cpus === undefined
      ? {
          state: "unknown",
          code: "lint0-unknown",
          text: "there are no local APICs in the snapshot, so that LINT0 is not known",
          evidence: "chips.lapic is missing",
          remedy: DUMP_EVERY_CHIP,
        }
      : undefined,
  ({ target }) => target && acceptedIntr(target),
  ({ cpus }) => {
    const first = cpus?.[0];
    return first && closedLint0(first);
  },
];

const UNREACHED: StageResult = {
  state: "blocked",
  code: "lint0-nobody",
  text: "there is no vCPU that INTR could go to",
  evidence: "chips.lapic is empty",
};

function acceptedIntr(cpu: Cpu): StageResult {
  return lint0(cpu) === "virtual-wire"
    ? {
        state: "open",
        code: "lint0-virtual-wire",
        text: `the local APIC of vCPU ${cpu.vcpu} is off: INTR goes straight to the vCPU`,
        evidence: `vcpus[${cpu.vcpu}].apic_base bit ${APIC_BASE_ENABLE_BIT} clear`,
      }
    : {
        state: "open",
        code: "lint0-open",
        text: `LINT0 of vCPU ${cpu.vcpu} lets INTR in`,
        evidence: `lapic[${cpu.vcpu}].lvt_lint0 = 0x${cpu.lapic.lvt_lint0.toString(16)} (ExtINT, bit ${LVT_MASK_BIT} clear)`,
      };
}

function closedLint0(cpu: Cpu): StageResult {
  const lvt = `lapic[${cpu.vcpu}].lvt_lint0 = 0x${cpu.lapic.lvt_lint0.toString(16)}`;
  const remedy = advice`the guest has to set LINT0 to ExtINT, unmasked (0x700), or ${changing("set", `lapic[${cpu.vcpu}].lvt_lint0=0x700`)}`;
  return lint0(cpu) === "masked"
    ? {
        state: "blocked",
        code: "lint0-masked",
        text: `LINT0 of vCPU ${cpu.vcpu} is masked (lvt_lint0 bit ${LVT_MASK_BIT})`,
        evidence: `${lvt} (bit ${LVT_MASK_BIT} set)`,
        remedy,
      }
    : {
        state: "blocked",
        code: "lint0-not-extint",
        text: `LINT0 of vCPU ${cpu.vcpu} is not in ExtINT mode (lvt_lint0 bits 8-10)`,
        evidence: `${lvt} (bits 8-10 are not 111)`,
        remedy,
      };
}
