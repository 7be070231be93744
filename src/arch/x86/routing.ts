import { KvmIrqError } from "../../abi/error.ts";
import type { Gsi, Pin } from "../../abi/numbers.ts";
import type {
  PinRoute as AnyPinRoute,
  Route as AnyRoute,
  NamedRouting,
  RoutingRules,
} from "../../vm/routing.ts";
import * as table from "../../vm/routing.ts";
import { IOAPIC_NUM_PINS } from "./ioapic/layout.ts";
import { checkMsi } from "./msi.ts";

const PIC_PINS = 8;
const PIC_GSIS = 2 * PIC_PINS;

/** KVM_IRQCHIP_PIC_MASTER, _PIC_SLAVE and _IOAPIC of `<asm/kvm.h>`, and the pins of those chips. */
export const INPUTS = {
  pic1: { pins: PIC_PINS, irqchip: 0 },
  pic2: { pins: PIC_PINS, irqchip: 1 },
  ioapic: { pins: IOAPIC_NUM_PINS, irqchip: 2 },
} as const;

/**
 * A table such as PCs have: GSIs 0 to 15 to the PICs, 0 to 23 to the IOAPIC.
 *
 * @param toPic whether a GSI has its PIC input. @param ioapicPin a GSI's IOAPIC pin, if it has one.
 */
function pcRoutes(
  toPic: (gsi: Gsi) => boolean,
  ioapicPin: (gsi: Gsi) => Pin | undefined,
): readonly PinRoute[] {
  const routes: PinRoute[] = [];
  for (let gsi: Gsi = 0; gsi < IOAPIC_NUM_PINS; gsi++) {
    if (gsi < PIC_GSIS && toPic(gsi)) routes.push({ gsi, ...picInput(gsi) });
    const pin = ioapicPin(gsi);
    if (pin !== undefined) routes.push({ gsi, chip: "ioapic", pin });
  }
  return routes;
}

/** The pin of the same number. */
const pinOf = (gsi: Gsi): Pin => Number(gsi);

/** The PIC and its pin that have an input of 0 to 15. */
function picInput(input: number): Omit<PinRoute, "gsi"> {
  return { chip: input < PIC_PINS ? "pic1" : "pic2", pin: input % PIC_PINS };
}

/** KVM's default: GSI 0-15 to the PICs and IOAPIC pin n, 16-23 to the IOAPIC alone. */
export const DEFAULT_ROUTES: readonly PinRoute[] = pcRoutes(
  () => true,
  (gsi) => pinOf(gsi),
);

const SYNTAX =
  "write default, 5=pic:5,ioapic:5, 30=msi:0xfee00000/0x41, or 2=none; pins are pic:0-15, pic1:0-7, pic2:0-7 and ioapic:0-23";

/** The inputs of a PC's chips, and its tables. */
export const ROUTING: RoutingRules = {
  tables: {
    default: {
      description: "KVM's default: GSI 0-15 to the PICs and IOAPIC pin n, 16-23 to the IOAPIC alone",
      routes: DEFAULT_ROUTES,
    },
    qemu: {
      description: "QEMU's and kvmtool's: GSI 0 to IOAPIC pin 2, GSI 2 nowhere, the others as KVM's default",
      routes: pcRoutes(
        (gsi) => gsi !== 2,
        (gsi) => (gsi === 0 ? 2 : gsi === 2 ? undefined : pinOf(gsi)),
      ),
    },
  },
  // QEMU's is the commonest of those that VMMs make.
  likely: ["default", "qemu"],
  assumption:
    "KVM's default routing; KVM can't be asked what a VMM has made of it, and many send GSI 0 to IOAPIC pin 2 (name it with --routing)",
  inputs: INPUTS,
  syntax: SYNTAX,
  parsePin(word) {
    const [, chip, digits] = /^(pic|pic1|pic2|ioapic):(\d{1,3})$/.exec(word) ?? [];
    if (chip === undefined) return undefined;
    const pin = Number(digits);
    if (chip !== "pic") return { chip, pin };
    if (pin < PIC_GSIS) return picInput(pin);
    throw new KvmIrqError("bad-route", `the PICs have no input ${pin}`, { hint: SYNTAX });
  },
  checkMsi,
};

/** A way to an input of a PC's chips. */
export type PinRoute = AnyPinRoute & { chip: keyof typeof INPUTS };
export type Route = PinRoute | Exclude<AnyRoute, AnyPinRoute>;

/** `routesOf` and its like with the tables and chips of a PC, whose routes have been checked. */
export const routesOf = (routing: NamedRouting) => table.routesOf(ROUTING, routing) as readonly Route[];
export const pinRoutesOf = (routing: NamedRouting) => table.pinRoutesOf(ROUTING, routing) as PinRoute[];
export const commonPins = (routings: readonly [NamedRouting, ...NamedRouting[]]) =>
  table.commonPins(ROUTING, routings) as PinRoute[];
export const checkRoutes = (routes: readonly AnyRoute[]): void => table.checkRoutes(ROUTING, routes);
