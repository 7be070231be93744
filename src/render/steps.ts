/** A step of a script that counts as a test, as reports for CI have it. */
export interface ReportedTest {
  /** `file:line`. */
  place: string;
  /** The line as it was written. */
  name: string;
  /** The command's name. */
  command: string;
  ms: number;
  /** Why it failed; absent when it passed. */
  failure?: { message: string; details: string };
}

/**
 * TAP version 13, a line a test: all of it is in version 14 too, which Perl's `prove` does not know.
 *
 * @returns the whole report.
 */
export function renderTap(tests: readonly ReportedTest[]): string {
  const lines = ["TAP version 13", `1..${tests.length}`];
  tests.forEach(({ place, name, ms, failure }, index) => {
    const title = `${place} ${name}`.replaceAll("\\", "\\\\").replaceAll("#", "\\#");
    lines.push(
      `${failure === undefined ? "ok" : "not ok"} ${index + 1} - ${title} # time=${ms.toFixed(3)}ms`,
    );
    if (failure === undefined) return;
    lines.push("  ---", `  message: ${JSON.stringify(failure.message)}`);
    if (failure.details !== "") {
      // A list of lines: readers of TAP know little of YAML.
      const quoted = failure.details
        .trimEnd()
        .split("\n")
        .map((line) => `    - ${JSON.stringify(line)}`);
      lines.push("  details:", ...quoted);
    }
    lines.push("  ...");
  });
  return `${lines.join("\n")}\n`;
}

/** JUnit's XML, as CI systems read it: one suite, a test case a step. */
export async function renderJunit(suiteName: string, tests: readonly ReportedTest[]): Promise<string> {
  const { default: report } = await import("junit-report-builder");
  // Its types are those of an ES module, which it is not: the builder is the module itself.
  const builder = (report as unknown as typeof report.default).newBuilder();
  const suite = builder.testSuite().name(suiteName);
  for (const { place, name, command, ms, failure } of tests) {
    const test = suite
      .testCase()
      .className(command)
      .name(`${place} ${name}`)
      .time(Number((ms / 1000).toFixed(6)));
    if (failure !== undefined) test.failure(failure.message).stacktrace(failure.details);
  }
  return `${builder.build()}\n`;
}
