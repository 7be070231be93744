import type { MsiFormat } from "../arch/arch.ts";
import type { MsiResult } from "../operations/msi.ts";
import type { MsiMessage } from "../vm/routing.ts";
import { hex, some } from "./format.ts";
import { heading, table } from "./table.ts";
import type { View } from "./view.ts";

/** What the bits of a message mean, a row a field. */
export function renderMsi(message: MsiMessage, format: MsiFormat<object>, view: View): string {
  const { address, data } = message;
  const registers = [
    ["address", hex(address, 8)],
    ["data", hex(data, 8)],
  ] as const;
  const rows = Object.entries(format.decode(message)).map(([field, value]) => [
    field,
    typeof value === "number" ? hex(value) : String(value),
  ]);
  return heading("MSI", registers, view) + table([{ head: "FIELD" }, { head: "VALUE" }], rows, view);
}

/** What became of a message. */
export function renderMsiResult(result: MsiResult, { describe }: MsiFormat<object>, view: View): string {
  const { paint } = view;
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
        describe(result),
      ],
    ],
    view,
  );
}
