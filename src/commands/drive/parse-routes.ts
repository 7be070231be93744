import { KvmIrqError } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { checkRoutes, type Route, routesOf } from "../../vm/routing.ts";

const { routing } = HOST_ARCH;

/**
 * Parses the words of `route set`. Each says where a GSI goes and takes the place of what an earlier word
 * said of it; `default` says it of all that KVM's default routing has.
 *
 * @throws KvmIrqError `bad-route`, `bad-msi`.
 */
export function parseRoutes(words: readonly string[]): Route[] {
  const table = new Map<number, Route[]>();
  for (const word of words) {
    if (word === "default") {
      const routes = routesOf(routing, "default");
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
  checkRoutes(routing, routes);
  return routes;
}

function parseWay(gsi: number, text: string): Route {
  const pin = routing.parsePin(text);
  if (pin !== undefined) return { gsi, ...pin };
  const msi = /^msi:(0x[0-9a-fA-F]{1,12}|\d{1,12})\/(0x[0-9a-fA-F]{1,12}|\d{1,12})$/.exec(text);
  if (msi === null) throw badRoute(`${gsi}=${text}`);
  return { gsi, msi: { address: Number(msi[1]), data: Number(msi[2]) } };
}

function badRoute(word: string): KvmIrqError {
  return new KvmIrqError("bad-route", `${JSON.stringify(word)} is not a route`, { hint: routing.syntax });
}
