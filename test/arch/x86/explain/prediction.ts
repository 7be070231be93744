import { HOST_ARCH } from "../../../../src/arch/arches.ts";
import { explainGsi } from "../../../../src/arch/x86/explain/explain.ts";
import { acknowledge, afterRise, answersFor, type PicPair } from "../../../../src/arch/x86/pic/logic.ts";
import type { Chips, Snapshot } from "../../../../src/arch/x86/state.ts";
import type { Outcome, Way } from "../../../../src/rules/explanation.ts";
import type { ChipId } from "../../../../src/vm/chip.ts";
import { type Machine, readChips } from "../../../../src/vm/machine.ts";
import { makeSnapshot } from "../../../../src/vm/snapshot.ts";

/** A machine's chips and vCPUs, as a snapshot of a scratch VM. */
export function snapshotOf(machine: Machine): Snapshot {
  const ids: ChipId[] = ["pic1", "pic2", "ioapic"];
  for (let vcpu = 0; vcpu < machine.vcpus; vcpu++) ids.push(`lapic[${vcpu}]`);
  const source = { kind: "scratch" };
  const host = { kernel: "test", arch: HOST_ARCH.name };
  const snapshot = makeSnapshot(HOST_ARCH, readChips(machine, ids), source, host, new Date(0));
  return { ...snapshot, routing: machine.routing };
}

/** Writes chips in the order in which they restore: what the IOAPIC re-injects finds local APICs in place. */
export function writeState(machine: Machine, chips: Chips): void {
  for (const image of HOST_ARCH.encode(chips)) machine.writeChip(image);
}

/**
 * Pulses a GSI, which goes as KVM's default has it, to an IOAPIC pin or to an MSI, and compares what `explain` predicted with what came of it.
 *
 * The IOAPIC way shows in the IRRs and in the injection status. Of the PIC way, a vCPU that never runs
 * shows both chips' registers, and so (in the master's IR2) what the slave requests; which request the
 * master puts first shows only when a guest acknowledges.
 *
 * @param forgotten whether KVM has forgotten an edge of this GSI that it delivered: the IOAPIC then takes the
 *   level that is still up for an edge, which no state shows.
 * @returns what disagrees, each as a line; none when prediction and outcome agree.
 */
export function disagreements(machine: Machine, gsi: number, forgotten = false): string[] {
  const before = snapshotOf(machine);
  const explanation = explainGsi(before, gsi);
  const status = machine.setIrqLine(gsi, 1);
  const after = snapshotOf(machine);
  machine.setIrqLine(gsi, 0);
  const found: string[] = [];
  const pic = outcomeOf(explanation.ways, "pic");
  const { ways } = forgotten ? explainGsi(withLineLow(before, gsi), gsi) : explanation;
  const message = outcomeOf(ways, "ioapic") ?? outcomeOf(ways, "msi");
  if (pic !== undefined) found.push(...picDisagreements(before.chips, after.chips, gsi, pic));
  if (message !== undefined) found.push(...irrDisagreements(before.chips, after.chips, message));
  const expected = expectedStatus(pic && picStatus(before.chips, gsi), message);
  if (status !== null && !expected(status)) found.push(`status ${status} does not fit the prediction`);
  found.push(...explanation.ways.flatMap(inconsistencies));
  return found.map((line) => `GSI ${gsi}: ${line} (${explanation.sentence}) ${contextOf(before.chips, gsi)}`);
}

/** The same state, but that the PIC's input is low, which is all that tells of a delivered edge. */
function withLineLow(snapshot: Snapshot, gsi: number): Snapshot {
  const { chip, pin } = inputOf(gsi);
  const pic = snapshot.chips[chip]!;
  const low = { ...pic, last_irr: pic.last_irr & ~(1 << pin) };
  return { ...snapshot, chips: { ...snapshot.chips, [chip]: low } };
}

