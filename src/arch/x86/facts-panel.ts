import { time } from "../../text/duration.ts";
import { count, hex, vectors } from "../../text/format.ts";
import { heading, table } from "../../text/table.ts";
import type { View } from "../../text/view.ts";
import type { Apicv, HeldInput, LapicTimer, Lines, Posted, Timers } from "./facts.ts";
import type { Snapshot } from "./state.ts";

/** What is known of a VM beside its chips, a section a fact. */
export function renderFacts({ lines, timers, apicv, posted }: Snapshot, view: View): string[] {
  return [
    ...(lines ? [renderLines(lines.value, view)] : []),
    ...(timers ? [renderTimers(timers.value, view)] : []),
    ...(apicv ? [renderApicv(apicv.value, view)] : []),
    ...(posted ? [renderPosted(posted.value, view)] : []),
  ];
}

const SOURCES: Record<string, string> = {
  line: "KVM_IRQ_LINE",
  resample: "a resampling irqfd",
  pit: "the PIT",
};

/** Who holds an input up, in words. */
export function holdersOf({ by }: Pick<HeldInput, "by">): string {
  return by.map((source) => SOURCES[source] ?? source).join(", ");
}

function renderLines({ held, irr_delivered = [], rtc, pic_output }: Lines, view: View): string {
  const registers: [string, string][] = [
    ...(irr_delivered.length === 0 ? [] : [["edges delivered", irr_delivered.join(" ")] as [string, string]]),
    ...(rtc && rtc.pending_eoi !== 0
      ? [["RTC waits for", count(rtc.pending_eoi, "EOI")] as [string, string]]
      : []),
    ...(pic_output ? [["PIC output", "high"] as [string, string]] : []),
  ];
  const head = heading("Lines", registers, view);
  if (held.length === 0) return `${head}no line is held up\n`;
  const rows = held.map((input) => [input.chip, String(input.pin), holdersOf(input)]);
  return (
    head + table([{ head: "CHIP" }, { head: "PIN", align: "right" }, { head: "HELD UP BY" }], rows, view)
  );
}

function renderTimers({ lapic, pit }: Timers, view: View): string {
  const registers: [string, string][] =
    pit === undefined
      ? []
      : [
          ["PIT reinjects", pit.reinject ? "yes" : "no"],
          ...(pit.pending === undefined ? [] : [["waiting", count(pit.pending, "tick")] as [string, string]]),
        ];
  const rows = lapic.map((timer) => [
    String(timer.vcpu),
    timer.mode,
    timer.period_ns === undefined ? "-" : time(Number(timer.period_ns) / 1e6),
    timer.tscdeadline === undefined ? "-" : hex(timer.tscdeadline, 1),
    String(timer.pending),
    firesIn(timer),
  ]);
  const columns = [
    { head: "VCPU", align: "right" as const },
    { head: "MODE" },
    { head: "PERIOD", align: "right" as const },
    { head: "TSC DEADLINE", expendable: 1 },
    { head: "PENDING", align: "right" as const },
    { head: "FIRES" },
  ];
  return heading("Timers", registers, view) + table(columns, rows, view);
}

function firesIn({ fires_in_ns: ns }: LapicTimer): string {
  if (ns === undefined) return "-";
  return ns < 0 ? `${time(-ns / 1e6)} late` : `in ${time(ns / 1e6)}`;
}

function renderApicv({ vcpus, inhibits }: Apicv, view: View): string {
  const active = vcpus.filter((vcpu) => vcpu.active).map(({ vcpu }) => vcpu);
  return heading(
    "APICv",
    [
      ["active on", active.length === 0 ? "no vCPU" : `vCPU ${active.join(" ")}`],
      ["inhibited by", inhibits.length === 0 ? "-" : inhibits.join(" ")],
    ],
    view,
  );
}

function renderPosted(posted: readonly Posted[], view: View): string {
  const flag = (on: boolean) => (on ? "1" : "0");
  const rows = posted.map(({ vcpu, pir, on, sn }) => [String(vcpu), flag(on), flag(sn), vectors(pir)]);
  const columns = [
    { head: "VCPU", align: "right" as const },
    { head: "ON" },
    { head: "SN" },
    { head: "PIR" },
  ];
  return heading("Posted interrupts", [], view) + table(columns, rows, view);
}
