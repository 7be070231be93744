import type { PinRoute } from "../arch/x86/routing.ts";
import { gsisOf } from "../arch/x86/text/route.ts";
import type { Observation } from "../rules/observe.ts";
import type { View } from "./view.ts";

/** What a panel of the live view needs to know of the last reading beside the state itself. */
export interface Marks {
  view: View;
  /** Highlights text when a field changed; without colours a star does. Paths as in a difference. */
  mark(text: string, ...paths: string[]): string;
  /** Whether a field, or anything below it, changed. */
  changed(path: string): boolean;
  /** The GSIs that go to a pin, as text. */
  gsis(chip: PinRoute["chip"], pin: number): string;
  /** The rises that were seen of the GSIs that go to a pin, highlighted when there is a new one. */
  edges(chip: PinRoute["chip"], pin: number): string;
}

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
