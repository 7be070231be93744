import { KvmIrqError } from "../abi/error.ts";
import { SIZEOF } from "../abi/ioctl.ts";
import type { Gsi, Pin } from "../abi/numbers.ts";

/** Where GSIs go, as `struct kvm_irq_routing` has it on every architecture. */

/**
 * A message-signalled interrupt as a device writes it and `struct kvm_msi` has it: the low 32 bits of the
 * address, and the data.
 */
export interface MsiMessage {
  address: number;
  data: number;
  /** The high 32 bits of the address; absent where they are 0. Only routes that were read have any. */
  address_hi?: number;
}

/** A GSI's way to an input of one of the chips. A GSI may have one for each chip. */
export interface PinRoute {
  gsi: Gsi;
  /** The chip's name in a snapshot: `pic1`, `ioapic`. */
  chip: string;
  /** An input of that chip, counted from 0. */
  pin: Pin;
}

/** A GSI whose rise sends a message, as `KVM_IRQ_ROUTING_MSI` has it. It has no other way. */
export interface MsiRoute {
  gsi: Gsi;
  msi: MsiMessage;
}

/** `KVM_IRQ_ROUTING_HV_SINT`: a rise is a message of Hyper-V's synthetic interrupt controller. Read, never set. */
export interface SintRoute {
  gsi: Gsi;
  hv_sint: { vcpu: number; sint: number };
}

/** `KVM_IRQ_ROUTING_XEN_EVTCHN`: a rise is an event of a Xen guest. Read, never set. */
export interface XenRoute {
  gsi: Gsi;
  xen_evtchn: { vcpu: number; port: number; priority: number };
}

export type Route = PinRoute | MsiRoute | SintRoute | XenRoute;

/** Where a VM's GSIs go: as KVM_CREATE_IRQCHIP sets it up, or a table. */
export type Routing = "default" | readonly Route[];

/** `KVM_MAX_IRQ_ROUTES`: a table has no more entries, and its GSIs are below. */
export const MAX_ROUTES = 4096;

/** What an architecture knows of the inputs that a GSI can go to, and of the tables that VMMs make. */
export interface RoutingRules {
  /** Tables by name; `default` is the one that KVM_CREATE_IRQCHIP makes. */
  readonly tables: Readonly<Record<string, { description: string; routes: readonly PinRoute[] }>>;
  /** The tables that a VM may have whose routing is not known. */
  readonly likely: readonly [string, ...string[]];
  /** What is said of a routing that is not known. */
  readonly assumption: string;
  /** How many inputs a chip has, and its number in `struct kvm_irq_routing_irqchip`, by its name. */
  readonly inputs: Readonly<Record<string, { pins: number; irqchip: number }>>;
  /**
   * The input that a word such as `pic:5` or `ioapic:4` names; nothing for a word of another form.
   *
   * @throws KvmIrqError `bad-route` for a number that there can't be.
   */
  parsePin(word: string): Pick<PinRoute, "chip" | "pin"> | undefined;
  /** What can be written for a route, as a hint says it. */
  readonly syntax: string;
  /** @throws KvmIrqError `bad-msi` for a message that goes to no interrupt controller. */
  checkMsi(message: MsiMessage): void;
}

/** A routing table by name, or one of the caller's own. */
export type RoutingName = string;
export type NamedRouting = RoutingName | readonly Route[];

/** The table that a routing stands for. */
export function routesOf({ tables }: RoutingRules, routing: NamedRouting): readonly Route[] {
  return typeof routing === "string" ? (tables[routing]?.routes ?? []) : routing;
}

/** What tells a routing: one that was set, or the table as it was read. */
interface WithRouting {
  routing?: Routing | undefined;
  routes?: { value: readonly Route[] } | undefined;
}

/** The routing of a snapshot, as far as that tells it. */
export function knownRouting({ routing, routes }: WithRouting): Routing | undefined {
  return routing ?? routes?.value;
}

/**
 * The routings that a VM may have: the one that was given, else the snapshot's own. Where neither is there it is
 * not known, since no ioctl reads a routing back: KVM's default, or what a VMM has made of it. Nothing may rest on
 * one of several.
 */
export function possibleRoutings(
  { likely }: RoutingRules,
  snapshot: WithRouting,
  given: NamedRouting | undefined,
): readonly [NamedRouting, ...NamedRouting[]] {
  const known = given ?? knownRouting(snapshot);
  return known === undefined ? likely : [known];
}

/** What is said of a routing that is not known; nothing of one that is. */
export function routingAssumption(
  rules: RoutingRules,
  snapshot: WithRouting,
  given: NamedRouting | undefined,
): string | undefined {
  return possibleRoutings(rules, snapshot, given).length === 1 ? undefined : rules.assumption;
}

