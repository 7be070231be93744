import { hasBit, hex } from "../../../abi/bits.ts";
import type { Gsi, Pin, Vector } from "../../../abi/numbers.ts";
import { type Evidence, is } from "../../../rules/evidence.ts";
import { type MsiRoute, type NamedRouting, possibleRoutings } from "../../../vm/routing.ts";
import type { ExplainOptions } from "../../arch.ts";
import type { IoapicState, RedirectionEntry } from "../ioapic/layout.ts";
import { type Destination, destinationOf, hasVector, type Message } from "../lapic/destination.ts";
import { type Cpu, cpusOf, intrTarget } from "../lapic/logic.ts";
import { fieldsOf } from "../msi.ts";
import type { PicState } from "../pic/layout.ts";
import { type Acknowledge, acknowledge, afterRise, type PicPair } from "../pic/logic.ts";
import { commonPins, type PinRoute, pinRoutesOf, ROUTING } from "../routing.ts";
import type { Snapshot } from "../state.ts";

/** A VM as the rules look at it. */
export interface Vm {
  snapshot: Snapshot;
  /** The reading before this one, of the same VM, where there is one. */
  previous: Snapshot | undefined;
  /** `undefined` when the snapshot has no local APICs. */
  cpus: readonly Cpu[] | undefined;
  /** `undefined` when the snapshot has not both. */
  pics: PicPair | undefined;
  /** The vCPU that the PIC's INTR goes to. */
  intr: Cpu | undefined;
  /** The routings that the VM may have. */
  routings: readonly [NamedRouting, ...NamedRouting[]];
  /** Whether a guest may run, and serve interrupts between two readings. */
  guest: boolean;
  /** Whether nobody runs the vCPUs just now, though there is a guest. */
  paused: boolean;
}

/** A PIC's input. */
export interface PicInput {
  vm: Vm;
  gsi: Gsi;
  chip: "pic1" | "pic2";
  pin: Pin;
  pic: PicState;
  pics: PicPair;
  /** Level-triggered, as ELCR says. */
  level: boolean;
  /** The input's level. */
  high: boolean;
  /** Both PICs once the line has risen. */
  risen: PicPair;
  /** What an acknowledge would answer then. */
  answer: Acknowledge | undefined;
}

/** A message to local APICs, whether an IOAPIC pin or an MSI route sends it. */
export interface Sent {
  /** How sentences name what sends it. */
  sender: string;
  entry: Message;
  /** What an MSI is made of. */
  msi?: MsiRoute["msi"];
  /** Where its vector, its delivery mode and its destination stand. */
  at: Record<"vector" | "delivery_mode" | "dest_id", Evidence>;
  /** `null` for delivery modes that have none. */
  vector: Vector | null;
  cpus: readonly Cpu[] | undefined;
  destination: Destination;
}

/** An IOAPIC pin. */
export interface IoapicPin extends Sent {
  vm: Vm;
  pin: Pin;
  gsi: Gsi | undefined;
  ioapic: IoapicState;
  entry: RedirectionEntry;
  /** Where decoded state has it. */
  path: string;
  /** The same line as a PIC sees it, where the GSI goes to one as well. */
  picInput: { path: string; pin: Pin; high: boolean } | undefined;
}

/** A local APIC or a vCPU that a vector (or an NMI, or INTR) arrives at. */
export interface Arrival {
  cpu: Cpu;
  vector: Vector | null;
  at?: Sent["at"];
  /** As redirection entries spell it; `extint` for the PIC way. */
  deliveryMode: RedirectionEntry["delivery_mode"];
  /** Whether a guest may run on this vCPU at all. */
  guest: boolean;
}

const SCRATCH_KINDS: readonly string[] = ["session", "scratch"];

/**
 * Whether a guest may run on a snapshot's vCPUs: not on those of a session or a scratch VM that has no guest
 * of ours.
 */
export function mayRun(snapshot: Snapshot, options: ExplainOptions): boolean {
  return options.guest ?? snapshot.guest?.running ?? !SCRATCH_KINDS.includes(snapshot.source.kind);
}

/** Whether a VM's vCPUs have a guest, and none of them is being run. */
export function isPaused(snapshot: Snapshot, options: ExplainOptions): boolean {
  const { vcpus = [] } = snapshot;
  return mayRun(snapshot, options) && vcpus.length > 0 && vcpus.every(({ run }) => run === false);
}

