import type { VmAddress } from "../abi/advice.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { Source } from "../vm/source.ts";
import { FILE } from "./file/way.ts";
import { PROCESS } from "./process/way.ts";
import { SESSION } from "./session/way.ts";
import { longOf, type Way } from "./way.ts";

/** Every way to see a VM; the command line, its help and its completion follow. The first is meant when none is named. */
export const WAYS = { session: SESSION, process: PROCESS, file: FILE };

type Ways = typeof WAYS;
export type WayName = keyof Ways;
type Choosing = { [Name in WayName]: Ways[Name] extends Way<infer C> ? (choice: C) => void : never };
/** What names a target on the command line; of one way. */
export type SourceChoice = Choosing[WayName] extends (choice: infer All) => void ? All : never;

/** Every way by its name, as those see it who don't care which it is. */
export function allWays(): [name: string, way: Way<SourceChoice>][] {
  return Object.entries<Way<SourceChoice>>(WAYS);
}

/** The options of a way that a choice has values for, and those values. */
function given({ options }: Way<SourceChoice>, choice: SourceChoice): [long: string, value: unknown][] {
  const values: Readonly<Record<string, unknown>> = choice;
  return Object.entries(options).flatMap(([name, option]) =>
    values[name] === undefined ? [] : [[longOf(option), values[name]]],
  );
}

/** The option of a way that names a target. */
const naming = ({ options }: Way<SourceChoice>) => longOf(Object.values(options)[0]!);

function waysNamed(choice: SourceChoice): Way<SourceChoice>[] {
  return allWays().flatMap(([, way]) => (given(way, choice)[0]?.[0] === naming(way) ? [way] : []));
}

/** Whether a choice has any option of a target. */
export function isNamed(choice: SourceChoice): boolean {
  return allWays().some(([, way]) => given(way, choice).length > 0);
}

/** The way that a choice takes, which {@link checkChoice} has seen. */
export function wayOf(choice: SourceChoice): Way<SourceChoice> {
  return waysNamed(choice)[0] ?? WAYS.session;
}

/**
 * Throws unless a choice is of one target.
 *
 * @throws KvmIrqError `usage` for two at once, and for options that go with another kind of target.
 */
export function checkChoice(choice: SourceChoice): void {
  const named = waysNamed(choice);
  const [one, other] = named.map(naming);
  if (other !== undefined) throw new KvmIrqError("usage", `${one} and ${other} name two targets; give one`);
  for (const [, way] of allWays()) {
    const [stray] = named.includes(way) ? [] : given(way, choice);
    if (stray !== undefined) throw new KvmIrqError("usage", `${stray[0]} goes with ${naming(way)}`);
  }
}

/**
 * Opens the target that a choice names, which {@link checkChoice} has seen; without any, the session
 * `KVM_IRQ_SESSION` or `default`.
 *
 * @param signal aborted when the user gives up.
 * @throws KvmIrqError whatever keeps the target from being opened.
 */
export async function openSource(choice: SourceChoice, signal?: AbortSignal): Promise<Source> {
  return wayOf(choice).open(choice, signal);
}

/** How a command line names the same target again, whatever `KVM_IRQ_SESSION` is there. */
export function addressOf(choice: SourceChoice, env = process.env): VmAddress {
  const way = wayOf(choice);
  return (
    way.address?.(choice, env) ?? {
      options: given(way, choice).flatMap(([long, value]) => (value === true ? [long] : [long, `${value}`])),
      ...(way.asksToChange && { confirm: true }),
      ...(way.readOnly && { readOnly: true }),
    }
  );
}
