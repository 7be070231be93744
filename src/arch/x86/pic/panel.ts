import { hex } from "../../../text/format.ts";
import { heading, table } from "../../../text/table.ts";
import type { View } from "../../../text/view.ts";
import { CASCADE_PIN, type PicState } from "./layout.ts";

/**
 * An 8259, a row an input.
 *
 * @param gsis the GSIs that go to an input, as text.
 */
export function renderPic(
  name: string,
  role: string,
  pic: PicState,
  gsis: (input: number) => string,
  view: View,
): string {
  const registers = [
    ["base", hex(pic.irq_base)],
    ["IMR", hex(pic.imr)],
    ["IRR", hex(pic.irr)],
    ["ISR", hex(pic.isr)],
    ["ELCR", hex(pic.elcr)],
    ...Object.entries(modes(pic)).map(([mode, value]) => [mode, value] as const),
  ] as const;
  const rows = Array.from({ length: 8 }, (_, input) => {
    const bit = 1 << input;
    const cascade = role === "master" && input === CASCADE_PIN;
    return [
      `IR${input}`,
      cascade ? "slave" : gsis(input),
      hex((pic.irq_base & 0xf8) | input),
      (pic.elcr & bit) === 0 ? "edge" : "level",
      (pic.last_irr & bit) === 0 ? "low" : "high",
      inputState(pic, bit, view),
    ];
  });
  return (
    heading(`${name} (${role})`, registers, view) +
    table(
      [
        { head: "INPUT" },
        { head: "GSI", align: "right" },
        { head: "VECTOR" },
        { head: "TRIGGER", expendable: 1 },
        { head: "LINE", expendable: 2 },
        { head: "STATE" },
      ],
      rows,
      view,
    )
  );
}

/** What is going on at an input. @param bit the one that the input has in the registers. */
export function inputState(pic: PicState, bit: number, { paint }: View): string {
  const words = [
    (pic.isr & bit) !== 0 && paint.magenta("in service"),
    (pic.irr & bit) !== 0 && paint.yellow("pending"),
    (pic.imr & bit) !== 0 && paint.red("masked"),
  ].filter((word) => word !== false);
  return words.length === 0 ? paint.dim("open") : words.join(", ");
}

/** Registers that are zero in everyday life: shown when they are not. */
function modes(pic: PicState): Record<string, string> {
  const shown: Record<string, string> = {};
  if (pic.priority_add !== 0) shown["lowest-priority"] = `IR${(pic.priority_add + 7) & 7}`;
  if (pic.auto_eoi !== 0) shown["auto-EOI"] = pic.rotate_on_auto_eoi === 0 ? "on" : "rotating";
  if (pic.special_mask !== 0) shown["special-mask"] = "on";
  if (pic.special_fully_nested_mode !== 0) shown["special-fully-nested"] = "on";
  if (pic.init_state !== 0) shown["init"] = `waits for ICW${pic.init_state + 1}`;
  if (pic.poll !== 0) shown["poll"] = "on";
  return shown;
}
