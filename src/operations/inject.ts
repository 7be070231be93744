import type { Gsi } from "../abi/numbers.ts";
import type { InjectionStatus, LineStep } from "../vm/chip.ts";
import type { SourceInfo } from "../vm/reading.ts";
import { checkRouted } from "../vm/routed.ts";
import type { Source } from "../vm/source.ts";
import { pause, untilOver } from "./wait.ts";

/** What became of injections that were tried, by the kernel's answer to each. */
export interface StatusCounts {
  /** How many there were: rises of a line, messages. */
  count: number;
  delivered: number;
  coalesced: number;
  ignored: number;
  /** Those that the kernel tells nothing of, without KVM_CAP_IRQ_INJECT_STATUS. Left out when none. */
  unknown?: number;
  /** The kernel's answer to the last: CPUs reached, 0 coalesced, negative ignored, null unknown. */
  last_status?: InjectionStatus;
}

/** What became of the rises of one GSI. */
export interface InjectionResult extends StatusCounts {
  gsi: Gsi;
  /** The level that the line was left at. */
  level: 0 | 1;
}

export interface PulseTrain {
  gsis: readonly number[];
  /** Pulses of each GSI. */
  count: number;
  /** From the start of one round of pulses to the start of the next, in milliseconds. */
  intervalMs: number;
  /** How long each line stays high, in milliseconds. */
  widthMs: number;
}

/** How many pulses go in one request when nothing has to be waited for: about 20 ms of work. */
const BATCH = 1000;

/**
 * Insists that a target's routing takes GSIs somewhere, as far as that is known.
 *
 * @throws KvmIrqError `bad-gsi` naming the first that goes nowhere.
 */
export function checkLines({ irqchip = "full", routing }: SourceInfo, gsis: readonly number[]): void {
  if (routing !== undefined && irqchip !== "none") checkRouted({ irqchip, routing }, gsis);
}

/**
 * Pulses lines: level 1, then 0. Every GSI in turn, so many times. However it ends, the lines are low.
 *
 * @param signal ends the train early; what was done until then is returned.
 * @param onProgress called with the number of rounds done.
 */
export async function pulse(
  source: Source,
  { gsis, count, intervalMs, widthMs }: PulseTrain,
  signal: AbortSignal,
  onProgress: (rounds: number) => void = () => {},
): Promise<InjectionResult[]> {
  const tally = new Tally(gsis);
  const over = untilOver(source, signal);
  const untimed = intervalMs === 0 && widthMs === 0;
  const perBatch = untimed ? Math.max(1, Math.floor(BATCH / gsis.length)) : 1;
  const start = performance.now();
  for (let done = 0; done < count && !signal.aborted; ) {
    const rounds = Math.min(perBatch, count - done);
    if (widthMs === 0) {
      const round = gsis.flatMap((gsi) => [rise(gsi), fall(gsi)]);
      const steps = Array<LineStep[]>(rounds).fill(round).flat();
      tally.add(steps, await setLines(source, steps));
    } else {
      await widePulse(source, gsis, widthMs, tally, over);
    }
    done += rounds;
    onProgress(done);
    // From the first start, so that a slow round does not shift those after it.
    if (done < count) await pause(start + done * intervalMs - performance.now(), over);
  }
  return tally.results(0);
}

async function widePulse(
  source: Source,
  gsis: readonly number[],
  widthMs: number,
  tally: Tally,
  over: AbortSignal,
): Promise<void> {
  const rises = gsis.map(rise);
  tally.add(rises, await setLines(source, rises, true));
  await pause(widthMs, over);
  await setLines(source, gsis.map(fall));
}

/**
 * Holds lines high, and leaves them so.
 *
 * @param forMs when given, lowers them after that time, or when interrupted.
 */
export async function hold(
  source: Source,
  gsis: readonly number[],
  forMs: number | undefined,
  signal: AbortSignal,
): Promise<InjectionResult[]> {
  const tally = new Tally(gsis);
  if (forMs !== undefined) {
    await widePulse(source, gsis, forMs, tally, untilOver(source, signal));
    return tally.results(0);
  }
  const rises = gsis.map(rise);
  tally.add(rises, await setLines(source, rises));
  return tally.results(1);
}

/** Lowers lines. The kernel's answer to a fall says nothing, so nothing is counted. */
export async function release(source: Source, gsis: readonly number[]): Promise<InjectionResult[]> {
  await setLines(source, gsis.map(fall));
  return new Tally(gsis).results(0);
}

/** @param transient whether lines that are left high go low if this client goes away without lowering them. */
export async function setLines(
  source: Source,
  steps: readonly LineStep[],
  transient = false,
): Promise<InjectionStatus[]> {
  return (await source.perform("setIrqLines", { steps, transient })).statuses;
}

/** A line that goes up, and one that goes down. */
export const rise = (gsi: Gsi): LineStep => ({ gsi, level: 1 });
export const fall = (gsi: Gsi): LineStep => ({ gsi, level: 0 });

/** Adds one answer. */
export function countStatus(counts: StatusCounts, status: InjectionStatus): void {
  counts.count++;
  counts.last_status = status;
  if (status === null) counts.unknown = (counts.unknown ?? 0) + 1;
  else if (status > 0) counts.delivered++;
  else if (status === 0) counts.coalesced++;
  else counts.ignored++;
}

/** Counts the answers to rises. */
class Tally {
  readonly #byGsi: Map<number, InjectionResult>;

  constructor(gsis: readonly number[]) {
    this.#byGsi = new Map(
      gsis.map((gsi) => [gsi, { gsi, count: 0, delivered: 0, coalesced: 0, ignored: 0, level: 0 }]),
    );
  }

  add(steps: readonly LineStep[], statuses: readonly InjectionStatus[]): void {
    steps.forEach(({ gsi, level }, index) => {
      const result = this.#byGsi.get(gsi);
      const status = statuses[index];
      if (level === 0 || result === undefined || status === undefined) return;
      countStatus(result, status);
    });
  }

  results(level: 0 | 1): InjectionResult[] {
    return [...this.#byGsi.values()].map(({ level: _, ...counts }) => ({ ...counts, level }));
  }
}
