import { setTimeout as sleep } from "node:timers/promises";

import type { ArchData } from "../../arch/arch.ts";
import { archNamed } from "../../arch/arches.ts";
import { chipOfPath } from "../../arch/fields.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { collecting, duration } from "../../cli/parsers.ts";
import { blankReading, readSource } from "../../operations/take-snapshot.ts";
import { type Condition, checkConditions, judge, parseCondition, type Verdict } from "../../rules/expect.ts";
import type { SourceInfo } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";

/** Between two looks at the target: short at first, then as long as a person would not notice. */
const FIRST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 100;

/** `expect <cond...>`: exit 0 when all hold, 1 when not. */
export const expect: CommandSpec = {
  scriptable: true,
  summary: "check conditions: exit status 0 if all hold, 1 if not",
  description:
    "Tests conditions on the target's state. Fields are named as in `dump --json`; operators are =, !=, <, >, <=, >= and & (any of these bits is set). A list of vectors equals a vector that is in it. A path that leads nowhere is an error (status 2), never a silent no.",
  examples: [
    ["kvm-irq expect 'pic1.irr&0x10'", "GSI 4 is pending in the PIC"],
    [
      "kvm-irq expect 'ioapic.redirtbl[*].mask=true' 'lapic[0].irr!=0x44'",
      "every pin; a vector that is not in the IRR",
    ],
    ["kvm-irq expect 'lapic[0].isr=[]' --timeout 2s", "wait until nothing is in service"],
  ],
  declare: (command) =>
    command
      .argument(
        "<condition...>",
        "such as pic1.imr=0xff, pic1.irr&0x10, lapic[0].irr=0x44",
        collecting(parseCondition),
      )
      .option("--timeout <duration>", "wait up to this long for all conditions to hold", duration, 0),

  fits(info: SourceInfo, conditions: Condition[]) {
    const arch = archNamed(info.host.arch);
    const { chips, vcpus = [] } = blankReading(info, chipsOf(arch, conditions));
    checkConditions(arch, { ...chips, vcpus }, conditions);
  },

  async run(context: Context, conditions: Condition[], { timeout }: { timeout: number }): Promise<Outcome> {
    const verdicts = await awaitConditions(await context.source(), conditions, timeout, context.signal);
    const met = verdicts.every((verdict) => verdict.met);
    const interrupted = !met && context.signal.aborted;
    if (interrupted) context.notice("interrupted before all conditions held");
    return {
      status: met ? 0 : interrupted ? 130 : 1,
      json: { met, ...(interrupted && { interrupted }), conditions: verdicts },
      text: async (view) => (await import("../../text/expect.ts")).renderVerdicts(verdicts, view),
    };
  },
};

function chipsOf(arch: ArchData, conditions: readonly Condition[]): string[] {
  return [...new Set(conditions.map(({ path }) => chipOfPath(arch, path)))];
}

async function awaitConditions(
  source: Source,
  conditions: readonly Condition[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Verdict[]> {
  const arch = archNamed(source.identity.host.arch);
  const words = chipsOf(arch, conditions);
  const deadline = performance.now() + timeoutMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    const { snapshot } = await readSource(source, words);
    const verdicts = judge(arch, { ...snapshot.chips, vcpus: snapshot.vcpus ?? [] }, conditions);
    const left = deadline - performance.now();
    if (left <= 0 || signal.aborted || verdicts.every(({ met }) => met)) return verdicts;
    await sleep(Math.min(pause, left), undefined, { signal }).catch(() => {});
  }
}
