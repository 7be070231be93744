import { setTimeout as sleep } from "node:timers/promises";
import type { Context } from "../../cli/command.ts";
import type { Difference } from "../../rules/diff.ts";
import type { Finding } from "../../rules/finding.ts";
import { hasNews, type Observation } from "../../rules/observe.ts";
import { time } from "../../text/duration.ts";
import type { Cost } from "../../text/watch.ts";
import { type KernelIrqchip, notSeen } from "../../vm/snapshot.ts";
import type { WatchSource } from "./watch-source.ts";

/** A line of `watch --json`: the first reading, and then each in which something is new. */
interface WatchLine {
  time: string;
  /** 1 for the first. */
  reading: number;
  changes: readonly Difference[];
  /** Rises of lines that were seen since the first reading, by GSI, of those that rose since the one before. */
  edges: Record<string, number>;
  appeared: readonly Finding[];
  gone: readonly Finding[];
  /** With the first, of a VM of which it is known. */
  irqchip?: KernelIrqchip;
  cost: { cpu: number; stopped_threads?: number; longest_stop_us?: number };
}

/** What a reading is to programs. */
export function watchLine(observation: Observation, cost: Cost): WatchLine {
  const { snapshot, reading, changes, risen, edges, appeared, gone } = observation;
  return {
    time: snapshot.captured_at,
    reading,
    changes,
    edges: Object.fromEntries(risen.map((gsi) => [gsi, edges.get(gsi) ?? 0])),
    appeared,
    gone,
    ...(reading === 1 && snapshot.irqchip !== undefined && { irqchip: snapshot.irqchip }),
    cost: {
      cpu: Number(cost.cpu.toFixed(4)),
      ...(cost.stops && {
        stopped_threads: cost.stops.threads,
        longest_stop_us: Math.round(cost.stops.longestNs / 1000),
      }),
    },
  };
}

/**
 * Writes what is new, as JSON a line for each reading with news or as text a line a change, until the signal.
 *
 * @throws KvmIrqError when the target ends.
 */
export async function writeLines(
  source: WatchSource,
  { label, intervalMs }: { label: string; intervalMs: number },
  context: Context,
): Promise<void> {
  const { signal } = context;
  const { clock, newsLines } = await import("../../text/watch-news.ts");
  const view = await context.view();
  while (!signal.aborted) {
    const seen = await source.next();
    if (context.globals.json) {
      if (seen.reading === 1 || hasNews(seen)) {
        context.write(`${JSON.stringify(watchLine(seen, source.cost()))}\n`);
      }
    } else {
      if (seen.reading === 1) {
        context.notice(`watching ${label}, every ${time(intervalMs)}`);
        const emulated = notSeen(seen.snapshot);
        if (emulated !== undefined) context.notice(emulated);
      }
      const at = clock(seen.snapshot.captured_at);
      context.write(
        newsLines(seen, view)
          .map((line) => `${at} ${line}\n`)
          .join(""),
      );
    }
    await sleep(intervalMs, undefined, { signal }).catch(() => {});
  }
}
