import { numberArg } from "../../../tracefs/event.ts";
import type { Events } from "../../arch.ts";
import { ChainJoiner } from "../lives/chains.ts";
import { record } from "./record.ts";
import { detailOf, rowOf } from "./rows.ts";
import { ScopeFilter } from "./scope.ts";

/** The tracepoints of PICs, IOAPIC and local APICs. */
export const events: Events = {
  record: ({ scope, ...options }, onEvent) => record({ ...options, ...scope }, onEvent),
  filter: (scope) => new ScopeFilter(scope),
  joiner: (onChain) => new ChainJoiner(onChain),
  detail: detailOf,
  lineOf: (event) =>
    rowOf(event)?.part === "line"
      ? { gsi: numberArg(event, "gsi"), level: numberArg(event, "level") }
      : undefined,
};
