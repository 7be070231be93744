import { printable } from "../abi/printable.ts";
import type { Examination } from "../rules/doctor.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** What was looked at, a row each, then the verdict. */
export function renderExamination({ usable, checks }: Examination, view: View): string {
  const { paint } = view;
  const words = { ok: paint.green("ok"), warning: paint.yellow("warning"), failed: paint.red("failed") };
  const rows = checks.flatMap(({ id, status, what, remedy }) => [
    [id, words[status], printable(what)],
    ...(remedy === undefined ? [] : [["", "", paint.dim(`-> ${printable(remedy)}`)]]),
  ]);
  const verdict = usable
    ? paint.green("This host can run VMs with KVM's interrupt controllers.")
    : paint.red(
        "This host can't run VMs with KVM's interrupt controllers; the software model works: --backend model",
      );
  return `${table([{ head: "CHECK" }, { head: "STATUS" }, { head: "" }], rows, view)}\n${verdict}\n`;
}
