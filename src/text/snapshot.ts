import { printable } from "../abi/printable.ts";
import type { Arch } from "../arch/arch.ts";
import { commonPins, possibleRoutings } from "../vm/routing.ts";
import { notSeen, type Snapshot } from "../vm/snapshot.ts";
import { renderGuest } from "./guest.ts";
import { gsisOf, renderRouting } from "./route.ts";
import type { View } from "./view.ts";

/** How another process's VM was read. */
const WAYS_IN: Readonly<Record<string, string>> = { kernel: ", by kernel memory", ptrace: ", by ptrace" };

/** Everything that a snapshot has, a section a chip, and its routing where that is not KVM's default. */
export async function renderSnapshot(
  snapshot: Snapshot,
  arch: Arch,
  label: string,
  view: View,
): Promise<string> {
  const { guest, host, routing, source } = snapshot;
  const backend =
    source.backend === undefined ? "" : ` (${source.backend === "kvm" ? "KVM" : source.backend})`;
  const emulated = notSeen(snapshot);
  const routes = commonPins(arch.routing, possibleRoutings(arch.routing, snapshot, undefined));
  const { sections } = await arch.panels();
  return [
    `${view.paint.bold(printable(label))}${printable(`${backend}${WAYS_IN[source.via ?? ""] ?? ""}, ${host.arch}, kernel ${host.kernel}`)}\n`,
    ...(source.settled === false ? ["It changed at every look: its parts need not fit together.\n"] : []),
    ...(emulated === undefined ? [] : [`${emulated}\n`]),
    ...sections(snapshot, gsisOf(routes), view),
    ...(guest === undefined ? [] : [renderGuest(guest, view)]),
    ...(typeof routing === "object" ? [renderRouting(routing, arch, view)] : []),
  ].join("\n");
}
