import { durationText } from "./duration.ts";
import { vectorText } from "./x86/args.ts";
import type { Wave } from "./x86/waves.ts";

/** Columns beyond which a picture can't be read any more. */
const MOST_COLUMNS = 48;

/** What WaveDrom draws (its WaveJSON). */
export interface WaveJson {
  signal: ({ name: string; wave: string; data?: string[] } | Record<string, never>)[];
  head: { text: string };
  foot?: { text: string };
  config: { hscale: number };
}

/**
 * Waves as WaveJSON: one column for each moment at which something changes, so that times are not to scale;
 * the first row says when each was.
 *
 * @param title stands above the picture.
 * @param waves what changes after the first 48 moments is left out, and a line below says so.
 */
export function waveJson(title: string, waves: readonly Wave[]): WaveJson {
  const moments = [...new Set(waves.flatMap(({ changes }) => changes.map(({ time }) => time)))].sort(
    (one, other) => one - other,
  );
  const columns = moments.slice(0, MOST_COLUMNS);
  const left = moments.length - columns.length;
  const scopes = new Set(waves.map(({ scope }) => scope));
  const start = columns[0] ?? 0;
  return {
    head: { text: title },
    ...(left === 0 ? {} : { foot: { text: `${left} more changes are not shown` } }),
    signal: [
      {
        name: "after",
        wave: `x${"=".repeat(columns.length)}`,
        data: columns.map((time) => durationText(time - start)),
      },
      {},
      ...waves.map((wave) => ({
        name: scopes.size > 1 ? `${wave.scope}.${wave.name}` : wave.name,
        ...drawn(wave, columns),
      })),
    ],
    config: { hscale: 2 },
  };
}

/** One character a column, the first for the time before: `0` and `1`, `z` and `=` with a number, `.` for no change. */
function drawn({ kind, changes }: Wave, columns: readonly number[]): { wave: string; data?: string[] } {
  const at = new Map(changes.map(({ time, value }) => [time, value]));
  const data: string[] = [];
  let wave = kind === "line" ? "0" : "z";
  for (const time of columns) {
    const value = at.get(time);
    if (value === undefined) wave += ".";
    else if (kind === "line") wave += value;
    else if (value === null) wave += "z";
    else {
      wave += "=";
      data.push(kind === "vector" ? vectorText(value) : String(value));
    }
  }
  return data.length === 0 ? { wave } : { wave, data };
}

/**
 * Waves as an SVG timing diagram, drawn by WaveDrom, which is loaded only here.
 *
 * @param title stands above the picture.
 */
export async function svg(title: string, waves: readonly Wave[]): Promise<string> {
  const { default: wavedrom } = await import("wavedrom");
  const [tag, attributes, ...children] = wavedrom.renderAny(0, waveJson(title, waves), wavedrom.waveSkin);
  // Black lines on nothing can't be seen where the page around them is dark.
  const paper = ["rect", { width: "100%", height: "100%", fill: "white" }];
  return wavedrom.onml.stringify([tag, attributes, paper, ...children]);
}
