import type { ExplainOptions } from "../../../../src/arch/arch.ts";
import { vmOf } from "../../../../src/arch/x86/explain/context.ts";
import { waysOf } from "../../../../src/arch/x86/explain/explain.ts";
import { findingDrafts } from "../../../../src/arch/x86/explain/findings.ts";
import { X86_64 } from "../../../../src/arch/x86/index.ts";
import { routesOf } from "../../../../src/arch/x86/routing.ts";
import type { Snapshot } from "../../../../src/arch/x86/state.ts";
import { parsePath, resolvePath } from "../../../../src/registers/path.ts";
import type { Evidence } from "../../../../src/rules/evidence.ts";
import { judge } from "../../../../src/rules/expect.ts";

/** Whether evidence is true of a state, as `expect` tells. */
export function isTrue(state: object, { path, operator, value }: Evidence): boolean {
  const holds = (as: "=" | "!=" | "&", wanted: unknown) =>
    judge(X86_64, state, [{ text: path, path: parsePath(path), operator: as, wanted: String(wanted) }]).every(
      ({ met }) => met,
    );
  switch (operator) {
    case "&":
      return holds("&", 2n ** BigInt(value));
    case "!&":
      return !holds("&", 2n ** BigInt(value));
    case "lacks":
      return holds("!=", value);
    case "missing":
      return !exists(state, path);
    default:
      return holds("=", value);
  }
}

function exists(state: object, path: string): boolean {
  try {
    return resolvePath(state, parsePath(path)).every(({ value }) => value !== undefined);
  } catch {
    return false;
  }
}

/** What evidence is put to. A routing counts where it is known, as what each GSI sends. */
function stateOf({ chips, vcpus }: Snapshot, vm: ReturnType<typeof vmOf>): object {
  const [routing, ...others] = vm.routings;
  const known = others.length === 0 ? Object.assign([], byGsi(routing)) : undefined;
  return { ...chips, vcpus: vcpus ?? [], ...(known && { routing: known }) };
}

function byGsi(routing: Parameters<typeof routesOf>[0]): object {
  return Object.fromEntries(routesOf(routing).map((route) => [route.gsi, route]));
}

/** The evidence of some GSIs' stages, and of all findings, that is not so, each with its code. */
export function untrue(
  snapshot: Snapshot,
  options: ExplainOptions,
  gsis: Iterable<number>,
  previous?: Snapshot,
): string[] {
  const vm = vmOf(snapshot, options);
  const stages = vm.routings.flatMap((routing) =>
    [...gsis].flatMap((gsi) => waysOf(vm, gsi, routing).flatMap((way) => way.stages)),
  );
  const now = stateOf(snapshot, vm);
  const before = previous && stateOf(previous, vm);
  const isSo = (fact: Evidence) => isTrue(fact.before ? before! : now, fact);
  return [...stages, ...findingDrafts(snapshot, previous, options)].flatMap(({ code, facts }) =>
    facts.filter((fact) => !isSo(fact)).map((fact) => `${code}: ${JSON.stringify(fact)}`),
  );
}
