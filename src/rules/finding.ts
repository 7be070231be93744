import type { Advice } from "../abi/advice.ts";
import type { Evidence } from "./evidence.ts";

export type Severity = "error" | "warning" | "info";

/** Something in a VM's interrupt controllers that a person would want to know of. */
export interface Finding<Remedy extends Advice = string> {
  /** Stable, for scripts. */
  code: string;
  severity: Severity;
  /** What it is about: two findings are the same one when their codes and subjects are. */
  subject: string;
  /** What is the matter, in one sentence without a full stop. */
  sentence: string;
  /** The fields that say so, as paths. */
  evidence: string;
  remedy: Remedy;
  /** Where the documentation tells more. */
  anchor: string;
}

/** A finding whose remedy does not say yet which VM it is for, with the facts that it rests on. */
export type FindingDraft = Omit<Finding<Advice>, "anchor"> & { facts: readonly Evidence[] };
