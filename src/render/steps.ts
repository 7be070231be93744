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
 * TAP version 14, a line a test.
 *
 * @returns the whole report.
 */
export function renderTap(tests: readonly ReportedTest[]): string {
  const lines = ["TAP version 14", `1..${tests.length}`];
  tests.forEach(({ place, name, ms, failure }, index) => {
    const title = `${place} ${name}`.replaceAll("\\", "\\\\").replaceAll("#", "\\#");
    lines.push(
      `${failure === undefined ? "ok" : "not ok"} ${index + 1} - ${title} # time=${ms.toFixed(3)}ms`,
    );
    if (failure === undefined) return;
    lines.push("  ---", `  message: ${JSON.stringify(failure.message)}`);
    if (failure.details !== "") {
      lines.push(
        // The 2 says how far it is indented: its first line may be more so.
        "  details: |2",
        ...failure.details
          .trimEnd()
          .split("\n")
          .map((line) => `    ${line}`),
      );
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
