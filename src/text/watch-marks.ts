import type { Marks } from "../arch/arch.ts";
import type { Observation } from "../rules/observe.ts";
import { gsisOf } from "./route.ts";
import type { View } from "./view.ts";

/** The marks for one reading. */
export function marksOf(
  { changes, edges, risen, routes }: Pick<Observation, "changes" | "edges" | "risen" | "routes">,
  view: View,
): Marks {
  const { paint } = view;
  const highlight = (text: string) => (paint.level === 0 ? `${text}*` : paint.inverse(text));
  const changed = (path: string) =>
    changes.some((change) => change.path === path || change.path.startsWith(`${path}.`));
  return {
    view,
    changed,
    gsis: gsisOf(routes),
    mark: (text, ...paths) => (paths.some(changed) ? highlight(text) : text),
    edges(chip, pin) {
      const gsis = routes.filter((route) => route.chip === chip && route.pin === pin).map(({ gsi }) => gsi);
      const seen = gsis.reduce((sum, gsi) => sum + (edges.get(gsi) ?? 0), 0);
      return gsis.some((gsi) => risen.includes(gsi))
        ? highlight(String(seen))
        : seen === 0
          ? "-"
          : String(seen);
    },
  };
}
