import { cdata, xmlElement } from "../abi/xml.ts";

/** A step of a script that counts as a test, as reports for CI have it. */
export interface ReportedTest {
  /** `file:line`. */
  place: string;
  /** The line as it was written. */
  name: string;
  /** The command's name. */
  command: string;
  ms: number;
  /** Why it failed. With neither this nor one of the next two it passed. */
  failure?: Reason;
  /** Why it came to no result. */
  error?: Reason;
  /** Why it was not run. */
  skipped?: string;
}

interface Reason {
  message: string;
  details: string;
}

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

/** JUnit's XML, as CI systems read it: one suite, a test case a step. */
export function renderJunit(suiteName: string, tests: readonly ReportedTest[]): string {
  const counts = {
    tests: tests.length,
    failures: tests.filter(({ failure }) => failure !== undefined).length,
    errors: tests.filter(({ error }) => error !== undefined).length,
    skipped: tests.filter(({ skipped }) => skipped !== undefined).length,
  };
  const cases = tests.map((test) => `    ${testCase(test)}\n`);
  const suite = xmlElement("testsuite", { name: suiteName, ...counts }, "\n", ...cases, "  ");
  return `<?xml version="1.0" encoding="UTF-8"?>\n${xmlElement("testsuites", counts, "\n  ", suite, "\n")}\n`;
}

function testCase({ place, name, command, ms, failure, error, skipped }: ReportedTest): string {
  const results = [
    failure && reason("failure", failure),
    error && reason("error", error),
    skipped !== undefined && xmlElement("skipped", {}),
  ].filter((result) => typeof result === "string");
  const attributes = { classname: command, name: `${place} ${name}`, time: Number((ms / 1000).toFixed(6)) };
  return xmlElement(
    "testcase",
    attributes,
    ...results.map((result) => `\n      ${result}`),
    ...(results.length > 0 ? ["\n    "] : []),
  );
}

function reason(kind: "failure" | "error", { message, details }: Reason): string {
  return xmlElement(kind, { message }, cdata(details));
}
