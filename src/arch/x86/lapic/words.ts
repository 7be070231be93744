import { advice, changing, looking } from "../../../abi/advice.ts";
import { hex, listed, shortened, vcpuNames } from "../../../abi/bits.ts";
import type { Vector } from "../../../abi/numbers.ts";
import { evidenceText, type WordsByCode } from "../../../text/words.ts";
import type { Arrival, Sent, Vm } from "../explain/context.ts";
import { addressees, BROADCAST, hasVector, type Message } from "./destination.ts";
import {
  APIC_BASE_ENABLE_BIT,
  type Cpu,
  LVT_MASK_BIT,
  processorPriority,
  serviceAhead,
  softwareEnabled,
  tprBlocks,
} from "./logic.ts";
import type { CpuOf, ServingCpu } from "./rules.ts";

/** For state that a snapshot lacks. */
export const DUMP_EVERY_CHIP = advice`dump every chip (${looking("dump", "--chip", "all")})`;

/** What keeps the other delivery modes from bringing an interrupt, seen on a running kernel. */
const NOT_DELIVERED: Partial<Record<Message["delivery_mode"], string>> = {
  "reserved-3":
    "KVM takes it for a remote read and counts it as delivered: it wakes a halted vCPU, and brings no interrupt",
  "reserved-6":
    "KVM takes it for a start-up IPI and counts it as delivered; only a vCPU that waits for one notices",
  extint: "KVM's PICs reach the CPU through LINT0 of a local APIC, not through the IOAPIC",
};

/** A message in words. */
export function messageOf(entry: Message): string {
  return hasVector(entry.delivery_mode) ? `vector ${hex(entry.vector)}` : entry.delivery_mode.toUpperCase();
}

/** A destination in words: "physical destination 0x02". */
export function destinationText(entry: Message): string {
  const broadcast = entry.dest_id === BROADCAST ? " (broadcast)" : "";
  return `${entry.dest_mode} destination ${hex(entry.dest_id)}${broadcast}`;
}

/** Where a message's delivery mode stands. */
function modeText({ msi, entry, at }: Sent): string {
  if (msi) return `data ${hex(msi.data)}: delivery mode ${entry.delivery_mode} (bits 8-10)`;
  return `${evidenceText([at.delivery_mode])} (${entryOf(at.delivery_mode.path)} bits 8-10)`;
}

function destText({ msi, entry, at }: Sent): string {
  if (msi) return `address ${hex(msi.address)}: destination ${hex(entry.dest_id)} (bits 12-19)`;
  return `${evidenceText([at.dest_id])} (${entryOf(at.dest_id.path)} bits 56-63)`;
}

/** `redirtbl[4]` of `ioapic.redirtbl[4].mask`. */
const entryOf = (path: string) => path.split(".")[1]!;

const SMI: WordsByCode<Sent>[string] = {
  text: ({ sender }) => `${sender} sends an SMI, which only a kernel with CONFIG_KVM_SMM delivers`,
  evidence: modeText,
  remedy: "ask the kernel: KVM_CHECK_EXTENSION of KVM_CAP_X86_SMM",
};
const DELIVERY_MODE: WordsByCode<Sent>[string] = {
  text: ({ sender, entry }) =>
    `${sender} has delivery mode ${entry.delivery_mode}, which brings no interrupt under KVM`,
  evidence: (sent) => `${modeText(sent)}: ${NOT_DELIVERED[sent.entry.delivery_mode]}`,
  remedy: "use fixed or lowest-priority",
};
const NO_LOCAL_APICS: WordsByCode<Sent>[string] = {
  text: "there are no local APICs in the snapshot, so that its destination is not known",
  remedy: DUMP_EVERY_CHIP,
};
const NO_DESTINATION: WordsByCode<Sent>[string] = {
  text: ({ sender, entry }) => `${destinationText(entry)} of ${sender} matches no local APIC`,
  evidence(sent) {
    const idOf = sent.entry.dest_mode === "physical" ? physicalId : logicalId;
    return `${destText(sent)}; ${(sent.cpus ?? []).map(idOf).join(", ") || "chips.lapic is empty"}`;
  },
  remedy({ entry, cpus = [] }) {
    if (entry.dest_mode === "physical") return "set dest_id to the id of a local APIC";
    const fixed = cpus.some(({ mode }) => mode === "x2apic");
    return `${fixed ? "name a bit of their LDR, which x2APIC mode fixes" : "give the local APICs an LDR that the destination names"}, or use a physical destination`;
  },
};
const LOWEST_PRIORITY_LOST: WordsByCode<Sent>[string] = {
  text: ({ sender, entry }) =>
    `lowest priority of ${sender} falls on a bit of ${destinationText(entry)} that no enabled local APIC has`,
  evidence: ({ entry }) =>
    `vector ${hex(entry.vector)} modulo the bits of dest_id ${hex(entry.dest_id)} names the bit`,
  remedy: "leave bits of absent local APICs out of dest_id, or use fixed delivery",
};

