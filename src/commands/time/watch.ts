import { InvalidArgumentError, Option } from "commander";
import type { Arch, Panels } from "../../arch/arch.ts";
import { archNamed } from "../../arch/arches.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { chipOption, duration, paths, routingOption } from "../../cli/parsers.ts";
import { knownOf } from "../../operations/take-snapshot.ts";
import { inBackground } from "../../os/proc.ts";
import type { RoutingName } from "../../vm/routing.ts";
import { routingAssumption } from "../../vm/routing.ts";
import type { WatchSource } from "./watch-source.ts";

interface Options {
  interval: number;
  chip?: string[];
  ignore?: string[];
  routing?: RoutingName;
}

/** Oftener than this nobody could follow, and a process that is attached to would feel it. */
const SHORTEST_INTERVAL_MS = 20;

/** `watch`: live view. */
export const watch: CommandSpec = {
  summary: "watch the controllers live",
  description:
    "Reads the target again and again and shows what changes: registers, lines that rise, findings that come and go. On a terminal it is a picture that redraws in place; in its background, elsewhere, and with --json, one line per change. Edges are counted as far as readings tell: those that are coalesced, or served between two readings, leave no trace (`trace` sees each of them).",
  notes: `Keys: p or space pauses, n or . takes one reading, 1 to 5 or tab choose a chip, s saves a snapshot in the
current folder, up and down scroll, q quits.`,
  examples: [
    ["kvm-irq watch", "the default session, twice a second"],
    ["kvm-irq watch --pid 4242 --chip ioapic", "a VM of another process; its vCPUs are not stopped"],
    ["kvm-irq watch --json --interval 100ms | jq .edges", "for scripts: a JSON object when something is new"],
  ],
  declare: (command) =>
    command
      .addOption(
        new Option("--interval <duration>", "from one reading to the next")
          .argParser(interval)
          .default(500, "500ms"),
      )
      .addOption(chipOption("read only these"))
      .option("--ignore <path>", "changes of no interest, as lapic[*].esr; repeatable", paths)
      .addOption(routingOption()),

  async run(context: Context, options: Options): Promise<Outcome> {
    const vm = await context.source();
    const info = await knownOf(vm);
    const arch = archNamed(info.host.arch);
    const { WatchSource } = await import("./watch-source.ts");
    const source = new WatchSource(vm, options.chip ?? [], {
      routing: options.routing,
      still: info.readOnly === true,
      address: context.address,
      ignore: options.ignore ?? [],
    });
    if (info.readOnly) return still(source, arch, info.label);
    const { json } = context.globals;
    const onTerminal = !json && process.stdout.isTTY === true && process.env["TERM"] !== "dumb";
    const background = onTerminal && inBackground();
    if (!onTerminal || background) {
      if (background) {
        context.notice(
          "in the background of the terminal: changes are listed (`timeout --foreground` shows the live view)",
        );
      }
      const assumed = routingAssumption(arch.routing, info, options.routing);
      if (assumed !== undefined && !json) context.notice(`assumed: ${assumed}`);
      await (await import("../../cli/standard-output.ts")).endWithoutReader();
      const { writeLines } = await import("./watch-lines.ts");
      await writeLines(source, { label: info.label, intervalMs: options.interval }, context);
      await sayCost(source, context);
      return { status: 130 };
    }
    const panels = await arch.panels();
    const { LiveView } = await import("./watch-live.ts");
    const view = new LiveView(source, await context.view(), {
      label: info.label,
      panel: firstPanel(panels, options.chip),
      panels,
      intervalMs: options.interval,
      signal: context.signal,
      write: (text) => context.write(text),
    });
    return { status: (await view.run()) === "quit" ? 0 : 130 };
  },
};

/** A file never changes: it is shown once. */
async function still(source: WatchSource, arch: Arch, label: string): Promise<Outcome> {
  const observation = await source.next();
  const { watchLine } = await import("./watch-lines.ts");
  return {
    json: watchLine(observation, source.cost()),
    text: async (view) =>
      (await import("../../text/watch.ts")).renderStill(
        { label, observation, panels: await arch.panels() },
        view,
      ),
  };
}

async function sayCost(source: WatchSource, context: Context): Promise<void> {
  if (context.globals.json) return;
  const { costText } = await import("../../text/watch.ts");
  context.notice(`watching took ${costText(source.wholeCost())}`);
}

/** The view to begin with: the chip that was asked for, when it is one. */
function firstPanel({ tabs }: Panels, words: readonly string[] | undefined): string {
  const [word = "all", ...others] = words ?? [];
  if (others.length > 0) return "all";
  const kind = word.replace(/\[.*/, "");
  return tabs.includes(kind) ? kind : "all";
}

function interval(text: string): number {
  const ms = duration(text);
  if (ms >= SHORTEST_INTERVAL_MS) return ms;
  throw new InvalidArgumentError(`the shortest interval is ${SHORTEST_INTERVAL_MS}ms.`);
}
