import { KvmIrqError } from "../../abi/error.ts";
import { SIZEOF } from "../../abi/ioctl.ts";
import { IRQCHIP_NUMBER } from "../../vm/chip.ts";
import { IOAPIC_NUM_PINS } from "./ioapic/layout.ts";
import { checkMsi, type MsiMessage } from "./msi.ts";

/** A GSI's way to an input of one of the chips. A GSI may have one for each chip. */
export interface PinRoute {
  gsi: number;
  chip: "pic1" | "pic2" | "ioapic";
  /** 0 to 7 for a PIC, 0 to 23 for the IOAPIC. */
  pin: number;
}

/** A GSI whose rise sends a message, as `KVM_IRQ_ROUTING_MSI` has it. It has no other way. */
export interface MsiRoute {
  gsi: number;
  msi: MsiMessage;
}

export type Route = PinRoute | MsiRoute;

/** Where a VM's GSIs go: as KVM_CREATE_IRQCHIP sets it up, or a table. */
export type Routing = "default" | readonly Route[];

/** `KVM_MAX_IRQ_ROUTES`: a table has no more entries, and its GSIs are below. */
export const MAX_ROUTES = 4096;
const PIC_PINS = 8;
const PIC_GSIS = 2 * PIC_PINS;
const PINS = { pic1: PIC_PINS, pic2: PIC_PINS, ioapic: IOAPIC_NUM_PINS } as const;

/**
 * A table such as PCs have: GSIs 0 to 15 to the PICs, 0 to 23 to the IOAPIC.
 *
 * @param toPic whether a GSI has its PIC input. @param ioapicPin a GSI's IOAPIC pin, if it has one.
 */
export function pcRoutes(
  toPic: (gsi: number) => boolean,
  ioapicPin: (gsi: number) => number | undefined,
): readonly PinRoute[] {
  const table: PinRoute[] = [];
  for (let gsi = 0; gsi < IOAPIC_NUM_PINS; gsi++) {
    if (gsi < PIC_GSIS && toPic(gsi)) table.push({ gsi, ...picInput(gsi) });
    const pin = ioapicPin(gsi);
    if (pin !== undefined) table.push({ gsi, chip: "ioapic", pin });
  }
  return table;
}

/** The PIC and its pin that have an input of 0 to 15. */
export function picInput(input: number): Pick<PinRoute, "chip" | "pin"> {
  return { chip: input < PIC_PINS ? "pic1" : "pic2", pin: input % PIC_PINS };
}

/** KVM's default: GSI 0-15 to the PICs and IOAPIC pin n, 16-23 to the IOAPIC alone. */
export const DEFAULT_ROUTES: readonly PinRoute[] = pcRoutes(
  () => true,
  (gsi) => gsi,
);

/** The table that a routing stands for. */
export function routesOf(routing: Routing): readonly Route[] {
  return routing === "default" ? DEFAULT_ROUTES : routing;
}

/**
 * Checks a table as KVM_SET_GSI_ROUTING does, which says EINVAL to any of these.
 *
 * @throws KvmIrqError `bad-route` for too many entries, a GSI or pin out of range, a GSI that goes twice to
 *   one chip, or to a chip and an MSI; `bad-msi`.
 */
export function checkRoutes(routes: readonly Route[]): void {
  if (routes.length > MAX_ROUTES) {
    throw badRoute(`${routes.length} routes are too many`, `a table has at most ${MAX_ROUTES}`);
  }
  const ways = new Map<number, Route[]>();
  for (const route of routes) {
    checkRoute(route);
    const others = ways.get(route.gsi) ?? [];
    refuseConflict(route, others);
    ways.set(route.gsi, [...others, route]);
  }
}

function checkRoute(route: Route): void {
  const { gsi } = route;
  if (!Number.isInteger(gsi) || gsi < 0 || gsi >= MAX_ROUTES) {
    throw badRoute(`GSI ${gsi} can't be routed`, `GSIs of a table are 0 to ${MAX_ROUTES - 1}`);
  }
  if ("msi" in route) {
    checkMsi(route.msi);
    return;
  }
  const pins = PINS[route.chip];
  if (Number.isInteger(route.pin) && route.pin >= 0 && route.pin < pins) return;
  throw badRoute(`${route.chip} has no pin ${route.pin}`, `its pins are 0 to ${pins - 1}`);
}

function refuseConflict(route: Route, others: readonly Route[]): void {
  if (others.length === 0) return;
  const { gsi } = route;
  if ("msi" in route || others.some((other) => "msi" in other)) {
    throw badRoute(`GSI ${gsi} has an MSI and another way`, "a GSI that sends an MSI goes nowhere else");
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
export function encodeRouting(routes: readonly Route[]): Uint8Array {
  const bytes = new Uint8Array(SIZEOF.kvm_irq_routing + routes.length * SIZEOF.kvm_irq_routing_entry);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, routes.length, true);
  routes.forEach((route, index) => {
    const entry = SIZEOF.kvm_irq_routing + index * SIZEOF.kvm_irq_routing_entry;
    view.setUint32(entry, route.gsi, true);
    view.setUint32(entry + 4, "msi" in route ? ROUTING_TYPE.msi : ROUTING_TYPE.irqchip, true);
    const union = entry + ENTRY_HEADER;
    if ("msi" in route) {
      view.setUint32(union, route.msi.address, true);
      view.setUint32(union + 8, route.msi.data, true);
    } else {
      view.setUint32(union, IRQCHIP_NUMBER[route.chip]!, true);
      view.setUint32(union + 4, route.pin, true);
    }
  });
  return bytes;
}
