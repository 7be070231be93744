import { printable } from "../abi/printable.ts";
import type { Verdict } from "../rules/expect.ts";
import { value } from "./format.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** What was wanted beside what was found, a row a field. */
export function renderVerdicts(verdicts: readonly Verdict[], view: View): string {
  const { paint } = view;
  return table(
    [{ head: "" }, { head: "FIELD" }, { head: "WANTED" }, { head: "FOUND" }],
    verdicts.map(({ path, operator, wanted, found, met }) => [
      met ? paint.green("ok") : paint.red("not ok"),
      path,
      printable(`${operator} ${wanted}`),
      met ? value(found) : paint.red(value(found)),
    ]),
    view,
  );
}
