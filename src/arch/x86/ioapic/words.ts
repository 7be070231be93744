import { advice, changing } from "../../../abi/advice.ts";
import { hasBit, hex, listed, vcpuNames } from "../../../abi/bits.ts";
import type { Vector } from "../../../abi/numbers.ts";
import type { Evidence } from "../../../rules/evidence.ts";
import { is } from "../../../rules/evidence.ts";
import { evidenceText, type WordsByCode } from "../../../text/words.ts";
import type { IoapicPin, ScenePin } from "../explain/context.ts";
import { addressees } from "../lapic/destination.ts";
import type { Cpu } from "../lapic/logic.ts";
import { destinationText, MESSAGE_WORDS, messageOf } from "../lapic/words.ts";
import { releaseFirst } from "../pic/words.ts";
import { eoisToCome, type NoEoi, noEoiComes } from "./remote-irr.ts";
import { gsisOf, rtcBusy, type SharedVector } from "./rules.ts";

export const IOAPIC_LINE_WORDS: WordsByCode<IoapicPin> = {
  "line-low": {
    text: ({ pin, entry }) =>
      `IOAPIC pin ${pin} is low${entry.trig_mode === "edge" ? ", or an edge of it was delivered" : ""}`,
  },
  "line-high": { text: ({ pin }) => `IOAPIC pin ${pin} is high, and level-triggered` },
  "line-edge-latched": { text: ({ pin }) => `IOAPIC pin ${pin} is high, and IRR has an edge of it` },
  "line-edge-consumed": {
    text: ({ pin }) =>
      `the line of IOAPIC pin ${pin} is high already and its edge was taken (unless KVM_SET_IRQCHIP set the IOAPIC since)`,
    remedy: ({ gsi }) => releaseFirst(gsi),
  },
};

/** Facts, the first with the bits that its field has in the entry. */
function inEntry(facts: readonly Evidence[], { pin }: IoapicPin, bits: string): string {
  const [first, ...others] = facts;
  const text = `${evidenceText([first!])} (redirtbl[${pin}] ${bits})`;
  return [text, ...(others.length === 0 ? [] : [evidenceText(others)])].join(", ");
}

/** For a level pin whose EOI does not come. */
const freeThePin = ({ pin }: IoapicPin) =>
  advice`switch the pin to edge and back to level, which clears remote IRR, or ${changing("set", `ioapic.redirtbl[${pin}].remote_irr=false`)}`;

export const IOAPIC_WORDS: WordsByCode<IoapicPin> = {
  "ioapic-masked": {
    text: ({ pin }) => `IOAPIC pin ${pin} is masked (redirtbl[${pin}] bit 16)`,
    evidence: (at, facts) => inEntry(facts, at, "bit 16"),
    remedy: ({ pin }) =>
      advice`unmask it in the guest, or ${changing("set", `ioapic.redirtbl[${pin}].mask=false`)}`,
  },
  "ioapic-remote-irr-stuck": {
    text: (at) => `${waiting(at)} (remote IRR), ${which(at)}`,
    evidence: (at, facts) => stuckEvidence(at, facts, inEntry(facts.slice(0, 1), at, "bit 14")),
    remedy: freeThePin,
  },
  "ioapic-waits-for-eoi": {
    text(at) {
      const { cpus, entry, ioapic, pin } = at;
      const where =
        cpus === undefined
          ? ", and the snapshot has no local APICs to look for it in"
          : `, which is ${listed(eoisToCome(entry.vector, cpus).map((cpu) => placeOf(cpu, entry.vector)))}`;
      const again = hasBit(ioapic.irr, pin) ? "; the line is still high, so it fires again then" : "";
      return `${waiting(at)} (remote IRR)${where}${again}`;
    },
    evidence: (at, facts) => inEntry(facts, at, "bit 14"),
    until: ({ entry }) => `once vector ${hex(entry.vector)} gets its EOI`,
    remedy: ({ entry }) => `the guest's handler of vector ${hex(entry.vector)} has to write the EOI register`,
  },
  "ioapic-edge-lost": {
    text: ({ pin }) =>
      `IOAPIC pin ${pin} has an edge in IRR already (its line was raised again without a fall, or while it was masked): no edge counts until it falls`,
    remedy: "release the line, then raise it again: the IRR bit follows it down",
  },
  "ioapic-rtc-coalesced": {
    text: (at) =>
      `KVM coalesces IOAPIC pin ${at.pin}, the RTC's, until vector ${hex(at.entry.vector)} gets its EOI at ${vcpuNames(rtcBusy(at).map(({ vcpu }) => vcpu))}`,
    evidence: (at) =>
      `vector ${hex(at.entry.vector)} in ${rtcBusy(at)
        .map(({ vcpu }) => `lapic[${vcpu}]`)
        .join(", ")}.irr or .isr`,
    until: ({ entry }) => `once vector ${hex(entry.vector)} gets its EOI`,
  },
  ...MESSAGE_WORDS,
  "ioapic-open": {
    text: (at) =>
      `IOAPIC pin ${at.pin} sends ${messageOf(at.entry)} to ${vcpuNames(addressees(at).map(({ vcpu }) => vcpu))}`,
    evidence: ({ path, entry }) => `${path}: mask = false, ${entry.trig_mode}, ${destinationText(entry)}`,
    // KVM takes `level` of KVM_IRQ_LINE for "asserted", whatever the polarity says.
    remedy: ({ path, entry }) =>
      entry.polarity === "high"
        ? undefined
        : `KVM does not look at ${path}.polarity: level 1 asserts the line`,
  },
};

