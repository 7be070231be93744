import { hex } from "../../../text/format.ts";
import { tableLines } from "../../../text/table.ts";
import type { Marks } from "../../arch.ts";
import { CASCADE_PIN, type PicField, type PicState } from "./layout.ts";
import { inputState } from "./panel.ts";

type PicName = "pic1" | "pic2";

/** Registers with a bit for each input, in the order in which an interrupt passes them. */
const BIT_REGISTERS = [
  ["LINE", "last_irr"],
  ["IRR", "irr"],
  ["ISR", "isr"],
  ["IMR", "imr"],
  ["ELCR", "elcr"],
] as const;

/** Both PICs, a row each: the inputs whose bit is set by number, a dot for each of the others. */
export function picSummary(pics: readonly (readonly [PicName, PicState])[], { view, mark }: Marks): string[] {
  const head = ["CHIP", "BASE", ...BIT_REGISTERS.map(([name]) => name)].map((name) => ({ head: name }));
  const rows = pics.map(([name, pic]) => [
    name,
    mark(hex(pic.irq_base), `${name}.irq_base`),
    ...BIT_REGISTERS.map(([, field]) => mark(inputs(pic[field]), `${name}.${field}`)),
  ]);
  return tableLines(head, rows, view);
}

/** One PIC, a row an input. */
export function picPanel(name: PicName, pic: PicState, marks: Marks): string[] {
  const { view, mark, edges, gsis } = marks;
  const registers = (["irq_base", "irr", "isr", "imr", "elcr", "priority_add"] as const).map(
    (field) => `${field} ${mark(hex(pic[field]), `${name}.${field}`)}`,
  );
  const rows = Array.from({ length: 8 }, (_, input) => {
    const has = (field: PicField) => ((pic[field] >>> input) & 1) === 1;
    const cascade = name === "pic1" && input === CASCADE_PIN;
    return [
      `IR${input}`,
      cascade ? "slave" : gsis(name, input),
      hex((pic.irq_base & 0xf8) | input),
      has("elcr") ? "level" : "edge",
      has("last_irr") ? "high" : "low",
      cascade ? "-" : edges(name, input),
      inputState(pic, 1 << input, view),
    ];
  });
  const columns = ["INPUT", "GSI", "VECTOR", "TRIGGER", "LINE", "EDGES", "STATE"];
  return [
    `${view.paint.bold.cyan(name)}  ${registers.join("  ")}`,
    ...tableLines(columns.map(rightIfNumber), rows, view),
  ];
}

function rightIfNumber(head: string) {
  return head === "GSI" || head === "EDGES" ? { head, align: "right" as const } : { head };
}

function inputs(bits: number): string {
  return Array.from({ length: 8 }, (_, input) => ((bits >>> input) & 1 ? String(input) : ".")).join("");
}