/** What the rules look at, of a snapshot. */
export function vmOf(snapshot: Snapshot, options: ExplainOptions, previous?: Snapshot): Vm {
  const { pic1, pic2 } = snapshot.chips;
  const cpus = cpusOf(snapshot);
  return {
    snapshot,
    previous,
    cpus,
    pics: pic1 && pic2 && { pic1, pic2 },
    intr: cpus && intrTarget(cpus),
    routings: possibleRoutings(ROUTING, snapshot, options.routing),
    guest: mayRun(snapshot, options),
    paused: isPaused(snapshot, options),
  };
}

/** @returns `undefined` when the snapshot has not both PICs. */
export function picInput(vm: Vm, { gsi, chip, pin }: PinRoute): PicInput | undefined {
  const { pics } = vm;
  if (pics === undefined || chip === "ioapic") return undefined;
  const pic = pics[chip];
  const risen = afterRise(pics, chip, pin);
  const [level, high] = [hasBit(pic.elcr, pin), hasBit(pic.last_irr, pin)];
  return { vm, gsi, chip, pin, pic, pics, level, high, risen, answer: acknowledge(risen) };
}

/**
 * @param line the GSI, and the PIC's input that it goes to as well.
 * @returns `undefined` when the snapshot has no IOAPIC, or it has no such pin.
 */
export function ioapicPin(
  vm: Vm,
  pin: Pin,
  line: { gsi?: Gsi; pic?: PinRoute | undefined } = {},
): IoapicPin | undefined {
  const { ioapic } = vm.snapshot.chips;
  const entry = ioapic?.redirtbl[pin];
  if (ioapic === undefined || entry === undefined) return undefined;
  const path = `ioapic.redirtbl[${pin}]`;
  const at = {
    vector: is(`${path}.vector`, entry.vector),
    delivery_mode: is(`${path}.delivery_mode`, entry.delivery_mode),
    dest_id: is(`${path}.dest_id`, hex(entry.dest_id)),
  };
  const sent = sentOf(vm, `IOAPIC pin ${pin}`, entry, at);
  return {
    ...sent,
    vm,
    pin,
    gsi: line.gsi,
    ioapic,
    entry,
    path,
    picInput: line.pic && levelAt(vm, line.pic),
  };
}

function levelAt({ snapshot: { chips } }: Vm, { chip, pin }: PinRoute): IoapicPin["picInput"] {
  const pic = chip === "ioapic" ? undefined : chips[chip];
  return pic && { path: `${chip}.last_irr`, pin, high: hasBit(pic.last_irr, pin) };
}

/** The message of an MSI route. */
export function sentMsi(vm: Vm, { gsi, msi }: MsiRoute): Sent {
  const address = is(`routing[${gsi}].msi.address`, hex(msi.address));
  const data = is(`routing[${gsi}].msi.data`, hex(msi.data));
  const at = { vector: data, delivery_mode: data, dest_id: address };
  return { ...sentOf(vm, `the MSI of GSI ${gsi}`, fieldsOf(msi), at), msi };
}

function sentOf({ cpus }: Vm, sender: string, entry: Message, at: Sent["at"]): Sent {
  const vector = hasVector(entry.delivery_mode) ? entry.vector : null;
  return { sender, entry, at, vector, cpus, destination: destinationOf(entry, cpus ?? []) };
}

/** What all of a VM's findings are looked for in. */
export interface Scene extends Vm {
  /** Where GSIs go, as far as that is pins: under every routing that the VM may have, and under any. */
  routes: readonly PinRoute[];
  possibleRoutes: readonly PinRoute[];
  /** Whether the routing is known. */
  routed: boolean;
  pins: readonly ScenePin[];
  cpus: readonly Cpu[];
  hasLapics: boolean;
}

/** A pin of a {@link Scene}. */
export type ScenePin = IoapicPin & { vm: Scene };

export function sceneOf(snapshot: Snapshot, options: ExplainOptions, previous?: Snapshot): Scene {
  const vm = vmOf(snapshot, options, previous);
  const pins: ScenePin[] = [];
  const scene: Scene = {
    ...vm,
    pins,
    routes: commonPins(vm.routings),
    possibleRoutes: vm.routings.flatMap(pinRoutesOf),
    routed: vm.routings.length === 1,
    cpus: vm.cpus ?? [],
    hasLapics: vm.cpus !== undefined,
  };
  for (const pin of snapshot.chips.ioapic?.redirtbl.keys() ?? []) {
    pins.push(Object.assign(ioapicPin(vm, pin)!, { vm: scene }));
  }
  return scene;
}
