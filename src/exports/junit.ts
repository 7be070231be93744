import type { Reason, ReportedTest } from "./reported-test.ts";
import { cdata, xmlElement } from "./xml.ts";

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
