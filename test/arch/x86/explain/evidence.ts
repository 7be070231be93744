import type { ExplainOptions } from "../../../../src/arch/arch.ts";
import { vmOf } from "../../../../src/arch/x86/explain/context.ts";
import { waysOf } from "../../../../src/arch/x86/explain/explain.ts";
import { findingDrafts } from "../../../../src/arch/x86/explain/findings.ts";
import { routesOf } from "../../../../src/arch/x86/routing.ts";
import type { Snapshot } from "../../../../src/arch/x86/state.ts";
import { type Evidence, isTrue } from "../../../../src/rules/evidence.ts";

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
