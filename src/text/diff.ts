import type { Arch } from "../arch/arch.ts";
import type { Difference } from "../rules/diff.ts";
import { value } from "./format.ts";
import { destination } from "./route.ts";
import type { View } from "./view.ts";

/** Differences, a line each: `pic1.imr: 0xff -> 0xef (cleared bit 4)`. */
export function renderDifferences(
  differences: readonly Difference[],
  { paint }: View,
  arch: Pick<Arch, "msi">,
): string {
  return differences
    .map((difference) => {
      const { path, from, to } = difference;
      const text = path.startsWith("routing[") ? (routes: unknown) => ways(routes, arch) : value;
      return `${path}: ${paint.red(text(from))} -> ${paint.green(text(to))}${paint.dim(bits(difference))}\n`;
    })
    .join("");
}

/** What `restore` and `set` changed, and what the kernel made of it. */
export function renderChanges(
  { title, changed, kernel }: { title: string; changed: Difference[]; kernel: Difference[] },
  view: View,
  arch: Pick<Arch, "msi">,
): string {
  const own = changed.length === 0 ? "nothing differs\n" : renderDifferences(changed, view, arch);
  const theirs =
    kernel.length === 0
      ? ""
      : `changed by the backend when it was written:\n${renderDifferences(kernel, view, arch)}`;
  return `${title}\n${own}${theirs}`;
}

function ways(routes: unknown, arch: Pick<Arch, "msi">): string {
  const all = (routes as Parameters<typeof destination>[0][]).map((route) => destination(route, arch));
  return all.length === 0 ? "nowhere" : all.join(", ");
}

/** The bits of a register that were set and cleared, or the vectors of a list that came and went. */
function bits({ from, to, set = [], cleared = [] }: Difference): string {
  const isList = Array.isArray(from) && Array.isArray(to);
  // A list that was empty, or is now, says it all by itself.
  if (isList && (from.length === 0 || to.length === 0)) return "";
  const [came, went] = isList ? ["came", "went"] : ["set bit", "cleared bit"];
  const words = [...told(came!, set, isList), ...told(went!, cleared, isList)];
  return words.length === 0 ? "" : ` (${words.join(", ")})`;
}

function told(what: string, items: readonly number[], isList: boolean): string[] {
  if (items.length === 0) return [];
  const plural = !isList && items.length > 1 ? "s" : "";
  return [`${what}${plural} ${isList ? value(items) : items.join(" ")}`];
}
