import type { Snapshot } from "../abi/snapshot.ts";
import { DEFAULT_ROUTES, type PinRoute, pcRoutes, type Route } from "../abi/x86/routing.ts";

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
    description: "QEMU's for pc and q35: GSI 0 to IOAPIC pin 2, GSI 2 nowhere, the others as KVM's default",
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
 * The routing to go by: the one that was given, else the snapshot's own, else QEMU's for a VM of QEMU, else
 * KVM's default.
 */
export function routingOf(
  snapshot: Pick<Snapshot, "routing" | "source">,
  given: Routing | undefined,
): Routing {
  return given ?? snapshot.routing ?? guessOf(snapshot);
}

/** QEMU's program, as distributions call it: `qemu-system-x86_64`, `qemu-system-i386`, `qemu-kvm`. */
const QEMU = /^qemu-(system-|kvm$)/;

function guessOf({ source }: Pick<Snapshot, "source">): RoutingName {
  const { kind, command } = source;
  return kind === "process" && typeof command === "string" && QEMU.test(command) ? "qemu" : "default";
}

const GUESSES: Record<RoutingName, string> = {
  default: "KVM's default routing; KVM can't be asked what a VMM has made of it",
  qemu: "QEMU's routing, as its machine types pc and q35 set it, and no MSI routes; KVM can't be asked",
};

/** What {@link routingOf} takes for granted, in words; nothing when it was told. */
export function routingAssumption(
  snapshot: Pick<Snapshot, "routing" | "source">,
  given: Routing | undefined,
): string | undefined {
  return given === undefined && snapshot.routing === undefined ? GUESSES[guessOf(snapshot)] : undefined;
}

/** Where GSIs go, as far as that is pins. */
export function pinRoutesOf(routing: Routing): PinRoute[] {
  return routesOf(routing).filter((route) => "chip" in route);
}

/** How a message names a routing. */
export function routingName(routing: Routing): string {
  return typeof routing === "string" ? `the ${routing} routing` : "the VM's own routing";
}
