import { printable } from "../../abi/printable.ts";
import type { Context } from "../../cli/command.ts";
import { show } from "../../cli/outcome.ts";
import { REPORTS, type ReportFormat } from "../../exports/index.ts";
import type { ReportedTest } from "../../exports/reported-test.ts";
import { plainView } from "../../text/view.ts";
import { INTERRUPTED, type ScriptStep, type StepResult } from "./run-script.ts";

/** Shows a script's steps as they are done, or a report in the end. */
export interface Reporter {
  step(result: StepResult): Promise<void>;
  /** A line that was not run; absent where nobody is told of those. */
  skip?(step: ScriptStep, why: string): void;
  /** @param bailOut why the script was given up, if it was. @returns the report. */
  end(bailOut?: string): Promise<string>;
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

/** A report for CI systems: a test for each `expect`, run or not, and for every other line that failed. */
export function testReporter(format: ReportFormat, label: string): Reporter {
  const tests: ReportedTest[] = [];
  const testOf = ({ place, line: { text }, parsed }: ScriptStep) => ({
    place: printable(place),
    name: printable(text),
    command: parsed.name,
  });
  return {
    async step(result) {
      const { parsed, status, unrun, ms, outcome } = result;
      if (parsed.name !== "expect" && status === 0) return;
      const test = { ...testOf(result), ms };
      if (status === 0) {
        tests.push(test);
        return;
      }
      const details = (await outcome?.text?.(plainView())) ?? "";
      const reason = { message: printable(failureOf(result)), details };
      tests.push({ ...test, ...(unrun || status === INTERRUPTED ? { error: reason } : { failure: reason }) });
    },
    skip(step, why) {
      if (step.parsed.name === "expect") tests.push({ ...testOf(step), ms: 0, skipped: why });
    },
    end: (bailOut) => REPORTS[format]({ label, tests, bailOut }),
  };
}

function failureOf({ parsed, status, error }: StepResult): string {
  if (error !== undefined) return error.message;
  if (status === INTERRUPTED) return "interrupted";
  return parsed.name === "expect" ? "a condition does not hold" : `status ${status}`;
}
