import type { Evidence } from "./evidence.ts";
import type { StageName, StageState } from "./explanation.ts";
import type { Severity } from "./finding.ts";

/** A condition over a reading. What is said of it stands with the words of its code. */
export interface Rule<Subject> {
  /** Stable, for scripts; `docs/findings.md` has a section of that name. */
  code: string;
  level: Levels<Subject>;
  /** Where the manual, or the kernel, says so. */
  ref: string;
  /** @returns what shows that it is so, or nothing when it is not. */
  test(subject: Subject): Evidence[] | false | undefined;
  /** Other codes that it is published under: at a hop, or among the findings. */
  as?: Partial<Record<StageName | "finding", string>>;
}

/** What a rule does to an interrupt at its hop, and how grave it is as a finding. */
interface Levels<Subject> {
  hop?: StageState;
  /** A function of what makes it graver or milder. It gives nothing where the condition is nobody's concern. */
  finding?: Severity | ((subject: Subject) => Severity | undefined);
}

/** A rule as a row. A level that is a word is a hop's. */
export function rule<Subject>(
  code: string,
  level: StageState | Levels<Subject>,
  ref: string,
  test: Rule<Subject>["test"],
  as?: Rule<Subject>["as"],
): Rule<Subject> {
  return { code, level: typeof level === "string" ? { hop: level } : level, ref, test, ...(as && { as }) };
}

/** What one of a hop's rules says of an interrupt. */
export interface Hop {
  code: string;
  state: StageState;
  facts: readonly Evidence[];
}

/** The first rule of a hop that holds decides. The last one of a list always does. */
export function decide<Subject>(name: StageName, rules: readonly Rule<Subject>[], subject: Subject): Hop {
  for (const { code, level, as, test } of rules) {
    const facts = test(subject);
    if (facts) return { code: as?.[name] ?? code, state: level.hop!, facts };
  }
  throw new Error(`no rule holds for ${name}`);
}
