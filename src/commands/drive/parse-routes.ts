import { KvmIrqError } from "../../abi/error.ts";
import { checkRoutes, DEFAULT_ROUTES, picInput, type Route } from "../../arch/x86/routing.ts";

const HINT =
  "write default, 5=pic:5,ioapic:5, 30=msi:0xfee00000/0x41, or 2=none; pins are pic:0-15, pic1:0-7, pic2:0-7 and ioapic:0-23";

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
      for (const { gsi } of DEFAULT_ROUTES) {
        table.set(
          gsi,
          DEFAULT_ROUTES.filter((route) => route.gsi === gsi),
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
  checkRoutes(routes);
  return routes;
}

function parseWay(gsi: number, text: string): Route {
  const pin = /^(pic|pic1|pic2|ioapic):(\d{1,3})$/.exec(text);
  if (pin !== null) {
    const number = Number(pin[2]);
    if (pin[1] !== "pic") return { gsi, chip: pin[1] as "pic1" | "pic2" | "ioapic", pin: number };
    if (number > 15) throw new KvmIrqError("bad-route", `the PICs have no input ${number}`, { hint: HINT });
    return { gsi, ...picInput(number) };
  }
  const msi = /^msi:(0x[0-9a-fA-F]{1,12}|\d{1,12})\/(0x[0-9a-fA-F]{1,12}|\d{1,12})$/.exec(text);
  if (msi === null) throw badRoute(`${gsi}=${text}`);
  return { gsi, msi: { address: Number(msi[1]), data: Number(msi[2]) } };
}

function badRoute(word: string): KvmIrqError {
  return new KvmIrqError("bad-route", `${JSON.stringify(word)} is not a route`, { hint: HINT });
}