/** The pins that GSIs go to under each of several routings. */
export function commonPins(
  rules: RoutingRules,
  [first, ...others]: readonly [NamedRouting, ...NamedRouting[]],
): PinRoute[] {
  return others.reduce<PinRoute[]>(
    (common, routing) => {
      const routes = new Set(routesOf(rules, routing).map(routeName));
      return common.filter((route) => routes.has(routeName(route)));
    },
    pinRoutesOf(rules, first),
  );
}

/** What tells one route from another. */
export function routeName(route: Route): string {
  if ("chip" in route) return `${route.gsi} ${route.chip} ${route.pin}`;
  return `${route.gsi} ${"msi" in route ? "MSI" : "hv_sint" in route ? "SINT" : "event channel"}`;
}

/** Where GSIs go, as far as that is pins. */
export function pinRoutesOf(rules: RoutingRules, routing: NamedRouting): PinRoute[] {
  return routesOf(rules, routing).filter((route) => "chip" in route);
}

/** How a message names a routing. */
export function routingName(routing: NamedRouting): string {
  return typeof routing === "string" ? `the ${routing} routing` : "the VM's own routing";
}

/**
 * Checks a table as KVM_SET_GSI_ROUTING does, which says EINVAL to any of these.
 *
 * @throws KvmIrqError `bad-route` for too many entries, a GSI or pin out of range, a GSI that goes twice to
 *   one chip, or to a chip and an MSI; `bad-msi`.
 */
export function checkRoutes(rules: RoutingRules, routes: readonly Route[]): void {
  if (routes.length > MAX_ROUTES) {
    throw badRoute(`${routes.length} routes are too many`, `a table has at most ${MAX_ROUTES}`);
  }
  const ways = new Map<Gsi, Route[]>();
  for (const route of routes) {
    checkRoute(rules, route);
    const others = ways.get(route.gsi) ?? [];
    refuseConflict(route, others);
    ways.set(route.gsi, [...others, route]);
  }
}

function checkRoute(rules: RoutingRules, route: Route): void {
  const { gsi } = route;
  if (!Number.isInteger(gsi) || gsi < 0 || gsi >= MAX_ROUTES) {
    throw badRoute(`GSI ${gsi} can't be routed`, `GSIs of a table are 0 to ${MAX_ROUTES - 1}`);
  }
  if ("msi" in route) {
    rules.checkMsi(route.msi);
    return;
  }
  if (!("chip" in route)) throw unsettable(route);
  const pins = rules.inputs[route.chip]?.pins ?? 0;
  if (Number.isInteger(route.pin) && route.pin >= 0 && route.pin < pins) return;
  throw badRoute(`${route.chip} has no pin ${route.pin}`, `its pins are 0 to ${pins - 1}`);
}

function refuseConflict(route: Route, others: readonly Route[]): void {
  if (others.length === 0) return;
  const { gsi } = route;
  if (!("chip" in route) || others.some((other) => "msi" in other)) {
    throw badRoute(
      `GSI ${gsi} has an MSI and another way`,
      "a GSI that sends an MSI can have no other route",
    );
  }
  if (others.some((other) => "chip" in other && other.chip === route.chip)) {
    throw badRoute(`GSI ${gsi} goes to ${route.chip} twice`, "a GSI has at most one pin of each chip");
  }
}

function badRoute(message: string, hint: string): KvmIrqError {
  return new KvmIrqError("bad-route", message, { hint: `${hint}; nothing was changed` });
}

/** `KVM_IRQ_ROUTING_IRQCHIP` and `_MSI` of `<linux/kvm.h>`. */
const ROUTING_TYPE = { irqchip: 1, msi: 2 } as const;
/** Bytes of a `struct kvm_irq_routing_entry` before its union. */
const ENTRY_HEADER = 16;

/** Encodes a `struct kvm_irq_routing` with its entries of 48 bytes. */
export function encodeRouting(rules: RoutingRules, routes: readonly Route[]): Uint8Array {
  const bytes = new Uint8Array(SIZEOF.kvm_irq_routing + routes.length * SIZEOF.kvm_irq_routing_entry);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, routes.length, true);
  routes.forEach((route, index) => {
    const entry = SIZEOF.kvm_irq_routing + index * SIZEOF.kvm_irq_routing_entry;
    const [type, union] = unionOf(rules, route);
    view.setUint32(entry, route.gsi, true);
    view.setUint32(entry + 4, type, true);
    for (const [n, word] of union.entries()) view.setUint32(entry + ENTRY_HEADER + 4 * n, word, true);
  });
  return bytes;
}

/** An entry's type, and the words of its union. */
function unionOf({ inputs }: RoutingRules, route: Route): [type: number, union: number[]] {
  if ("chip" in route) return [ROUTING_TYPE.irqchip, [inputs[route.chip]!.irqchip, route.pin]];
  if ("msi" in route) {
    const { address, address_hi = 0, data } = route.msi;
    return [ROUTING_TYPE.msi, [address, address_hi, data]];
  }
  throw unsettable(route);
}

function unsettable({ gsi }: Route): KvmIrqError {
  return badRoute(`the route of GSI ${gsi} can't be set`, "routes that are set go to pins and MSIs");
}