/** What is said of a message, whoever sends it. */
export const MESSAGE_WORDS: WordsByCode<Sent> = {
  "ioapic-smi": SMI,
  "msi-smi": SMI,
  "ioapic-delivery-mode": DELIVERY_MODE,
  "msi-delivery-mode": DELIVERY_MODE,
  "ioapic-no-local-apics": NO_LOCAL_APICS,
  "msi-no-local-apics": NO_LOCAL_APICS,
  "ioapic-no-destination": NO_DESTINATION,
  "msi-no-destination": NO_DESTINATION,
  "ioapic-lowest-priority-lost": LOWEST_PRIORITY_LOST,
  "msi-lowest-priority-lost": LOWEST_PRIORITY_LOST,
  "msi-open": {
    text: (sent) =>
      `${sent.sender} brings ${messageOf(sent.entry)} to ${vcpuNames(addressees(sent).map(({ vcpu }) => vcpu))}`,
    evidence: (sent) => `${destText(sent)}, ${destinationText(sent.entry)}`,
  },
};

function physicalId({ vcpu, mode, lapic }: Cpu): string {
  return mode === "x2apic"
    ? `x2APIC id of vCPU ${vcpu} = ${hex(vcpu)}`
    : `lapic[${vcpu}].id >> 24 = ${hex(lapic.id >>> 24)}`;
}

function logicalId(cpu: Cpu): string {
  const { vcpu, mode, lapic } = cpu;
  const off = softwareEnabled(cpu) ? "" : " (software-disabled)";
  return mode === "x2apic"
    ? `lapic[${vcpu}].ldr = 0x${lapic.ldr.toString(16).padStart(8, "0")} (x2APIC)${off}`
    : `lapic[${vcpu}].ldr >> 24 = ${hex(lapic.ldr >>> 24)}${off}`;
}

export const LAPIC_WORDS: WordsByCode<Arrival> = {
  "lapic-hardware-disabled": {
    text: ({ cpu }) => `the local APIC of vCPU ${cpu.vcpu} is off (apic_base bit ${APIC_BASE_ENABLE_BIT})`,
    remedy: "the guest has to set the global enable bit of IA32_APIC_BASE",
  },
  "lapic-software-disabled": {
    text: ({ cpu }) => `the local APIC of vCPU ${cpu.vcpu} is software-disabled (svr bit 8)`,
    remedy: ({ cpu: { vcpu, lapic } }) =>
      advice`the guest has to set bit 8 of the spurious-interrupt vector register, or ${changing("set", `lapic[${vcpu}].svr=0x${(lapic.svr | 0x100).toString(16)}`)}`,
  },
  "lapic-illegal-vector": {
    text: ({ cpu, vector }) =>
      `vector ${hex(vector!)} is below 16: it enters the IRR of vCPU ${cpu.vcpu} and is never taken from there`,
    evidence: ({ cpu, vector }) => `class 0 of vector ${hex(vector!)} is never above lapic[${cpu.vcpu}].ppr`,
    remedy: "use a vector from 0x20 on",
  },
  "lapic-in-service": {
    text: ({ cpu, vector }) => `vector ${hex(vector!)} is in service at vCPU ${cpu.vcpu}`,
    until: ({ cpu, vector }) => untilOutranking(cpu, vector!),
    remedy: "the guest's handler has to write the EOI register",
  },
  "lapic-behind-tpr": {
    text: priorityText,
    until: ({ cpu, vector }) => untilOutranking(cpu, vector!),
    remedy: "the guest has to lower the TPR (CR8)",
  },
  "lapic-behind-service": {
    text: priorityText,
    until: ({ cpu, vector }) => untilOutranking(cpu, vector!),
    remedy: ({ cpu }) =>
      `the guest's handler of vector ${hex(cpu.lapic.isr.at(-1)!)} has to write the EOI register`,
  },
  "lapic-pending": {
    text: ({ cpu, vector }) =>
      `vector ${hex(vector!)} is pending at vCPU ${cpu.vcpu} already: a second one merges with it`,
  },
  "lapic-open": {
    text: ({ cpu }) => `the local APIC of vCPU ${cpu.vcpu} accepts it`,
    evidence: ({ cpu, vector }, facts) =>
      vector === null
        ? `lapic[${cpu.vcpu}] passes it on to the vCPU`
        : `${evidenceText(facts)}, class ${vector >> 4} above ppr ${hex(processorPriority(cpu).ppr)}`,
  },
};

