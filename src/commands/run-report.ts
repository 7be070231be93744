import type { ReportedTest } from "../render/steps.ts";
import { plainView } from "../render/view.ts";
import type { Context } from "./command.ts";
import type { StepResult } from "./run-script.ts";
import { show } from "./show.ts";

/** Shows a script's steps as they are done, or a report in the end. */
export interface Reporter {
  step(result: StepResult): Promise<void>;
  end(): Promise<string>;
}

/** What the commands themselves would show, then what failed and where. */
export function textReporter(context: Context, quiet: boolean): Reporter {
  return {
    async step(result) {
      const { outcome } = result;
      if (outcome !== undefined && !(quiet && result.status === 0)) await show(outcome, result.context);
      if (result.status === 0) return;
      context.notice(`${result.place}: ${result.line.text}: ${failureOf(result)}`);
      if (result.error?.hint !== undefined) context.notice(`hint: ${result.error.hint}`);
    },
    end: async () => "",
  };
}

/** One object a line, with the command, its result and its time. */
export function jsonReporter(context: Context): Reporter {
  return {
    async step({ line, status, outcome, error, ms }) {
      const result = { line: line.number, command: line.words, status, ms: Number(ms.toFixed(3)) };
      const rest = error === undefined ? { result: outcome?.json } : { error };
      context.write(`${JSON.stringify({ ...result, ...rest })}\n`);
    },
    end: async () => "",
  };
}

/** A report for CI systems: a test for each `expect`, and for every other line that failed. */
export function testReporter(format: "tap" | "junit", label: string): Reporter {
  const tests: ReportedTest[] = [];
  return {
    async step(result) {
      if (result.command !== "expect" && result.status === 0) return;
      const { place, line, command, ms, outcome } = result;
      const test = { place, name: line.text, command, ms };
      if (result.status === 0) tests.push(test);
      else {
        const details = (await outcome?.text?.(plainView())) ?? "";
        tests.push({ ...test, failure: { message: failureOf(result), details } });
      }
    },
    async end() {
      const { renderJunit, renderTap } = await import("../render/steps.ts");
      return format === "tap" ? renderTap(tests) : renderJunit(label, tests);
    },
  };
}

function failureOf({ command, status, error }: StepResult): string {
  if (error !== undefined) return error.message;
  return command === "expect" ? "a condition does not hold" : `status ${status}`;
}
