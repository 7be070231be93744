import type { RedirectionEntry } from "../abi/x86/ioapic.ts";
import { type Cpu, softwareEnabled } from "./apic-logic.ts";
import { hasBit, hex, listed, vcpuNames } from "./bits.ts";
import { BROADCAST, matches } from "./destination.ts";
import type { IoapicContext } from "./explain-context.ts";
import { type Check, runChecks, type Stage, type StageResult } from "./explanation.ts";

/** The pin of the real-time clock, whose EOIs KVM keeps track of. */
const RTC_PIN = 8;

/** What keeps the other delivery modes from bringing an interrupt, seen on a running kernel. */
const NOT_DELIVERED: Partial<Record<RedirectionEntry["delivery_mode"], string>> = {
  "reserved-3": "KVM takes it for a remote read, counts it as delivered, and nothing comes of it",
  "reserved-6":
    "KVM takes it for a start-up IPI and counts it as delivered; only a vCPU that waits for one notices",
  extint: "KVM's PICs reach the CPU through LINT0 of a local APIC, not through the IOAPIC",
};

/** Whether a delivery mode puts a vector into the IRR. */
export function hasVector(mode: RedirectionEntry["delivery_mode"]): boolean {
  return mode === "fixed" || mode === "lowest-priority";
}

/** Stage 4: whether the IOAPIC would send its message once the pin has risen, and to whom. */
export function ioapicStage(context: IoapicContext): Stage {
  const { pin, entry } = context;
  return runChecks("ioapic", IOAPIC_CHECKS, context, {
    state: "open",
    code: "ioapic-open",
    text: `IOAPIC pin ${pin} sends ${messageOf(entry)} to ${vcpuNames(addressees(context).map(({ vcpu }) => vcpu))}`,
    evidence: `ioapic.redirtbl[${pin}]: mask = false, ${entry.trig_mode}, ${destinationText(entry)}`,
    ...polarityNote(context),
  });
}

/** Whom the message is for: those that are off when all are. */
export function addressees({ destination: { cpus, off } }: Pick<IoapicContext, "destination">): Cpu[] {
  return cpus.length > 0 ? cpus : off;
}

function messageOf(entry: RedirectionEntry): string {
  return hasVector(entry.delivery_mode) ? `vector ${hex(entry.vector)}` : entry.delivery_mode.toUpperCase();
}

/** A destination in words: "physical destination 0x02". */
export function destinationText(entry: RedirectionEntry): string {
  const broadcast = entry.dest_id === BROADCAST ? " (broadcast)" : "";
  return `${entry.dest_mode} destination ${hex(entry.dest_id)}${broadcast}`;
}

/** KVM takes `level` of KVM_IRQ_LINE for "asserted", whatever the polarity says. */
function polarityNote({ pin, entry }: IoapicContext): Partial<StageResult> {
  if (entry.polarity === "high") return {};
  return { remedy: `KVM does not look at ioapic.redirtbl[${pin}].polarity: level 1 asserts the line` };
}

const IOAPIC_CHECKS: readonly Check<IoapicContext>[] = [
  masked,
  waitsForEoi,
  edgeLost,
  rtcCoalesced,
  deliveryMode,
  noLocalApics,
  nobodyNamed,
  lowestPriorityLost,
];

function masked({ pin, entry }: IoapicContext) {
  if (!entry.mask) return undefined;
  return {
    state: "blocked" as const,
    code: "ioapic-masked",
    text: `IOAPIC pin ${pin} is masked (redirtbl[${pin}] bit 16)`,
    evidence: `ioapic.redirtbl[${pin}].mask = true (redirtbl[${pin}] bit 16)`,
    remedy: `unmask it in the guest, or \`kvm-irq set ioapic.redirtbl[${pin}].mask=false\``,
  };
}

function waitsForEoi(context: IoapicContext): StageResult | undefined {
  const { pin, entry } = context;
  if (entry.trig_mode !== "level" || !entry.remote_irr) return undefined;
  const evidence = `ioapic.redirtbl[${pin}].remote_irr = true (redirtbl[${pin}] bit 14)`;
  const wait = `IOAPIC pin ${pin} waits for the EOI of vector ${hex(entry.vector)} (remote IRR)`;
  const servers = serversOf(context);
  if (servers === undefined || servers.length > 0) {
    const where =
      servers === undefined
        ? ", and the snapshot has no local APICs to look for it in"
        : `, which is ${listed(servers)}`;
    return {
      state: "in service",
      code: "ioapic-waits-for-eoi",
      text: `${wait}${where}${againText(context)}`,
      evidence,
      until: `once vector ${hex(entry.vector)} gets its EOI`,
      remedy: `the guest's handler of vector ${hex(entry.vector)} has to write the EOI register`,
    };
  }
  return {
    state: "blocked",
    code: "ioapic-remote-irr-stuck",
    text: `${wait}, which no local APIC has pending or in service`,
    evidence: `${evidence}, vector ${hex(entry.vector)} in no lapic[n].irr or .isr`,
    remedy: `switch the pin to edge and back to level, which clears remote IRR, or \`kvm-irq set ioapic.redirtbl[${pin}].remote_irr=false\``,
  };
}

