import type { Advice } from "../abi/advice.ts";
import { listed } from "../abi/bits.ts";
import type { Evidence } from "../rules/evidence.ts";
import type { StageDraft, StageName } from "../rules/explanation.ts";
import type { FindingDraft } from "../rules/finding.ts";
import { decide, type Rule } from "../rules/rule.ts";

type Say<Subject, T> = T | ((subject: Subject, facts: readonly Evidence[]) => T);

/** What is said where a rule's condition holds; what depends on its subject is a function. */
export interface Words<Subject> {
  /** What is the matter: a clause for a hop, a sentence for a finding. */
  text: Say<Subject, string>;
  /** Where that is read from. When not given: the facts, one after the other. */
  evidence?: Say<Subject, string>;
  until?: Say<Subject, string>;
  note?: Say<Subject, string>;
  remedy?: Say<Subject, Advice | undefined>;
}

/** Words by the code that is published. */
export type WordsByCode<Subject> = Readonly<Record<string, Words<Subject>>>;

/** A kind of hop: the rules that decide about it, and their words. */
export interface HopTable<Subject> {
  name: StageName;
  rules: readonly Rule<Subject>[];
  words: WordsByCode<Subject>;
}

/** What a table has to say of a subject. */
export function stageOf<Subject>({ name, rules, words }: HopTable<Subject>, subject: Subject): StageDraft {
  const { code, state, facts } = decide(name, rules, subject);
  return { name, state, code, facts, ...say(words[code]!, subject, facts) };
}

/** Rules that look for what is wrong in all subjects of their kind. */
export interface FindingTable<Vm> {
  rules: readonly Omit<Rule<never>, "test" | "level">[];
  words: Readonly<Record<string, object>>;
  /** The codes that they are published under. */
  codes: readonly string[];
  find(vm: Vm): FindingDraft[];
}

/** @param subjectsOf what the rules are put to. @param nameOf what tells one of them from another. */
export function findingTable<Vm, Subject>(
  subjectsOf: (vm: Vm) => readonly Subject[],
  nameOf: (subject: Subject, facts: readonly Evidence[]) => string,
  rules: readonly Rule<Subject>[],
  words: WordsByCode<Subject>,
): FindingTable<Vm> {
  const find = (subject: Subject, { code, as, level: { finding }, test }: Rule<Subject>): FindingDraft[] => {
    const facts = test(subject);
    const severity = facts && (typeof finding === "function" ? finding(subject) : finding);
    if (!facts || !severity) return [];
    const published = as?.["finding"] ?? code;
    const { text, evidence, remedy = "" } = say(words[published]!, subject, facts);
    return [
      { code: published, severity, subject: nameOf(subject, facts), facts, sentence: text, evidence, remedy },
    ];
  };
  return {
    rules,
    words,
    codes: rules.map(({ code, as }) => as?.["finding"] ?? code),
    find(vm) {
      const subjects = subjectsOf(vm);
      return rules.flatMap((rule) => subjects.flatMap((subject) => find(subject, rule)));
    },
  };
}

type Said = Pick<StageDraft, "text" | "evidence" | "until" | "note" | "remedy">;

function say<Subject>(words: Words<Subject>, subject: Subject, facts: readonly Evidence[]): Said {
  const said: Said & Record<string, unknown> = { text: "", evidence: "" };
  for (const [part, what] of Object.entries(words)) {
    const value: unknown = typeof what === "function" ? what(subject, facts) : what;
    if (value !== undefined) said[part] = value;
  }
  if (words.evidence === undefined) said.evidence = evidenceText(facts);
  return said;
}

/**
 * Evidence in words: "pic1.imr = 0x10 (bit 4 set), pic1.elcr bit 4 clear". Facts about one field that follow each
 * other are told together.
 *
 * @param brief whether a field of the structure that was named last goes without its name.
 */
export function evidenceText(facts: readonly Evidence[], { brief = false } = {}): string {
  const groups: { path: string; facts: Evidence[] }[] = [];
  for (const fact of facts) {
    const last = groups.at(-1);
    if (last?.path === fact.path) last.facts.push(fact);
    else groups.push({ path: fact.path, facts: [fact] });
  }
  return groups
    .map(({ path, facts }, n) => {
      const [, parent, name] = /^(.*)\.(\w+)$/.exec(path) ?? [];
      const short = brief && parent !== undefined && groups[n - 1]?.path.startsWith(`${parent}.`);
      return `${short ? name : path}${claims(facts)}`;
    })
    .join(", ");
}

/** What is claimed of one field. */
function claims(facts: readonly Evidence[]): string {
  const of = (wanted: Evidence["operator"]) => facts.filter(({ operator }) => operator === wanted);
  const list = (some: readonly Evidence[]) => listed(some.map(({ value }) => String(value)));
  const bits = (["&", "!&"] as const).flatMap((operator) => {
    const some = of(operator);
    const word = operator === "&" ? "set" : "clear";
    return some.length === 0 ? [] : [`bit${some.length === 1 ? "" : "s"} ${list(some)} ${word}`];
  });
  const [value] = of("=");
  if (value !== undefined) return ` = ${value.value}${bits.length === 0 ? "" : ` (${bits.join(", ")})`}`;
  if (bits.length > 0) return ` ${bits.join(", ")}`;
  const [first] = facts;
  return first?.operator === "missing" ? " is missing" : ` ${first?.operator} ${list(facts)}`;
}
