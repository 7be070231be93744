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

export interface Reason {
  message: string;
  details: string;
}
