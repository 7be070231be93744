import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { advice, reading } from "../abi/advice.ts";
import { HOST_ARCH } from "../abi/arches.ts";
import { KvmIrqError } from "../abi/error.ts";
import { explainAll, explainGsi } from "../diagnose/explain.ts";
import type { Explanation } from "../diagnose/explanation.ts";
import type { Finding } from "../diagnose/finding.ts";
import type { RoutingName } from "../diagnose/routing.ts";
import { type Observation, observe } from "../diagnose/watch.ts";
import type { Watched } from "../render/explain.ts";
import { readTarget } from "../target/take-snapshot.ts";
import type { TargetInfo } from "../target/target.ts";
import { type CommandSpec, type Context, examples, type Outcome } from "./command.ts";
import { duration, gsi, routingOption } from "./parsers.ts";

interface Options {
  strict?: true;
  for?: number;
  routing?: RoutingName;
}

/** `explain [gsi]`: where an interrupt would go, or what stops it. */
export const explain: CommandSpec = {
  scriptable: true,
  declare: (program: Command) =>
    program
      .command("explain")
      .summary("say where an interrupt would go, or what stops it")
      .description(
        "Follows a GSI from its line to the vCPU, each way that it can take, and names the register and bit that stops it. Without a GSI: all of them in short, and what is wrong with the VM. Nothing is injected or changed.",
      )
      .argument("[gsi]", "the GSI to follow", gsi)
      .option("--strict", "status 1 also for what is held; without a GSI, for any finding")
      .option(
        "--for <duration>",
        "take two readings this far apart: shows what moved, and what stays in service too long",
        duration,
      )
      .addOption(routingOption())
      .addHelpText(
        "after",
        `
Status with a GSI: 0 when a way is open, or held until something that happens by itself (a guest that
runs, an EOI, RFLAGS.IF); 1 when every way is blocked, or can't be followed. Without a GSI: 0 when
nothing is wrong, 1 when there is a finding that is an error or a warning; blocked GSIs don't count
then, for every VM has some. Each code of a stage or finding has its section in docs/findings.md.
${examples(
  ["kvm-irq explain 4", "why does my serial port's interrupt not arrive?"],
  ["kvm-irq explain --pid 4242", "a VM of another process: all GSIs, and what is wrong"],
  ["kvm-irq explain --pid 4242 --for 1s", "and what stays in service for a second"],
  ["kvm-irq explain 20 --snapshot snap.json --json | jq -r .sentence", "a file; for scripts"],
)}`,
      ),

  check({ snapshot }, _gsi: number | undefined, options: Options) {
    refuseWaiting(options, snapshot !== undefined);
  },
  fits(info: TargetInfo, _gsi: number | undefined, options: Options) {
    refuseWaiting(options, info.readOnly === true);
    checkArch(info);
  },

  async run(context: Context, gsi: number | undefined, options: Options): Promise<Outcome> {
    const { address } = context;
    const observation = await look(context, options);
    if (observation === undefined) return { status: 130 };
    const watched = options.for === undefined ? undefined : { ms: options.for, observation };
    const { snapshot, findings } = observation;
    if (gsi === undefined)
      return overview(explainAll(snapshot, { ...options, address }), findings, watched, options);
    return single(explainGsi(snapshot, gsi, { ...options, address }), watched, options);
  },
};

/** @throws KvmIrqError `usage` for two readings of a file. */
function refuseWaiting(options: Options, isFile: boolean): void {
  if (options.for === undefined || !isFile) return;
  throw new KvmIrqError("usage", "--for takes two readings, and a file has one", {
    hint: "compare two files with `kvm-irq diff`",
  });
}

/** @throws KvmIrqError `unsupported` for a VM of another architecture. */
function checkArch({ host, label }: TargetInfo): void {
  if (host.arch === HOST_ARCH.name) return;
  throw new KvmIrqError(
    "unsupported",
    `${label} is of ${host.arch}; explain knows the ways of ${HOST_ARCH.name}`,
    { hint: advice`${reading("dump")} shows what it has` },
  );
}

/** Reads the target, with `--for` twice. @returns nothing when that was interrupted. */
async function look(context: Context, options: Options): Promise<Observation | undefined> {
  const { address } = context;
  const target = await context.target();
  const reading = await readTarget(target);
  checkArch(reading.info);
  const first = observe(undefined, reading.snapshot, { ...options, address });
  if (options.for === undefined) return first;
  await sleep(options.for, undefined, { signal: context.signal }).catch(() => {});
  if (context.signal.aborted) return undefined;
  return observe(first, (await readTarget(target)).snapshot, { ...options, address });
}

function single(explanation: Explanation, watched: Watched | undefined, { strict }: Options): Outcome {
  const { verdict } = explanation;
  const passes = verdict === "open" || (verdict === "held" && !strict);
  return {
    status: passes ? 0 : 1,
    json: { ...explanation, ...watchedJson(watched) },
    text: async (view) =>
      (await import("../render/explain.ts")).renderExplanation(explanation, watched, view),
  };
}

function overview(
  gsis: readonly Explanation[],
  findings: readonly Finding[],
  watched: Watched | undefined,
  { strict }: Options,
): Outcome {
  const counts = findings.filter(({ severity }) => strict || severity !== "info");
  return {
    status: counts.length === 0 ? 0 : 1,
    json: { gsis, findings, ...watchedJson(watched) },
    text: async (view) =>
      (await import("../render/explain-all.ts")).renderOverview({ gsis, findings, watched }, view),
  };
}

function watchedJson(watched: Watched | undefined): object {
  if (watched === undefined) return {};
  const { risen, changes, appeared, gone } = watched.observation;
  return { watched: { ms: watched.ms, risen, changes, appeared, gone } };
}
