import { TRACES } from "../../exports/index.ts";

/** The words of `--format`. */
export const TRACE_FORMATS = ["table", ...(Object.keys(TRACES) as (keyof typeof TRACES)[])] as const;
/** What a trace can be turned into. */
export type TraceFormat = (typeof TRACE_FORMATS)[number];

/** What `trace` was asked for, as the command line has it. */
export interface TraceOptions {
  /** Milliseconds. */
  for?: number;
  all?: true;
  gsi?: number[];
  vector?: number[];
  format?: TraceFormat;
  output?: string;
  from?: string;
  statsOnly?: true;
  bufferKb?: number;
}
