import { hex } from "../../../text/format.ts";
import { heading, table } from "../../../text/table.ts";
import type { View } from "../../../text/view.ts";
import type { IoapicState, RedirectionEntry } from "./layout.ts";

/** An IOAPIC, a row a pin. */
export function renderIoapic(ioapic: IoapicState, view: View): string {
  const registers = [
    ["id", String(ioapic.id & 0xf)],
    ["base", hex(ioapic.base_address, 8)],
    ["IRR", hex(ioapic.irr, 6)],
    ["IOREGSEL", hex(ioapic.ioregsel)],
  ] as const;
  return (
    heading("IOAPIC", registers, view) +
    table(
      [
        { head: "PIN", align: "right" },
        { head: "VECTOR" },
        { head: "DELIVERY", expendable: 1 },
        { head: "DESTINATION" },
        { head: "TRIGGER" },
        { head: "POLARITY", expendable: 3 },
        { head: "STATE" },
      ],
      ioapic.redirtbl.map((entry, pin) => {
        // irr has 32 bits: for the further pins of ia64 it can't be told.
        const irr = pin < 32 && ((ioapic.irr >>> pin) & 1) === 1;
        return [
          String(pin),
          hex(entry.vector),
          entry.delivery_mode,
          `${entry.dest_mode} ${hex(entry.dest_id)}`,
          entry.trig_mode,
          entry.polarity,
          pinState(entry, irr, view),
        ];
      }),
      view,
    )
  );
}

function pinState(entry: RedirectionEntry, irr: boolean, { paint }: View): string {
  const words = [
    entry.remote_irr && paint.magenta("waits for EOI (remote IRR)"),
    irr && paint.yellow(entry.trig_mode === "level" ? "line high (IRR)" : "pending (IRR)"),
    entry.delivery_status === "pending" && paint.yellow("send pending"),
    entry.mask && paint.red("masked"),
    entry.reserved !== undefined && paint.yellow(`reserved bits ${hex(entry.reserved)}`),
  ].filter((word) => word !== false);
  return words.length === 0 ? paint.green("open") : words.join(", ");
}
