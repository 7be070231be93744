import { printable } from "../abi/printable.ts";
import type { Arch } from "../arch/arch.ts";
import { commonPins, possibleRoutings } from "../vm/routing.ts";
import { notSeen, type Snapshot } from "../vm/snapshot.ts";
import { renderGuest } from "./guest.ts";
import { renderIrqfdFacts } from "./irqfd.ts";
import { gsisOf, renderRouting } from "./route.ts";
import { paragraph } from "./table.ts";
import type { View } from "./view.ts";

/** How another process's VM was read. */
const WAYS_IN: Readonly<Record<string, string>> = { kernel: ", by kernel memory", ptrace: ", by ptrace" };

/**
 * Everything that a snapshot has, a section a chip and a fact; its routing where that is not KVM's default.
 *
 * @param asked where only some of it was asked for: the facts of that. They are shown even where there is nothing to
 *   them, and the routing only where it is one of them.
 */
export async function renderSnapshot(
  snapshot: Snapshot,
  arch: Arch,
  { label, asked }: { label: string; asked?: readonly string[] | undefined },
  view: View,
): Promise<string> {
  const { guest, host, routes: read, routing, source, unknown = {} } = snapshot;
  const backend =
    source.backend === undefined ? "" : ` (${source.backend === "kvm" ? "KVM" : source.backend})`;
  const emulated = notSeen(snapshot);
  const routes = commonPins(arch.routing, possibleRoutings(arch.routing, snapshot, undefined));
  const { sections, facts } = await arch.panels();
  const showsRouting = asked?.includes("routes") ?? routing !== "default";
  const table = showsRouting ? (routing ?? read?.value) : undefined;
  const irqfds = snapshot.irqfds?.value;
  return [
    `${view.paint.bold(printable(label))}${printable(`${backend}${WAYS_IN[source.via ?? ""] ?? ""}, ${host.arch}, kernel ${host.kernel}`)}\n`,
    ...(source.settled === false ? ["It changed at every look: its parts need not fit together.\n"] : []),
    ...(emulated === undefined ? [] : [`${emulated}\n`]),
    ...sections(snapshot, gsisOf(routes), view),
    ...(guest === undefined ? [] : [renderGuest(guest, view)]),
    ...(table ? [renderRouting(table, arch, view)] : []),
    ...(irqfds && (irqfds.length > 0 || asked?.includes("irqfds"))
      ? [renderIrqfdFacts(irqfds, arch, view)]
      : []),
    ...facts(snapshot, view),
    ...Object.entries(unknown).map(([name, why]) =>
      paragraph(view.paint.dim(printable(`${arch.facts[name]?.title ?? name}: not known: ${why}`)), view),
    ),
  ].join("\n");
}
