/** Where a GSI goes: an input of one of the chips. A GSI may have several. */
export interface Route {
  gsi: number;
  chip: "pic1" | "pic2" | "ioapic";
  /** 0 to 7 for a PIC, 0 to 23 for the IOAPIC. */
  pin: number;
}

/** A routing table by name, or one of the caller's own. */
export type Routing = RoutingName | readonly Route[];
export type RoutingName = keyof typeof ROUTING_PROFILES;

const PIC_GSIS = 16;
const IOAPIC_GSIS = 24;

function routes(
  toPic: (gsi: number) => boolean,
  ioapicPin: (gsi: number) => number | undefined,
): readonly Route[] {
  const table: Route[] = [];
  for (let gsi = 0; gsi < IOAPIC_GSIS; gsi++) {
    if (gsi < PIC_GSIS && toPic(gsi)) table.push({ gsi, chip: gsi < 8 ? "pic1" : "pic2", pin: gsi % 8 });
    const pin = ioapicPin(gsi);
    if (pin !== undefined) table.push({ gsi, chip: "ioapic", pin });
  }
  return table;
}

/** Routing tables that are known by name. */
export const ROUTING_PROFILES = {
  default: {
    description: "KVM's default: GSI 0-15 to the PICs and IOAPIC pin n, 16-23 to the IOAPIC alone",
    routes: routes(
      () => true,
      (gsi) => gsi,
    ),
  },
  qemu: {
    description: "QEMU's for pc and q35: GSI 0 to IOAPIC pin 2, GSI 2 nowhere, the others as KVM's default",
    routes: routes(
      (gsi) => gsi !== 2,
      (gsi) => (gsi === 0 ? 2 : gsi === 2 ? undefined : gsi),
    ),
  },
} as const;

/** The table that a {@link Routing} stands for. */
export function routesOf(routing: Routing): readonly Route[] {
  return typeof routing === "string" ? ROUTING_PROFILES[routing].routes : routing;
}

/** How a message names a routing. */
export function routingName(routing: Routing): string {
  return typeof routing === "string" ? `the ${routing} routing` : "the given routing";
}
