import { hex } from "../../../abi/bits.ts";
import { type Check, DUMP_EVERY_CHIP, type StageResult } from "../../../rules/explanation.ts";
import type { RedirectionEntry } from "../ioapic/layout.ts";
import { BROADCAST, type Destination, type Message } from "../lapic/destination.ts";
import { type Cpu, softwareEnabled } from "../lapic/logic.ts";

/** What the checks of a message look at, whether an IOAPIC pin or an MSI route sends it. */
export interface MessageContext {
  /** What codes of its stages begin with. */
  from: "ioapic" | "msi";
  /** How sentences name what sends it. */
  sender: string;
  entry: Message;
  /** Where two of its fields stand, with their values. */
  evidence: { delivery_mode: string; dest_id: string };
  /** `undefined` when the snapshot has no local APICs. */
  cpus: Cpu[] | undefined;
  destination: Destination;
}

/** What keeps the other delivery modes from bringing an interrupt, seen on a running kernel. */
const NOT_DELIVERED: Partial<Record<RedirectionEntry["delivery_mode"], string>> = {
  "reserved-3":
    "KVM takes it for a remote read and counts it as delivered: it wakes a halted vCPU, and brings no interrupt",
  "reserved-6":
    "KVM takes it for a start-up IPI and counts it as delivered; only a vCPU that waits for one notices",
  extint: "KVM's PICs reach the CPU through LINT0 of a local APIC, not through the IOAPIC",
};

/** Whether a delivery mode puts a vector into the IRR. */
export function hasVector(mode: RedirectionEntry["delivery_mode"]): boolean {
  return mode === "fixed" || mode === "lowest-priority";
}

/** Whom the message is for: those that are off when all are. */
export function addressees({ destination: { cpus, off } }: Pick<MessageContext, "destination">): Cpu[] {
  return cpus.length > 0 ? cpus : off;
}

/** A message in words. */
export function messageOf(entry: Message): string {
  return hasVector(entry.delivery_mode) ? `vector ${hex(entry.vector)}` : entry.delivery_mode.toUpperCase();
}

/** A destination in words: "physical destination 0x02". */
export function destinationText(entry: Message): string {
  const broadcast = entry.dest_id === BROADCAST ? " (broadcast)" : "";
  return `${entry.dest_mode} destination ${hex(entry.dest_id)}${broadcast}`;
}

/** What keeps a message from whom it is meant for, once it is sent. */
export const MESSAGE_CHECKS: readonly Check<MessageContext>[] = [
  deliveryMode,
  noLocalApics,
  nobodyNamed,
  lowestPriorityLost,
];

function deliveryMode({ from, sender, entry, evidence }: MessageContext): StageResult | undefined {
  if (entry.delivery_mode === "smi") {
    return {
      state: "unknown",
      code: `${from}-smi`,
      text: `${sender} sends an SMI, which only a kernel with CONFIG_KVM_SMM delivers`,
      evidence: evidence.delivery_mode,
      remedy: "ask the kernel: KVM_CHECK_EXTENSION of KVM_CAP_X86_SMM",
    };
  }
  const why = NOT_DELIVERED[entry.delivery_mode];
  if (why === undefined) return undefined;
  return {
    state: "blocked",
    code: `${from}-delivery-mode`,
    text: `${sender} has delivery mode ${entry.delivery_mode}, which brings no interrupt under KVM`,
    evidence: `${evidence.delivery_mode}: ${why}`,
    remedy: "use fixed or lowest-priority",
  };
}

function noLocalApics({ from, cpus }: MessageContext) {
  if (cpus !== undefined) return undefined;
  return {
    state: "unknown" as const,
    code: `${from}-no-local-apics`,
    text: "there are no local APICs in the snapshot, so that its destination is not known",
    evidence: "chips.lapic is missing",
    remedy: DUMP_EVERY_CHIP,
  };
}

function nobodyNamed({ from, sender, entry, evidence, cpus, destination }: MessageContext) {
  if (destination.named.length + destination.off.length > 0) return undefined;
  const ids = (cpus ?? []).map((cpu) => (entry.dest_mode === "physical" ? physicalId(cpu) : logicalId(cpu)));
  const fixed = cpus?.some(({ mode }) => mode === "x2apic") === true;
  return {
    state: "blocked" as const,
    code: `${from}-no-destination`,
    text: `${destinationText(entry)} of ${sender} matches no local APIC`,
    evidence: `${evidence.dest_id}; ${ids.join(", ") || "chips.lapic is empty"}`,
    remedy:
      entry.dest_mode === "physical"
        ? "set dest_id to the id of a local APIC"
        : `${fixed ? "name a bit of their LDR, which x2APIC mode fixes" : "give the local APICs an LDR that the destination names"}, or use a physical destination`,
  };
}

function physicalId(cpu: Cpu): string {
  const { vcpu, mode, lapic } = cpu;
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

function lowestPriorityLost({ from, sender, entry, destination }: MessageContext) {
  if (destination.cpus.length > 0 || destination.named.length === 0) return undefined;
  return {
    state: "blocked" as const,
    code: `${from}-lowest-priority-lost`,
    text: `lowest priority of ${sender} falls on a bit of ${destinationText(entry)} that no enabled local APIC has`,
    evidence: `vector ${hex(entry.vector)} modulo the bits of dest_id ${hex(entry.dest_id)} names the bit`,
    remedy: "leave bits of absent local APICs out of dest_id, or use fixed delivery",
  };
}
