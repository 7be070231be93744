import { expect, it } from "vitest";
import { events } from "../../../src/arch/x86/events/facet.ts";
import type { Context } from "../../../src/cli/command.ts";
import { recordInto } from "../../../src/commands/time/trace-record.ts";
import type { TraceSink } from "../../../src/tracefs/event.ts";
import { noTracing } from "../../support/tracing.ts";

it.skipIf(noTracing !== undefined)(
  "a trace that is interrupted before it begins ends all the same",
  async () => {
    const context = {
      globals: {},
      signal: AbortSignal.abort(),
      notice() {},
      progress() {},
    } as unknown as Context;
    const sink: TraceSink = { begin() {}, push() {}, async end() {} } as unknown as TraceSink;
    const how = { command: [], commandStdout: 1, onBatch: async () => {} } as const;
    expect(await recordInto(sink, events, { all: true } as never, how, context)).toBe(130);
  },
);
