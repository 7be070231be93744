import type { Attack } from "./attack.ts";
import { FILE_ATTACKS } from "./files.ts";

/** Every attack, in the order in which they are run. */
export const ATTACKS: readonly Attack[] = [...FILE_ATTACKS];
