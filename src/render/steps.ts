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
export async function renderJunit(suiteName: string, tests: readonly ReportedTest[]): Promise<string> {
  const { default: report } = await import("junit-report-builder");
  // Its types are those of an ES module, which it is not: the builder is the module itself.
  const builder = (report as unknown as typeof report.default).newBuilder();
  const suite = builder.testSuite().name(suiteName);
  for (const { place, name, command, ms, failure, error, skipped } of tests) {
    const test = suite
      .testCase()
      .className(command)
      .name(`${place} ${name}`)
      .time(Number((ms / 1000).toFixed(6)));
    if (failure !== undefined) test.failure(failure.message).stacktrace(failure.details);
    if (error !== undefined) test.error(error.message, undefined, error.details);
    if (skipped !== undefined) test.skipped();
  }
  return `${builder.build()}\n`;
}