/** Where a way's verdict, which the sentence tells, does not follow from its outcome. */
function inconsistencies({ via, verdict, outcome, stages }: Way): string[] {
  const illegal = stages.some(({ code }) => code === "lapic-illegal-vector");
  if (verdict === "open" && !outcome.arrives) return [`the ${via} way is open and does not arrive`];
  if (outcome.arrives && !illegal && verdict !== "open" && verdict !== "held") {
    return [`the ${via} way arrives and is ${verdict}`];
  }
  return [];
}

/** What a failing prediction looked at, short enough to read. */
function contextOf({ pic1, pic2, ioapic, lapic }: Chips, gsi: number): string {
  const lapics = lapic?.map(({ id, svr, ldr, dfr, irr, isr }) => ({ id, svr, ldr, dfr, irr, isr }));
  return JSON.stringify({ entry: ioapic?.redirtbl[gsi], irr: ioapic?.irr, pic1, pic2, lapics });
}

function outcomeOf(ways: readonly Way[], via: Way["via"]): Outcome | undefined {
  return ways.find((way) => way.via === via)?.outcome;
}

function pairOf({ pic1, pic2 }: Chips): PicPair {
  return { pic1: pic1!, pic2: pic2! };
}

function inputOf(gsi: number): { chip: "pic1" | "pic2"; pin: number } {
  return { chip: gsi < 8 ? "pic1" : "pic2", pin: gsi & 7 };
}

function picDisagreements(before: Chips, after: Chips, gsi: number, outcome: Outcome): string[] {
  const { chip, pin } = inputOf(gsi);
  const risen = afterRise(pairOf(before), chip, pin);
  const found = (["pic1", "pic2"] as const).flatMap((id) =>
    (["irr", "last_irr"] as const)
      .filter((field) => risen[id][field] !== after[id]![field])
      .map((field) => `${id}.${field} is ${after[id]![field]}, predicted ${risen[id][field]}`),
  );
  const answer = acknowledge(pairOf(after));
  const answered = answersFor(answer, chip, pin) && outcome.vcpus.length > 0;
  if (answered !== outcome.arrives) found.push(`the PIC way arrives: ${answered}`);
  if (answered && answer?.vector !== outcome.vector) found.push(`the PIC way has vector ${answer?.vector}`);
  return found;
}

function irrDisagreements(before: Chips, after: Chips, outcome: Outcome): string[] {
  return (after.lapic ?? []).flatMap(({ vcpu, irr }, index) => {
    const predicted = new Set(before.lapic![index]!.irr);
    if (outcome.vector !== null && outcome.vcpus.includes(vcpu)) predicted.add(outcome.vector);
    const expected = [...predicted].sort((a, b) => a - b);
    return String(expected) === String(irr) ? [] : [`lapic[${vcpu}].irr is ${irr}, predicted ${expected}`];
  });
}

/** What the PIC adds to the injection status: -1 masked, 0 coalesced, 1 taken. */
function picStatus({ pic1, pic2 }: Chips, gsi: number): number {
  const { chip, pin } = inputOf(gsi);
  const pic = chip === "pic1" ? pic1! : pic2!;
  const bit = 1 << pin;
  if (pic.imr & bit) return -1;
  const edgeless = !(pic.elcr & bit) && pic.last_irr & bit;
  return edgeless || !(pic.irr & bit) ? 1 : 0;
}

const STATUS_ONLY = new Set<string | undefined>(["reserved-3", "reserved-6", "smi"]);

function expectedStatus(pic: number | undefined, message: Outcome | undefined): (status: number) => boolean {
  const fromPic = Math.max(pic ?? -1, 0);
  // KVM counts reserved modes as delivered though nothing comes of them, and SMIs if it has SMM built in.
  if (STATUS_ONLY.has(message?.delivery_mode)) return (status) => fromPic === 0 || status >= fromPic;
  if (message?.arrives) return (status) => status === fromPic + message.vcpus.length;
  return (status) => (fromPic > 0 ? status === fromPic : status <= 0);
}