/** Where a vector is, as "in service at vCPU 0" and "pending at vCPU 1"; `undefined` without local APICs. */
function serversOf({ cpus, entry }: IoapicContext): string[] | undefined {
  return cpus?.flatMap(({ vcpu, lapic }) => {
    if (lapic.isr.includes(entry.vector)) return [`in service at vCPU ${vcpu}`];
    return lapic.irr.includes(entry.vector) ? [`pending at vCPU ${vcpu}`] : [];
  });
}

function againText({ ioapic, pin }: IoapicContext): string {
  return hasBit(ioapic.irr, pin) ? "; the line is still high, so it fires again then" : "";
}

function edgeLost({ ioapic, pin, entry }: IoapicContext) {
  if (entry.trig_mode !== "edge" || !hasBit(ioapic.irr, pin)) return undefined;
  return {
    state: "blocked" as const,
    code: "ioapic-edge-lost",
    text: `IOAPIC pin ${pin} has an edge in IRR already, which came while it was masked: the next is lost`,
    evidence: `ioapic.irr bit ${pin} set, ioapic.redirtbl[${pin}].trig_mode = edge`,
    remedy: "release the line, then raise it again: the IRR bit follows it down",
  };
}

/** KVM counts an RTC interrupt that has no EOI yet as one with the next. */
function rtcCoalesced({ pin, entry, cpus }: IoapicContext) {
  if (pin !== RTC_PIN || cpus === undefined) return undefined;
  const busy = cpus.filter(
    (cpu) =>
      matches(entry, cpu) && (cpu.lapic.irr.includes(entry.vector) || cpu.lapic.isr.includes(entry.vector)),
  );
  if (busy.length === 0) return undefined;
  const names = vcpuNames(busy.map(({ vcpu }) => vcpu));
  return {
    state: "in service" as const,
    code: "ioapic-rtc-coalesced",
    text: `KVM coalesces IOAPIC pin ${RTC_PIN}, the RTC's, until vector ${hex(entry.vector)} gets its EOI at ${names}`,
    evidence: `vector ${hex(entry.vector)} in ${busy.map(({ vcpu }) => `lapic[${vcpu}]`).join(", ")}.irr or .isr`,
    until: `once vector ${hex(entry.vector)} gets its EOI`,
  };
}

function deliveryMode({ pin, entry }: IoapicContext): StageResult | undefined {
  const evidence = `ioapic.redirtbl[${pin}].delivery_mode = ${entry.delivery_mode} (redirtbl[${pin}] bits 8-10)`;
  if (entry.delivery_mode === "smi") {
    return {
      state: "unknown",
      code: "ioapic-smi",
      text: `IOAPIC pin ${pin} sends an SMI, which only a kernel with CONFIG_KVM_SMM delivers`,
      evidence,
      remedy: "ask the kernel: KVM_CHECK_EXTENSION of KVM_CAP_X86_SMM",
    };
  }
  const why = NOT_DELIVERED[entry.delivery_mode];
  if (why === undefined) return undefined;
  return {
    state: "blocked",
    code: "ioapic-delivery-mode",
    text: `IOAPIC pin ${pin} has delivery mode ${entry.delivery_mode}, which brings no interrupt under KVM`,
    evidence: `${evidence}: ${why}`,
    remedy: "use fixed or lowest-priority",
  };
}

function noLocalApics({ cpus }: IoapicContext) {
  if (cpus !== undefined) return undefined;
  return {
    state: "unknown" as const,
    code: "ioapic-no-local-apics",
    text: "there are no local APICs in the snapshot, so that its destination is not known",
    evidence: "chips.lapic is missing",
    remedy: "dump every chip (`kvm-irq dump --chip all`); a VM without vCPUs has no local APIC",
  };
}

function nobodyNamed({ pin, entry, cpus, destination }: IoapicContext) {
  if (destination.named.length + destination.off.length > 0) return undefined;
  const ids = (cpus ?? []).map((cpu) =>
    entry.dest_mode === "physical"
      ? `lapic[${cpu.vcpu}].id = ${hex(cpu.lapic.id >>> 24)}`
      : `lapic[${cpu.vcpu}].ldr = ${hex(cpu.lapic.ldr >>> 24)}${softwareEnabled(cpu) ? "" : " (software-disabled)"}`,
  );
  return {
    state: "blocked" as const,
    code: "ioapic-no-destination",
    text: `${destinationText(entry)} of IOAPIC pin ${pin} matches no local APIC`,
    evidence: `ioapic.redirtbl[${pin}].dest_id = ${hex(entry.dest_id)} (redirtbl[${pin}] bits 56-63); ${ids.join(", ")}`,
    remedy:
      entry.dest_mode === "physical"
        ? "set dest_id to the id of a local APIC"
        : "give the local APICs an LDR that the destination names, or use a physical destination",
  };
}

function lowestPriorityLost({ pin, entry, destination }: IoapicContext) {
  if (destination.cpus.length > 0 || destination.named.length === 0) return undefined;
  return {
    state: "blocked" as const,
    code: "ioapic-lowest-priority-lost",
    text: `lowest priority of IOAPIC pin ${pin} falls on a bit of ${destinationText(entry)} that no enabled local APIC has`,
    evidence: `vector ${hex(entry.vector)} modulo the bits of dest_id ${hex(entry.dest_id)} names the bit`,
    remedy: "leave bits of absent local APICs out of dest_id, or use fixed delivery",
  };
}
