import { KvmIrqError } from "../../abi/error.ts";
import { MAX_ROUTES } from "../../vm/routing.ts";
import type { Lines } from "../arch.ts";
import { IOAPIC_NUM_PINS } from "./ioapic/layout.ts";

const COUNT = IOAPIC_NUM_PINS;
const DESCRIPTION = "0-15 reach the PICs and the IOAPIC, 16-23 the IOAPIC alone";

/** GSIs by number. */
export const LINES: Lines = {
  count: COUNT,
  description: DESCRIPTION,
  /** Those that no routing can have are refused here; whether the VM's takes the others somewhere, it says itself. */
  parse(word) {
    const match = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(word);
    const hint = `GSIs are 0 to ${COUNT - 1}: ${DESCRIPTION}; ranges are written 10-12`;
    if (match === null) throw new KvmIrqError("bad-gsi", `${JSON.stringify(word)} is not a GSI`, { hint });
    const from = Number(match[1]);
    const to = Number(match[2] ?? from);
    if (from > to) {
      throw new KvmIrqError("bad-gsi", `the range ${word} runs backwards`, { hint: `write ${to}-${from}` });
    }
    if (to >= MAX_ROUTES) throw new KvmIrqError("bad-gsi", `GSI ${to} is not routed`, { hint });
    return Array.from({ length: to - from + 1 }, (_, n) => from + n);
  },
};
