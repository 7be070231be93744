import { Argument } from "commander";
import { advice, changing } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";

import { archNamed, HOST_ARCH } from "../../arch/arches.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import type { SourceInfo } from "../../vm/reading.ts";
import { routingOn } from "../../vm/routed.ts";
import { checkRoutes, type Route, type Routing, routesOf } from "../../vm/routing.ts";

type Action = "show" | "set" | "reset";

/** `route show|set|reset`: where a VM's GSIs go. */
export const route: CommandSpec = {
  scriptable: true,
  writes: (action: Action) => action !== "show",
  summary: "show, set or reset the GSI routing",
  description:
    "A VM's routing takes GSIs to pins of the chips or makes them send an MSI. `set` gives the kernel a whole new table (KVM_SET_GSI_ROUTING): `default` stands for KVM's own, a later word for a GSI takes the place of an earlier one. `reset` puts the default back.",
  examples: [
    ["kvm-irq route show", "the table"],
    ["kvm-irq route set default 0=pic:0,ioapic:2 2=none", "as QEMU has it"],
    ["kvm-irq route set default 30=msi:0xfee00000/0x41", "`pulse 30` then sends an MSI"],
    ["kvm-irq route reset", "KVM's default again"],
  ],
  declare: (command) =>
    command
      .addArgument(new Argument("<action>", "what to do").choices(["show", "set", "reset"]))
      .argument("[routes...]", "default, gsi=pic:N, gsi=ioapic:N, gsi=msi:ADDRESS/DATA, gsi=none; , joins"),

  check(_globals, action: Action, words: readonly string[]) {
    wantedRouting(action, words);
  },
  routing({ irqchip = "full", routing }: SourceInfo, action: Action, words: readonly string[]) {
    const wanted = wantedRouting(action, words) ?? routing;
    return wanted && irqchip !== "none" ? routingOn(irqchip, wanted) : wanted;
  },

  async run(context: Context, action: Action, words: readonly string[]): Promise<Outcome> {
    const wanted = wantedRouting(action, words);
    const source = await context.source();
    if (wanted !== undefined) await source.perform("setRouting", { routing: wanted });
    const reading = await source.read({ chips: [], facts: ["routes"] });
    const { host, label } = reading.identity;
    const routing = reading.routing?.value ?? reading.facts?.routes?.value;
    if (routing === undefined) throw unknownRouting(label, reading.unknown?.["routes"]);
    const arch = archNamed(host.arch);
    return {
      json: { default: routing === "default", routes: routesOf(arch.routing, routing) },
      text: async (view) => (await import("../../text/route.ts")).renderRouting(routing, arch, view),
    };
  },
};

/**
 * What becomes of the routing; nothing where it stays as it is.
 *
 * @throws KvmIrqError `usage` unless action and routes go together; `bad-route`, `bad-msi`.
 */
function wantedRouting(action: Action, words: readonly string[]): Routing | undefined {
  if (words.length > 0 !== (action === "set")) {
    throw new KvmIrqError(
      "usage",
      action === "set" ? "no routes to set" : `\`route ${action}\` takes no routes`,
      {
        hint: advice`as in ${changing("route", "set", "default", "30=msi:0xfee00000/0x41")}, or ${changing("route", "reset")}`,
      },
    );
  }
  if (action === "show") return undefined;
  return action === "reset" ? "default" : parseRoutes(words);
}

function unknownRouting(label: string, why = "there is no ioctl that reads a routing back"): KvmIrqError {
  return new KvmIrqError("unsupported", `the routing of ${label} is not known`, {
    hint: `${why}; kernel memory has it: run as root`,
  });
}

/**
 * Parses the words of `route set`. Each says where a GSI goes and takes the place of what an earlier word
 * said of it; `default` says it of all that KVM's default routing has.
 *
 * @throws KvmIrqError `bad-route`, `bad-msi`.
 */
function parseRoutes(words: readonly string[]): Route[] {
  const table = new Map<number, Route[]>();
  for (const word of words) {
    if (word === "default") {
      const routes = routesOf(HOST_ARCH.routing, "default");
      for (const { gsi } of routes) {
        table.set(
          gsi,
          routes.filter((route) => route.gsi === gsi),
        );
      }
      continue;
    }
    const match = /^(\d{1,10})=(.+)$/.exec(word);
    if (match === null) throw badRoute(word);
    const gsi = Number(match[1]);
    table.set(gsi, match[2] === "none" ? [] : match[2]!.split(",").map((way) => parseWay(gsi, way)));
  }
  const routes = [...table.values()].flat();
  checkRoutes(HOST_ARCH.routing, routes);
  return routes;
}

function parseWay(gsi: number, text: string): Route {
  const pin = HOST_ARCH.routing.parsePin(text);
  if (pin !== undefined) return { gsi, ...pin };
  const msi = /^msi:(0x[0-9a-fA-F]{1,12}|\d{1,12})\/(0x[0-9a-fA-F]{1,12}|\d{1,12})$/.exec(text);
  if (msi === null) throw badRoute(`${gsi}=${text}`);
  return { gsi, msi: { address: Number(msi[1]), data: Number(msi[2]) } };
}

function badRoute(word: string): KvmIrqError {
  return new KvmIrqError("bad-route", `${JSON.stringify(word)} is not a route`, {
    hint: HOST_ARCH.routing.syntax,
  });
}
