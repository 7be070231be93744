import { bitsOf } from "../abi/bits.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { Arch } from "../arch/arch.ts";
import { archNamed, HOST_ARCH } from "../arch/arches.ts";
import { isBitwise } from "../arch/fields.ts";
import { covers, parsePath } from "../registers/path.ts";
import type { Chips, VcpuState } from "../vm/chip.ts";
import type { Facts } from "../vm/facts.ts";
import { knownRouting, type Route, type Routing, routesOf } from "../vm/routing.ts";
import { type Difference, diffState } from "./diff.ts";

export interface DiffOptions {
  /** Paths to leave out, with all that is below them. `[*]` stands for any index: `lapic[*].timer_current`. */
  ignore?: readonly string[];
}

interface State extends Facts {
  /** Where it was taken; on a host such as this one, when not given. */
  host?: { arch: string };
  chips: Chips;
  vcpus?: VcpuState[];
  routing?: Routing;
}

/**
 * What differs between two snapshots' chips and vCPUs (`vcpus[0].rflags`), field by field; registers with the
 * bits that were set and cleared, lists of vectors with those that came and went. Where both tell their routing,
 * each GSI that goes elsewhere too: `routing[4]`, its ways as a list. The same for the facts that both have:
 * `irqfds[24].eventfd.id`, `lines.held.ioapic[4]`.
 *
 * @throws KvmIrqError `bad-path` for something to ignore that is not a path; `bad-input` for two architectures.
 * @returns in the order of the fields; empty when they are the same.
 */
export function diffSnapshots(a: State, b: State, { ignore = [] }: DiffOptions = {}): Difference[] {
  const ignored = ignore.map(parsePath);
  const arch = archOfBoth(a, b);
  const fields = diffState(fieldsOf(a), fieldsOf(b))
    .filter(isKnownInBoth)
    .map((difference) => ({
      ...difference,
      ...changes(arch, difference),
    }));
  const routing = diffRouting(arch, knownRouting(a), knownRouting(b));
  return [...fields, ...routing, ...diffFacts(arch, a, b)].filter(
    ({ path }) => !ignored.some((one) => covers(one, parsePath(path))),
  );
}

/**
 * The architecture of two snapshots.
 *
 * @param names how a message names them.
 * @throws KvmIrqError `bad-input` where each has its own, or an unknown one.
 */
export function archOfBoth(a: State, b: State, names = ["one snapshot", "the other"]): Arch {
  const [archA, archB] = [a, b].map(({ host }) => host?.arch ?? HOST_ARCH.name);
  if (archA === archB) return archNamed(archA!);
  throw new KvmIrqError("bad-input", `${names[0]} is of ${archA}, ${names[1]} of ${archB}`);
}

/** What differs of the facts that both have, each in a place of its own; routes are a matter of {@link diffRouting}. */
function diffFacts({ facts }: Arch, a: State, b: State): Difference[] {
  return Object.entries(facts).flatMap(([name, { compared = (value: object) => value }]) => {
    const [from, to] = [a, b].map(
      (state) => (state as unknown as Record<string, { value: object } | undefined>)[name],
    );
    if (name === "routes" || from === undefined || to === undefined) return [];
    return diffState(compared(from.value as never), compared(to.value as never), name);
  });
}

/** What one side can't tell of a vCPU is no difference: whether it runs, or what was in the CPU while it did. */
function isKnownInBoth({ path, from, to }: Difference): boolean {
  return !/^vcpus\[\d+\]\./.test(path) || (from !== undefined && to !== undefined);
}

function diffRouting(arch: Arch, a: Routing | undefined, b: Routing | undefined): Difference[] {
  if (a === undefined || b === undefined) return [];
  const [before, after] = [waysOf(arch, a), waysOf(arch, b)];
  return [...new Set([...before.keys(), ...after.keys()])]
    .sort((one, other) => one - other)
    .flatMap((gsi) => {
      const [from = [], to = []] = [before.get(gsi), after.get(gsi)];
      return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ path: `routing[${gsi}]`, from, to }];
    });
}

/** Where each GSI goes, in an order that says nothing. */
function waysOf(arch: Arch, routing: Routing): Map<number, object[]> {
  const ways = new Map<number, object[]>();
  for (const { gsi, ...way } of routesOf(arch.routing, routing).toSorted(byChip)) {
    ways.set(gsi, [...(ways.get(gsi) ?? []), way]);
  }
  return ways;
}

function byChip(one: Route, other: Route): number {
  const chipOf = (route: Route) => ("chip" in route ? route.chip : "");
  return chipOf(other).localeCompare(chipOf(one), "en");
}

/**
 * The chips, by the names that paths begin with, that one of two snapshots has and the other lacks. State of
 * vCPUs counts where both have some.
 *
 * @param ignore as in {@link DiffOptions}.
 */
export function unmatchedChips(
  a: State,
  b: State,
  { ignore = [] }: DiffOptions = {},
): { onlyA: string[]; onlyB: string[] } {
  const ignored = ignore.map(parsePath);
  const vcpus = a.vcpus !== undefined && b.vcpus !== undefined;
  const namesOf = (state: State) =>
    chipNames(state, vcpus).filter((name) => !ignored.some((one) => covers(one, parsePath(name))));
  const [inA, inB] = [namesOf(a), namesOf(b)];
  return {
    onlyA: inA.filter((name) => !inB.includes(name)),
    onlyB: inB.filter((name) => !inA.includes(name)),
  };
}

function chipNames({ chips, vcpus }: State, withVcpus: boolean): string[] {
  return [
    ...Object.entries(chips).flatMap(([kind, state]) =>
      Array.isArray(state) ? (state as VcpuState[]).map(({ vcpu }) => `${kind}[${vcpu}]`) : [kind],
    ),
    ...(withVcpus ? (vcpus ?? []).map(({ vcpu }) => `vcpus[${vcpu}]`) : []),
  ];
}

function fieldsOf({ chips, vcpus }: State): object {
  return vcpus === undefined ? chips : { ...chips, vcpus };
}

function changes(arch: Arch, { path, from, to }: Difference): Pick<Difference, "set" | "cleared"> {
  if (Array.isArray(from) && Array.isArray(to)) return apart(from, to);
  if (!isRegister(from) || !isRegister(to) || !isBitwise(arch, path)) return {};
  return apart(bitsOf(from), bitsOf(to));
}

function isRegister(value: unknown): value is number | `0x${string}` {
  return typeof value === "number" || (typeof value === "string" && value.startsWith("0x"));
}

function apart(from: readonly number[], to: readonly number[]): { set: number[]; cleared: number[] } {
  return {
    set: to.filter((item) => !from.includes(item)),
    cleared: from.filter((item) => !to.includes(item)),
  };
}