const waiting = ({ pin, entry }: IoapicPin) =>
  `IOAPIC pin ${pin} waits for the EOI of vector ${hex(entry.vector)}`;

const stuckOf = ({ entry, cpus }: IoapicPin): NoEoi => noEoiComes(entry, cpus ?? [])!;

const HOW = { edge: "as an edge (TMR bit clear)", directed: "with directed EOI (svr bit 12)" };

/** Why no EOI comes, as a clause about the vector. */
function which(at: IoapicPin): string {
  const { why, unheard } = stuckOf(at);
  const { vector, delivery_mode } = at.entry;
  if (why === "mode") return `but sends with delivery mode ${delivery_mode}, which gets none`;
  if (why === "nowhere") return "which no local APIC has pending or in service";
  const places = unheard.map(({ cpu, eoi }) => `${placeOf(cpu, vector)} ${HOW[eoi]}`);
  return `which is ${listed(places)}: that EOI does not reach the IOAPIC`;
}

function placeOf({ vcpu, lapic }: Cpu, vector: Vector): string {
  return `${lapic.isr.includes(vector) ? "in service" : "pending"} at vCPU ${vcpu}`;
}

/** @param first what is said of remote IRR. */
function stuckEvidence(at: IoapicPin, facts: readonly Evidence[], first: string): string {
  const { why } = stuckOf(at);
  const { vector, delivery_mode } = at.entry;
  const mode = why === "mode" ? [`its delivery_mode = ${delivery_mode}`] : [];
  const rest =
    why === "unheard" ? evidenceText(facts.slice(1)) : `vector ${hex(vector)} in no lapic[n].irr or .isr`;
  return [first, ...mode, rest].join(", ");
}

export const PIN_FINDING_WORDS: WordsByCode<ScenePin> = {
  "remote-irr-stuck": {
    text: (at) => `${waiting(at)}, ${which(at)}`,
    evidence: (at, facts) => stuckEvidence(at, facts, evidenceText(facts.slice(0, 1))),
    remedy: freeThePin,
  },
  "shares-stuck-line": {
    text: (at) =>
      `GSIs ${listed(gsisOf(at).map(String))} share IOAPIC pin ${at.pin}, which is stuck: none of them gets through`,
    evidence: (at) =>
      `routing takes ${gsisOf(at)
        .map((gsi) => `GSI ${gsi}`)
        .join(", ")} to ${at.path}, whose remote_irr = true`,
    remedy: "free the pin (see remote-irr-stuck), or route the GSIs to pins of their own",
  },
  "asserted-but-masked": {
    text: ({ pin }) => `IOAPIC pin ${pin} is asserted and masked: its device waits`,
    evidence: (_, facts) => evidenceText(facts, { brief: true }),
    remedy: "unmask the pin; a level that is still up is delivered then",
  },
  "edge-lost": {
    text: ({ pin, entry }) =>
      entry.mask
        ? `IOAPIC pin ${pin} is masked and has an edge in IRR: KVM does not deliver it on unmasking`
        : `IOAPIC pin ${pin} has an edge in IRR that KVM does not deliver: its line was raised again without a fall, or while the pin was masked`,
    evidence: ({ path, entry }, facts) =>
      evidenceText([...facts, is(`${path}.mask`, entry.mask)], { brief: true }),
    remedy: ({ entry }) =>
      entry.mask
        ? "unmask the pin before its device is started, or make the device raise it again"
        : "none is needed where a VMM repeats a level that is up; else make the device lower its line and raise it again",
  },
  "illegal-vector": {
    text: ({ pin, entry }) =>
      `IOAPIC pin ${pin} is unmasked with vector ${hex(entry.vector)}: below 16 no CPU ever takes it`,
    remedy: "program the redirection entry, with a vector from 0x20 on, before unmasking it",
  },
  "exception-vector": {
    text: ({ pin, entry }) =>
      `IOAPIC pin ${pin} is unmasked with vector ${hex(entry.vector)}, which the CPU keeps for exceptions`,
    remedy: "use a vector from 0x20 on",
  },
  "no-destination": {
    text: ({ pin, entry, destination }) =>
      `${destinationText(entry)} of IOAPIC pin ${pin} ${destination.named.length > 0 ? "names local APICs, and lowest priority picks an absent one" : "matches no local APIC"}`,
    evidence: ({ entry }, facts) => `${evidenceText(facts)}, dest_mode = ${entry.dest_mode}`,
    remedy: "set a destination that a local APIC has as its id, or in its LDR",
  },
};

export const SHARED_WORDS: WordsByCode<SharedVector> = {
  "shared-vector": {
    text: ({ vector, pins, vcpus }) =>
      `IOAPIC pins ${listed(pins.map(({ pin }) => String(pin)))} all send vector ${hex(vector)} to ${vcpuNames(vcpus)}`,
    remedy: ({ pins }) => `give each pin a vector of its own; ${costOfSharing(pins)}`,
  },
};

/** What pins lose by sharing a vector, which depends on how they are triggered. */
function costOfSharing(pins: readonly ScenePin[]): string {
  const levels = pins.filter(({ entry }) => entry.trig_mode === "level").length;
  if (levels === 0) return "edges of pins that share one merge";
  return levels === pins.length
    ? "one EOI ends the remote IRR of all that share one"
    : "an edge that comes before the EOI of a level leaves the level's pin stuck";
}
