import { printable } from "../abi/printable.ts";
import { renderIoapic } from "../arch/x86/ioapic/panel.ts";
import { renderLapic } from "../arch/x86/lapic/panel.ts";
import { renderPic } from "../arch/x86/pic/panel.ts";
import { commonPins, possibleRoutings } from "../arch/x86/possible-routing.ts";
import { gsisOf, renderRouting } from "../arch/x86/text/route.ts";
import { renderVcpu } from "../arch/x86/vcpu/panel.ts";
import { notSeen, type Snapshot } from "../vm/snapshot.ts";
import { renderGuest } from "./guest.ts";
import type { View } from "./view.ts";

/** Everything that a snapshot has, a section a chip, and its routing where that is not KVM's default. */
export function renderSnapshot(snapshot: Snapshot, label: string, view: View): string {
  const { chips, guest, host, routing, source, vcpus } = snapshot;
  const backend =
    source.backend === undefined ? "" : ` (${source.backend === "kvm" ? "KVM" : source.backend})`;
  const sections = [
    `${view.paint.bold(printable(label))}${printable(`${backend}, ${host.arch}, kernel ${host.kernel}`)}\n`,
  ];
  const foreign = source.kind === "process";
  const emulated = notSeen(snapshot);
  if (emulated !== undefined) sections.push(`${emulated}\n`);
  const gsis = gsisOf(commonPins(possibleRoutings(snapshot, undefined)));
  if (chips.pic1) sections.push(renderPic("PIC1", "master", chips.pic1, (pin) => gsis("pic1", pin), view));
  if (chips.pic2) sections.push(renderPic("PIC2", "slave", chips.pic2, (pin) => gsis("pic2", pin), view));
  if (chips.ioapic) sections.push(renderIoapic(chips.ioapic, view));
  for (const lapic of chips.lapic ?? []) {
    const vcpu = vcpus?.find((state) => state.vcpu === lapic.vcpu);
    sections.push(
      renderLapic(lapic, vcpu, view) + (vcpu === undefined ? "" : renderVcpu(vcpu, view, foreign)),
    );
  }
  for (const vcpu of vcpus ?? []) {
    if (!chips.lapic?.some((lapic) => lapic.vcpu === vcpu.vcpu))
      sections.push(renderVcpu(vcpu, view, foreign));
  }
  if (guest !== undefined) sections.push(renderGuest(guest, view));
  if (typeof routing === "object") sections.push(renderRouting(routing, view));
  return sections.join("\n");
}