function priorityText({ cpu, vector }: Arrival): string {
  return `the priority of vCPU ${cpu.vcpu} (${hex(processorPriority(cpu).ppr)}) is not below vector ${hex(vector!)}'s class`;
}

/** "once vectors 0x80 and 0x50 in service get their EOI and vCPU 0 lowers its TPR below 0x30": all that holds. */
function untilOutranking(cpu: Cpu, vector: Vector): string {
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

const openLint0 = ({ cpus: [first] = [] }: Vm) =>
  advice`the guest has to set LINT0 to ExtINT, unmasked (0x700), or ${changing("set", `lapic[${first!.vcpu}].lvt_lint0=0x700`)}`;

export const LINT0_WORDS: WordsByCode<Vm> = {
  "lint0-unknown": {
    text: "there are no local APICs in the snapshot, so that LINT0 is not known",
    remedy: DUMP_EVERY_CHIP,
  },
  "lint0-virtual-wire": {
    text: ({ intr }) => `the local APIC of vCPU ${intr!.vcpu} is off: INTR goes straight to the vCPU`,
  },
  "lint0-open": {
    text: ({ intr }) => `LINT0 of vCPU ${intr!.vcpu} lets INTR in`,
    evidence: (_, facts) => evidenceText(facts).replace("(", "(ExtINT, "),
  },
  "lint0-masked": {
    text: ({ cpus }) => `LINT0 of vCPU ${cpus![0]!.vcpu} is masked (lvt_lint0 bit ${LVT_MASK_BIT})`,
    remedy: openLint0,
  },
  "lint0-not-extint": {
    text: ({ cpus }) => `LINT0 of vCPU ${cpus![0]!.vcpu} is not in ExtINT mode (lvt_lint0 bits 8-10)`,
    evidence: (_, facts) => `${evidenceText(facts)} (bits 8-10 are not 111)`,
    remedy: openLint0,
  },
  "lint0-nobody": { text: "there is no vCPU that INTR could go to", evidence: "chips.lapic is empty" },
};

export const CPU_FINDING_WORDS: WordsByCode<CpuOf> = {
  "apic-off-with-pending": {
    text: ({ cpu }) =>
      `the local APIC of vCPU ${cpu.vcpu} is ${cpu.mode === "disabled" ? "off" : "software-disabled"} and has vector ${listed(cpu.lapic.irr.map(hex))} pending`,
    evidence: ({ cpu }, facts) =>
      `lapic[${cpu.vcpu}].irr = [${cpu.lapic.irr.map(hex).join(", ")}], ${evidenceText(facts.slice(-1))}`,
    remedy: ({ cpu }) =>
      cpu.mode === "disabled"
        ? "turn the local APIC on again; whoever turned it off should have let it drain first"
        : "enable the local APIC; KVM still hands these to the vCPU, and accepts no further vector",
  },
  "halted-with-pending": {
    text: ({ cpu }) =>
      `vCPU ${cpu.vcpu} is halted with interrupts on while vector ${hex(cpu.lapic.irr.at(-1)!)} is pending, in two readings: nobody woke it`,
    evidence: ({ cpu }) =>
      `vcpus[${cpu.vcpu}].mp_state = halted, rflags bit 9 set, lapic[${cpu.vcpu}].irr has ${hex(cpu.lapic.irr.at(-1)!)}, ppr below it`,
    remedy:
      "the wake-up was lost: any further interrupt shows whether the vCPU ever comes back; a VM that nobody ran between the readings looks the same",
  },
};

export const CPU_SERVICE_WORDS: WordsByCode<ServingCpu> = {
  "in-service-too-long": {
    text: ({ vcpu, still }) =>
      `vector ${listed(still.map(hex))} is in service at vCPU ${vcpu} in two readings: its EOI is late (or it is in service again)`,
    evidence: ({ vcpu, still }) => `lapic[${vcpu}].isr has ${still.map(hex).join(", ")} before and now`,
    remedy: "the guest's handler has to write the EOI register; vectors of that class and below wait for it",
  },
};
