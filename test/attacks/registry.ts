import { has } from "../support/commands.ts";
import type { Attack } from "./attack.ts";
import { FAULT_ATTACKS } from "./faults.ts";
import { FILE_ATTACKS } from "./files.ts";
import { KILL_ATTACKS } from "./kills.ts";
import { LINE_ATTACKS } from "./lines.ts";
import { NAME_ATTACKS } from "./names.ts";
import { SESSION_ATTACKS } from "./sessions.ts";
import { TRACEE_ATTACKS } from "./tracees.ts";

/** What measures each call is compiled first. */
const noCompiler = !has("cc") && "that takes a C compiler";

/** Every attack, in the order in which they are run. */
export const ATTACKS: readonly Attack[] = [
  ...FILE_ATTACKS,
  ...LINE_ATTACKS,
  ...NAME_ATTACKS,
  ...SESSION_ATTACKS,
  ...FAULT_ATTACKS,
  ...KILL_ATTACKS,
  ...TRACEE_ATTACKS,
].map((attack) => ({ ...attack, lacking: noCompiler || attack.lacking }));
