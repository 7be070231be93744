import { advice, changing } from "../../../abi/advice.ts";
import { hasBit, hex, listed, vcpuNames } from "../../../abi/bits.ts";
import {
  type Check,
  freeThePin,
  runChecks,
  type StageDraft,
  type StageResult,
} from "../../../rules/explanation.ts";
import type { IoapicContext } from "../explain/context.ts";
import { addressees, destinationText, MESSAGE_CHECKS, messageOf } from "../explain/message.ts";
import { matches } from "../lapic/destination.ts";
import { eoisToCome, noEoiComes } from "./remote-irr.ts";

/** The pin of the real-time clock, whose EOIs KVM keeps track of. */
const RTC_PIN = 8;

/** Stage 4: whether the IOAPIC would send its message once the pin has risen, and to whom. */
export function ioapicStage(context: IoapicContext): StageDraft {
  const { pin, entry } = context;
  return runChecks("ioapic", IOAPIC_CHECKS, context, {
    state: "open",
    code: "ioapic-open",
    text: `IOAPIC pin ${pin} sends ${messageOf(entry)} to ${vcpuNames(addressees(context).map(({ vcpu }) => vcpu))}`,
    evidence: `ioapic.redirtbl[${pin}]: mask = false, ${entry.trig_mode}, ${destinationText(entry)}`,
    ...polarityNote(context),
  });
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
  ...MESSAGE_CHECKS,
];

function masked({ pin, entry }: IoapicContext) {
  if (!entry.mask) return undefined;
  return {
    state: "blocked" as const,
    code: "ioapic-masked",
    text: `IOAPIC pin ${pin} is masked (redirtbl[${pin}] bit 16)`,
    evidence: `ioapic.redirtbl[${pin}].mask = true (redirtbl[${pin}] bit 16)`,
    remedy: advice`unmask it in the guest, or ${changing("set", `ioapic.redirtbl[${pin}].mask=false`)}`,
  };
}

function waitsForEoi(context: IoapicContext): StageResult | undefined {
  const { pin, entry, cpus } = context;
  if (entry.trig_mode !== "level" || !entry.remote_irr) return undefined;
  const evidence = `ioapic.redirtbl[${pin}].remote_irr = true (redirtbl[${pin}] bit 14)`;
  const wait = `IOAPIC pin ${pin} waits for the EOI of vector ${hex(entry.vector)} (remote IRR)`;
  const stuck = cpus && noEoiComes(entry, cpus);
  if (stuck !== undefined) {
    return {
      state: "blocked",
      code: "ioapic-remote-irr-stuck",
      text: `${wait}, ${stuck.which}`,
      evidence: `${evidence}, ${stuck.evidence}`,
      remedy: freeThePin(pin),
    };
  }
  const where =
    cpus === undefined
      ? ", and the snapshot has no local APICs to look for it in"
      : `, which is ${listed(eoisToCome(entry.vector, cpus))}`;
  return {
    state: "in service",
    code: "ioapic-waits-for-eoi",
    text: `${wait}${where}${againText(context)}`,
    evidence,
    until: `once vector ${hex(entry.vector)} gets its EOI`,
    remedy: `the guest's handler of vector ${hex(entry.vector)} has to write the EOI register`,
  };
}

function againText({ ioapic, pin }: IoapicContext): string {
  return hasBit(ioapic.irr, pin) ? "; the line is still high, so it fires again then" : "";
}

/** A masked pin is told of before, so that this one is open, and the bit has two histories. */
function edgeLost({ ioapic, pin, entry }: IoapicContext) {
  if (entry.trig_mode !== "edge" || !hasBit(ioapic.irr, pin)) return undefined;
  return {
    state: "blocked" as const,
    code: "ioapic-edge-lost",
    text: `IOAPIC pin ${pin} has an edge in IRR already (its line was raised again without a fall, or while it was masked): no edge counts until it falls`,
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
