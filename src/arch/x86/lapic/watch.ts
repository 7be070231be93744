import { hasBit } from "../../../abi/bits.ts";
import { hex, vectors } from "../../../text/format.ts";
import { tableLines } from "../../../text/table.ts";
import type { Marks } from "../../arch.ts";
import { type LapicRegister, type LapicState, SVR_ENABLE_BIT } from "./layout.ts";

/** The registers beside IRR and ISR that decide, or are read when something is wrong. */
const FURTHER: readonly (readonly [head: string, register: LapicRegister, digits: number])[] = [
  ["LINT0", "lvt_lint0", 5],
  ["LINT1", "lvt_lint1", 5],
  ["TIMER", "lvt_timer", 5],
  ["ERROR", "lvt_error", 5],
  ["LDR", "ldr", 8],
  ["DFR", "dfr", 8],
  ["ESR", "esr", 2],
  ["ICR", "icr", 8],
];

/** The local APICs, a row each: priorities, and what is in service and pending. */
export function lapicSummary(lapics: readonly LapicState[], { view, mark }: Marks): string[] {
  const rows = lapics.map((lapic) => {
    const path = (field: string) => `lapic[${lapic.vcpu}].${field}`;
    const enabled = hasBit(lapic.svr, SVR_ENABLE_BIT);
    return [
      `lapic[${lapic.vcpu}]`,
      mark(enabled ? view.paint.green("on") : view.paint.red("off"), path("svr")),
      mark(hex(lapic.tpr), path("tpr")),
      mark(hex(lapic.ppr), path("ppr")),
      mark(vectors(lapic.isr), path("isr")),
      mark(vectors(lapic.irr), path("irr")),
    ];
  });
  return tableLines([{ head: "CHIP" }, ...heads(["SVR", "TPR", "PPR", "ISR", "IRR"])], rows, view);
}

/** The local APICs with further registers, a second row each. */
export function lapicPanel(lapics: readonly LapicState[], marks: Marks): string[] {
  const { view, mark } = marks;
  const rows = lapics.map((lapic) => [
    `lapic[${lapic.vcpu}]`,
    ...FURTHER.map(([, register, digits]) =>
      mark(hex(lapic[register], digits), `lapic[${lapic.vcpu}].${register}`),
    ),
    mark(vectors(lapic.tmr), `lapic[${lapic.vcpu}].tmr`),
  ]);
  // What is looked at least goes first when the terminal is narrow.
  const columns = heads([...FURTHER.map(([head]) => head), "TMR"]).map(({ head }) =>
    head === "DFR" || head === "ICR" ? { head, expendable: 1 } : { head },
  );
  const further = tableLines([{ head: "CHIP" }, ...columns], rows, view);
  return [...lapicSummary(lapics, marks), "", ...further];
}

function heads(names: readonly string[]): { head: string }[] {
  return names.map((head) => ({ head }));
}
