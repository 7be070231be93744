import { type Advice, advice, changing, reading } from "../abi/advice.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { Gsi } from "../abi/numbers.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import type { InjectionStatus, LineStep } from "./chip.ts";
import { type Controllers, type Irqchip, type Machine, setIrqLines } from "./machine.ts";
import { type MsiMessage, type Routing, routesOf } from "./routing.ts";

/** Where a VM's GSIs go, and what chips they can go to. */
export type Routed = Pick<Machine, "routing" | "irqchip">;

const SPLIT_HINT = advice`a split irqchip has local APICs alone: send an MSI (${changing("msi")}), or route the GSI to one (${changing("route", "set", "GSI=msi:ADDRESS/DATA")})`;

/** Sets of GSIs by the table that they were made from: tables are replaced, never changed. */
const known = new WeakMap<object, ReadonlySet<Gsi>>();

/**
 * Insists that a VM's routing takes GSIs somewhere.
 *
 * @throws KvmIrqError `bad-gsi` naming the first that goes nowhere.
 */
export function checkRouted({ irqchip, routing }: Routed, gsis: Iterable<Gsi>): void {
  const routed = gsisOf(routing);
  for (const gsi of gsis) {
    if (routed.has(gsi)) continue;
    throw new KvmIrqError("bad-gsi", `GSI ${gsi} is not routed`, {
      hint: irqchip === "split" ? SPLIT_HINT : hintOf(routing),
    });
  }
}

/**
 * The routing that a VM has once it was given one: a split irqchip's is empty by default.
 *
 * @throws KvmIrqError `bad-route` where a split irqchip lacks the chips that it goes to.
 */
export function routingOn(irqchip: Irqchip, routing: Routing): Routing {
  if (irqchip === "full") return routing;
  if (routing === "default") return [];
  const pin = routing.find((route) => "chip" in route);
  if (pin === undefined) return routing;
  throw new KvmIrqError("bad-route", `GSI ${pin.gsi} can't go to ${pin.chip}: a split irqchip has none`, {
    hint: "its GSIs can be routed to MSIs alone; nothing was changed",
  });
}

/**
 * Sets line levels in order.
 *
 * @throws KvmIrqError `bad-gsi` for a GSI that the routing, where it is known, takes nowhere; then no line is
 *   touched.
 */
export function setRoutedLines(
  machine: Controllers & Partial<Routed>,
  steps: readonly LineStep[],
): InjectionStatus[] {
  const { irqchip, routing } = machine;
  if (irqchip !== undefined && routing !== undefined) {
    const gsis = steps.map(({ gsi }) => gsi);
    checkRouted({ irqchip, routing }, gsis);
  }
  return setIrqLines(machine, steps);
}

/**
 * Sends messages in order.
 *
 * @throws KvmIrqError `bad-msi` for one that goes to no local APIC; then none is sent.
 */
export function signalMsis(
  machine: Pick<Machine, "signalMsi">,
  messages: readonly MsiMessage[],
): InjectionStatus[] {
  for (const message of messages) HOST_ARCH.msi.check(message);
  return messages.map((message) => machine.signalMsi(message));
}

function gsisOf(routing: Routing): ReadonlySet<Gsi> {
  const routes = routesOf(HOST_ARCH.routing, routing);
  let gsis = known.get(routes);
  if (gsis === undefined) {
    gsis = new Set(routes.map(({ gsi }) => gsi));
    known.set(routes, gsis);
  }
  return gsis;
}

function hintOf(routing: Routing): Advice {
  if (routing !== "default")
    return advice`${reading("route", "show")} lists the GSIs that this VM's routing has`;
  const { count, description } = HOST_ARCH.lines;
  return advice`GSIs are 0 to ${`${count - 1}`}: ${description}; ranges are written 10-12; ${changing("route", "set")} makes others`;
}
