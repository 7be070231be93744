import { setTimeout as sleep } from "node:timers/promises";
import { advice, reading } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";

import type { ExplainOptions } from "../../arch/arch.ts";
import { ARCHES, archNamed } from "../../arch/arches.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";

import { duration, gsi, routingOption } from "../../cli/parsers.ts";
import { type Looked, takeReading } from "../../operations/look-again.ts";
import { readSource } from "../../operations/take-snapshot.ts";
import type { Explanation } from "../../rules/explanation.ts";
import { isGrave } from "../../rules/observe.ts";
import type { Watched } from "../../text/explain.ts";
import type { Overview } from "../../text/explain-all.ts";
import type { Identity, SourceInfo } from "../../vm/reading.ts";
import type { RoutingName } from "../../vm/routing.ts";
import { notSeen, type Snapshot } from "../../vm/snapshot.ts";

interface Options {
  strict?: true;
  for?: number;
  routing?: RoutingName;
}

/** `explain [gsi]`: where an interrupt would go, or what stops it. */
export const explain: CommandSpec = {
  scriptable: true,
  summary: "say where an interrupt would go, or what stops it",
  description:
    "Follows a GSI from its line to the vCPU, each way that it can take, and names the register and bit that stops it. Without a GSI: all of them in short, and what is wrong with the VM. Nothing is injected or changed.",
  notes: `Status with a GSI: 0 when a way is open, or held until something that happens by itself (a guest that
runs, an EOI, RFLAGS.IF), or can't be followed; 1 when every way is blocked. Without a GSI: 0 when
nothing is wrong, 1 when there is a finding that is an error or a warning; blocked GSIs don't count
then, for every VM has some. What is blocked or wrong in a VM that runs was so in each of four looks
over some 70 ms. The routing of another process's VM is not known: --routing names it. Each code of a stage or finding has its section in docs/findings.md.`,
  examples: [
    ["kvm-irq explain 4", "why does my serial port's interrupt not arrive?"],
    ["kvm-irq explain --pid 4242", "a VM of another process: all GSIs, and what is wrong"],
    ["kvm-irq explain --pid 4242 --for 1s", "and what stays in service for a second"],
    ["kvm-irq explain 20 --snapshot snap.json --json | jq -r .sentence", "a file; for scripts"],
  ],
  declare: (command) =>
    command
      .argument("[gsi]", "the GSI to follow", gsi)
      .option("--strict", "status 1 also for what is held or unknown; without a GSI, for any finding")
      .option(
        "--for <duration>",
        "take two readings this far apart: shows what moved, and what stays in service too long",
        duration,
      )
      .addOption(routingOption()),

  check({ snapshot }, _gsi: number | undefined, options: Options) {
    refuseWaiting(options, snapshot !== undefined);
  },
  fits(info: SourceInfo, _gsi: number | undefined, options: Options) {
    refuseWaiting(options, info.readOnly === true);
    checkArch(info);
  },

  async run(context: Context, gsi: number | undefined, options: Options): Promise<Outcome> {
    const wishes = { ...options, address: context.address };
    const { host } = (await context.source()).identity;
    const { explain, explainAll } = await archNamed(host.arch).diagnosis();
    const blocked = (snapshot: Snapshot) =>
      gsi !== undefined && explain(snapshot, gsi, wishes).verdict === "blocked";
    const looked = await look(context, wishes, blocked);
    if (looked === undefined) return { status: 130 };
    const { snapshot, findings } = looked.observation;
    if (gsi !== undefined) return single(explain(snapshot, gsi, wishes), looked, options);
    return overview({ gsis: explainAll(snapshot, wishes), findings, snapshot }, looked, options);
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
function checkArch({ host, label }: Identity): void {
  if (!archNamed(host.arch).onlyDecoded) return;
  const known = ARCHES.filter(({ onlyDecoded }) => !onlyDecoded).map(({ name }) => name);
  throw new KvmIrqError(
    "unsupported",
    `${label} is of ${host.arch}; explain knows the ways of ${known.join(", ")}`,
    { hint: advice`${reading("dump")} shows what it has` },
  );
}

/**
 * Reads the target, with `--for` twice.
 *
 * @param suspects whether a look has something in it that a moment later may be over.
 * @returns nothing when that was interrupted.
 */
async function look(
  context: Context,
  options: Options & ExplainOptions,
  suspects: (snapshot: Snapshot) => boolean,
): Promise<(Looked & { watched?: Watched }) | undefined> {
  const { signal } = context;
  const source = await context.source();
  const info = source.identity;
  checkArch(info);
  const still = info.readOnly === true;
  const looking = { ...options, still, suspects, signal };
  const lookAt = async () => (await readSource(source)).snapshot;
  const first = await takeReading(lookAt, looking);
  if (signal.aborted) return undefined;
  if (options.for === undefined) return first;
  await sleep(options.for, undefined, { signal }).catch(() => {});
  if (signal.aborted) return undefined;
  const second = await takeReading(lookAt, { ...looking, previous: first.observation });
  return { ...second, watched: { ms: options.for, observation: second.observation } };
}

type Shown = Looked & { watched?: Watched };

function single(explanation: Explanation, { watched, ...looked }: Shown, { strict }: Options): Outcome {
  const { verdict } = explanation;
  const passes = verdict === "open" || (verdict !== "blocked" && !strict);
  return {
    status: passes ? 0 : 1,
    json: { ...explanation, ...looksJson(looked), ...watchedJson(watched) },
    text: async (view) =>
      (await import("../../text/explain.ts")).renderExplanation(explanation, { watched, ...looked }, view),
  };
}

function overview(
  { gsis, findings, snapshot }: Pick<Overview, "gsis" | "findings"> & { snapshot: Snapshot },
  { watched, ...looked }: Shown,
  { strict }: Options,
): Outcome {
  const counts = findings.filter((finding) => strict || isGrave(finding));
  const { irqchip } = snapshot;
  return {
    status: counts.length === 0 ? 0 : 1,
    json: { gsis, findings, ...(irqchip && { irqchip }), ...looksJson(looked), ...watchedJson(watched) },
    text: async (view) =>
      (await import("../../text/explain-all.ts")).renderOverview(
        { gsis, findings, watched, unseen: notSeen(snapshot), ...looked },
        view,
      ),
  };
}

function looksJson({ looks, ms }: Looked): object {
  return looks === 1 ? {} : { looks: { count: looks, ms } };
}

function watchedJson(watched: Watched | undefined): object {
  if (watched === undefined) return {};
  const { risen, changes, appeared, gone } = watched.observation;
  return { watched: { ms: watched.ms, risen, changes, appeared, gone } };
}
