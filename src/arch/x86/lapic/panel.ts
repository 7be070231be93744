import { hasBit } from "../../../abi/bits.ts";
import { hex, vectors } from "../../../text/format.ts";
import { heading, table } from "../../../text/table.ts";
import type { View } from "../../../text/view.ts";
import { DELIVERY_MODES } from "../../ioapic-layout.ts";
import { APIC_BASE_ENABLE_BIT, APIC_BASE_X2APIC_BIT, type VcpuState } from "../vcpu/layout.ts";
import { type LapicState, LVT_MASK_BIT, lvtMode, SVR_ENABLE_BIT } from "./layout.ts";

/** The corrected-machine-check entry is the seventh, which many local APICs lack. */
const CMCI_ENTRY = 6;
/** Delivery modes that a local vector table entry can have, as the manual spells them. */
const LVT_MODES = { fixed: "fixed", smi: "SMI", nmi: "NMI", init: "INIT", extint: "ExtINT" } as const;
/** Modes of the timer, bits 17 and 18 of its entry. */
const TIMER_MODES = ["one-shot", "periodic", "TSC-deadline", "mode 3"] as const;

/** A local APIC: what is pending and in service, then its registers. */
export function renderLapic(lapic: LapicState, vcpu: VcpuState | undefined, view: View): string {
  const { paint } = view;
  const x2apic = vcpu !== undefined && hasBit(vcpu.apic_base, APIC_BASE_X2APIC_BIT);
  const enabled = hasBit(lapic.svr, SVR_ENABLE_BIT);
  const off = vcpu !== undefined && !hasBit(vcpu.apic_base, APIC_BASE_ENABLE_BIT);
  const registers = [
    ["id", String(x2apic ? lapic.vcpu : lapic.id >>> 24)],
    ...(vcpu === undefined ? [] : [["mode", off ? paint.red("off") : x2apic ? "x2APIC" : "xAPIC"] as const]),
    ["SVR", `${hex(lapic.svr, 3)} ${enabled ? "enabled" : paint.red("software-disabled")}`],
    ["TPR", hex(lapic.tpr)],
    ["PPR", hex(lapic.ppr)],
    ["LDR", hex(lapic.ldr, 8)],
    ["DFR", hex(lapic.dfr, 8)],
    ["ESR", hex(lapic.esr)],
  ] as const;
  const list = (name: string, list: readonly number[], colour: (text: string) => string) => [
    name,
    list.length === 0 ? vectors(list) : colour(vectors(list)),
  ];
  const rows = [
    list("IRR", lapic.irr, paint.yellow),
    list("ISR", lapic.isr, paint.magenta),
    list("TMR", lapic.tmr, (text) => text),
    ["LINT0", localVector(lapic.lvt_lint0, view)],
    ["LINT1", localVector(lapic.lvt_lint1, view)],
    ["timer", timer(lapic, view)],
    ["error", localVector(lapic.lvt_error, view)],
    ["thermal", localVector(lapic.lvt_thermal, view)],
    ["perf", localVector(lapic.lvt_perf, view)],
    ...(lvtEntries(lapic) > CMCI_ENTRY ? [["CMCI", localVector(lapic.lvt_cmci, view)]] : []),
    ["ICR", `${hex(lapic.icr2, 8)} ${hex(lapic.icr, 8)}`],
  ];
  return (
    heading(`LAPIC of vCPU ${lapic.vcpu}`, registers, view) +
    table([{ head: "REGISTER" }, { head: "VALUE" }], rows, view)
  );
}

/** The version register counts the entries of the local vector table, less one, in bits 16 to 23. */
function lvtEntries({ version }: LapicState): number {
  return ((version >>> 16) & 0xff) + 1;
}

function localVector(entry: number, { paint }: View): string {
  const code = lvtMode(entry);
  const mode = (LVT_MODES as Record<string, string>)[DELIVERY_MODES[code]!] ?? `mode ${code}`;
  const state = hasBit(entry, LVT_MASK_BIT) ? paint.red("masked") : paint.green("open");
  return `${hex(entry, 5)}  ${mode === "fixed" ? `vector ${hex(entry & 0xff)}` : mode}, ${state}`;
}

function timer(lapic: LapicState, view: View): string {
  const mode = TIMER_MODES[(lapic.lvt_timer >>> 17) & 3]!;
  return `${localVector(lapic.lvt_timer, view)}, ${mode}, ${counting(mode, lapic)}`;
}

function counting(mode: (typeof TIMER_MODES)[number], { timer_initial, timer_current }: LapicState): string {
  // The counts have no part in it, and KVM_GET_LAPIC does not tell the deadline.
  if (mode === "TSC-deadline") return "armed by IA32_TSC_DEADLINE, which is not read";
  return timer_initial === 0 ? "stopped" : `${hex(timer_current)} of ${hex(timer_initial)}`;
}
