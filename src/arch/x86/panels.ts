import type { Marks, Panels } from "../arch.ts";
import { renderFacts } from "./facts-panel.ts";
import { renderIoapic } from "./ioapic/panel.ts";
import { ioapicPanel } from "./ioapic/watch.ts";
import { renderLapic } from "./lapic/panel.ts";
import { lapicPanel, lapicSummary } from "./lapic/watch.ts";
import { renderPic } from "./pic/panel.ts";
import { picPanel, picSummary } from "./pic/watch.ts";
import type { Chips, Snapshot } from "./state.ts";
import { renderVcpu } from "./vcpu/panel.ts";

/** How the PICs, the IOAPIC and the local APICs are shown. */
export const panels: Panels = {
  sections({ chips, vcpus = [], source }: Snapshot, gsis, view) {
    const foreign = source.kind === "process";
    const { pic1, pic2, ioapic, lapic: lapics = [] } = chips;
    return [
      ...(pic1 ? [renderPic("PIC1", "master", pic1, (pin) => gsis("pic1", pin), view)] : []),
      ...(pic2 ? [renderPic("PIC2", "slave", pic2, (pin) => gsis("pic2", pin), view)] : []),
      ...(ioapic ? [renderIoapic(ioapic, view)] : []),
      ...lapics.map((lapic) => {
        const vcpu = vcpus.find((state) => state.vcpu === lapic.vcpu);
        return renderLapic(lapic, vcpu, view) + (vcpu === undefined ? "" : renderVcpu(vcpu, view, foreign));
      }),
      ...vcpus
        .filter(({ vcpu }) => !lapics.some((lapic) => lapic.vcpu === vcpu))
        .map((vcpu) => renderVcpu(vcpu, view, foreign)),
    ];
  },
  facts: renderFacts,
  tabs: ["pic1", "pic2", "ioapic", "lapic", "all"],
  live(tab, chips: Chips, room, marks) {
    const { ioapic, lapic } = chips;
    switch (tab) {
      case "pic1":
      case "pic2":
        return chips[tab] && picPanel(tab, chips[tab], marks);
      case "ioapic":
        return ioapic && ioapicPanel(ioapic, room, marks);
      case "lapic":
        return lapic && lapicPanel(lapic, marks);
      default:
        return allChips(chips, room, marks);
    }
  },
};

/** Every chip: the PICs and local APICs a row each, and the IOAPIC in what is left. */
function allChips({ pic1, pic2, ioapic, lapic }: Chips, room: number, marks: Marks): string[] {
  const pics = [
    ...(pic1 === undefined ? [] : [["pic1", pic1] as const]),
    ...(pic2 === undefined ? [] : [["pic2", pic2] as const]),
  ];
  const above = pics.length === 0 ? [] : picSummary(pics, marks);
  const below = lapic === undefined || lapic.length === 0 ? [] : ["", ...lapicSummary(lapic, marks)];
  const between = ioapic === undefined ? [] : ioapicPanel(ioapic, room - above.length - below.length, marks);
  return [...above, ...between, ...below];
}
