import type { Snapshot } from "../../vm/snapshot.ts";
import { DEFAULT_ROUTES, type PinRoute, pcRoutes, type Route } from "./routing.ts";

/** A routing table by name, or one of the caller's own. */
export type Routing = RoutingName | readonly Route[];
export type RoutingName = keyof typeof ROUTING_PROFILES;

/** Routing tables that are known by name. */
export const ROUTING_PROFILES = {
  default: {
    description: "KVM's default: GSI 0-15 to the PICs and IOAPIC pin n, 16-23 to the IOAPIC alone",
    routes: DEFAULT_ROUTES,
  },
  qemu: {
    description: "QEMU's and kvmtool's: GSI 0 to IOAPIC pin 2, GSI 2 nowhere, the others as KVM's default",
    routes: pcRoutes(
      (gsi) => gsi !== 2,
      (gsi) => (gsi === 0 ? 2 : gsi === 2 ? undefined : gsi),
    ),
  },
} as const;

/** The table that a {@link Routing} stands for. */
export function routesOf(routing: Routing): readonly Route[] {
  return typeof routing === "string" ? ROUTING_PROFILES[routing].routes : routing;
}

/**
 * The routings that a VM may have: the one that was given, else the snapshot's own. Where neither is there it is
 * not known, since no ioctl reads a routing back: KVM's default, or what a VMM has made of it, of which QEMU's is
 * the commonest. Nothing may rest on one of several.
 */
export function possibleRoutings(
  snapshot: Pick<Snapshot, "routing">,
  given: Routing | undefined,
): readonly [Routing, ...Routing[]] {
  const known = given ?? snapshot.routing;
  return known === undefined ? ["default", "qemu"] : [known];
}

/** What is said of a routing that is not known; nothing of one that is. */
export function routingAssumption(
  snapshot: Pick<Snapshot, "routing">,
  given: Routing | undefined,
): string | undefined {
  if (possibleRoutings(snapshot, given).length === 1) return undefined;
  return "KVM's default routing; KVM can't be asked what a VMM has made of it, and many send GSI 0 to IOAPIC pin 2 (name it with --routing)";
}

/** The pins that GSIs go to under each of several routings. */
export function commonPins([first, ...others]: readonly [Routing, ...Routing[]]): PinRoute[] {
  return others.reduce<PinRoute[]>((common, routing) => {
    const routes = new Set(routesOf(routing).map(routeName));
    return common.filter((route) => routes.has(routeName(route)));
  }, pinRoutesOf(first));
}

/** What tells one route from another. */
export function routeName(route: Route): string {
  return "chip" in route ? `${route.gsi} ${route.chip} ${route.pin}` : `${route.gsi} MSI`;
}

/** Where GSIs go, as far as that is pins. */
export function pinRoutesOf(routing: Routing): PinRoute[] {
  return routesOf(routing).filter((route) => "chip" in route);
}

/** How a message names a routing. */
export function routingName(routing: Routing): string {
  return typeof routing === "string" ? `the ${routing} routing` : "the VM's own routing";
}
