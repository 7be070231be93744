import type { Reason, ReportedTest } from "./reported-test.ts";

/**
 * TAP version 13, a line a test: all of it is in version 14 too, which Perl's `prove` does not know.
 *
 * @param bailOut why the script was given up, if it was.
 * @returns the whole report.
 */
export function renderTap(tests: readonly ReportedTest[], bailOut?: string): string {
  const lines = ["TAP version 13", `1..${tests.length}`];
  tests.forEach(({ place, name, ms, failure, error, skipped }, index) => {
    const title = `${place} ${name}`.replaceAll("\\", "\\\\").replaceAll("#", "\\#");
    const reason = failure ?? error;
    const note = skipped === undefined ? `time=${ms.toFixed(3)}ms` : `SKIP ${skipped}`;
    lines.push(`${reason === undefined ? "ok" : "not ok"} ${index + 1} - ${title} # ${note}`);
    if (reason !== undefined) lines.push(...diagnostics(reason));
  });
  if (bailOut !== undefined) lines.push(`Bail out! ${bailOut}`);
  return `${lines.join("\n")}\n`;
}

function diagnostics({ message, details }: Reason): string[] {
  // A list of lines: readers of TAP know little of YAML.
  const quoted = details
    .trimEnd()
    .split("\n")
    .map((line) => `    - ${JSON.stringify(line)}`);
  return [
    "  ---",
    `  message: ${JSON.stringify(message)}`,
    ...(details === "" ? [] : ["  details:", ...quoted]),
    "  ...",
  ];
}
