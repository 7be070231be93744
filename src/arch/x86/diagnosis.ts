import type { Diagnosis } from "../arch.ts";
import { risenGsis } from "./edges.ts";
import { isPaused, mayRun } from "./explain/context.ts";
import { explainAll, explainGsi } from "./explain/explain.ts";
import { findings } from "./explain/findings.ts";
import type { Chips } from "./state.ts";

/** What Intel's manuals and the 8259's data sheet say about a state. */
export const diagnosis: Diagnosis<Chips> = {
  explain: explainGsi,
  explainAll,
  findings,
  risen: risenGsis,
  mayRun,
  isPaused,
};
