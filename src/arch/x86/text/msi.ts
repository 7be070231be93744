import type { MsiResult } from "../../../operations/msi.ts";
import { hex } from "../../../text/format.ts";
import { heading, table } from "../../../text/table.ts";
import type { View } from "../../../text/view.ts";
import { decodeMsi, type MsiMessage } from "../msi.ts";

/** A message on one line: `vector 0x41, fixed, edge, to physical 0x00`. */
export function describeMsi(message: MsiMessage): string {
  const { vector, delivery_mode, trig_mode, dest_mode, dest_id, redirection_hint } = decodeMsi(message);
  const hint = redirection_hint ? ", one of them (hint)" : "";
  return `vector ${hex(vector)}, ${delivery_mode}, ${trig_mode}, to ${dest_mode} ${hex(dest_id)}${hint}`;
}

/** What the bits of a message mean, a row a field. */
export function renderMsi(message: MsiMessage, view: View): string {
  const { address, data } = message;
  const registers = [
    ["address", hex(address, 8)],
    ["data", hex(data, 8)],
  ] as const;
  const rows = Object.entries(decodeMsi(message)).map(([field, value]) => [
    field,
    typeof value === "number" ? hex(value) : String(value),
  ]);
  return heading("MSI", registers, view) + table([{ head: "FIELD" }, { head: "VALUE" }], rows, view);
}

/** What became of a message. */
export function renderMsiResult(result: MsiResult, view: View): string {
  const { paint } = view;
  const some = (value: number, colour: (text: string) => string) =>
    value === 0 ? "0" : colour(String(value));
  return table(
    [
      { head: "ADDRESS" },
      { head: "DATA" },
      { head: "SENT", align: "right" },
      { head: "DELIVERED", align: "right" },
      { head: "COALESCED", align: "right" },
      { head: "IGNORED", align: "right" },
      { head: "MESSAGE", expendable: 1 },
    ],
    [
      [
        hex(result.address, 8),
        hex(result.data, 8),
        String(result.count),
        some(result.delivered, paint.green),
        some(result.coalesced, paint.yellow),
        some(result.ignored, paint.red),
        describeMsi(result),
      ],
    ],
    view,
  );
}
