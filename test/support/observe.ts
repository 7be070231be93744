import { diagnosis } from "../../src/arch/x86/diagnosis.ts";
import { ROUTING } from "../../src/arch/x86/routing.ts";
import { observe as observeBy } from "../../src/rules/observe.ts";

/** `observe`, of an x86 VM. */
export const observe = observeBy.bind(undefined, { routing: ROUTING, diagnosis });
