import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { KvmIrqError } from "../../src/abi/error.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { GROUPS } from "../../src/commands/index.ts";
import { checkScript } from "../../src/commands/scripts/run-script.ts";
import { scratchIdentity } from "../../src/sources/local/source.ts";

const program = makeProgram("0", GROUPS);

/** What is wrong with a command line, from parsing it alone: nothing is run. */
async function refusal(argv: readonly string[]): Promise<KvmIrqError | undefined> {
  try {
    await program.parse(argv);
    return undefined;
  } catch (error) {
    if (error instanceof KvmIrqError) return error;
    throw error;
  }
}

/** What a script says of a line, before any line of it runs. */
async function refusalInScript(words: readonly string[]): Promise<KvmIrqError | undefined> {
  const lines = [["pulse", "4"], [...words]];
  const script = {
    label: "x.kvmirq",
    async *lines() {
      for (const [index, line] of lines.entries()) {
        yield { number: index + 1, text: line.join(" "), words: line };
      }
    },
  };
  const info = scratchIdentity({ backend: "model", vcpus: 1, irqchip: "full" });
  try {
    await checkScript(script, program, { ...info, routing: "default" });
    return undefined;
  } catch (error) {
    if (error instanceof KvmIrqError) return error;
    throw error;
  }
}

/** Options and arguments that do not go together, and what is said of them. */
const MIXTURES: readonly [line: string, sentence: string][] = [
  ["-s a --pid 1 dump", "--session and --pid name two targets; give one"],
  ["-s a --snapshot f dump", "--session and --snapshot name two targets; give one"],
  ["--pid 1 --snapshot f explain", "--pid and --snapshot name two targets; give one"],
  ["-s a --pid 1 pulse 4", "--session and --pid name two targets; give one"],
  ["-s a --snapshot f run x", "--session and --snapshot name two targets; give one"],
  ["--vm-fd 3 expect pic1.imr=0", "--vm-fd goes with --pid"],
  ["--vm-fd 3 run x", "--vm-fd goes with --pid"],
  ["--vm-fd 3 msi --vector 0x41 --decode", "--vm-fd goes with --pid"],
  ["--snapshot gone/f.json pulse 4", "f.json is a file: it can be read, not driven"],
  ["--snapshot - hold 4", "standard input is a file: it can be read, not driven"],
  ["--snapshot f release 4", "f is a file: it can be read, not driven"],
  ["--snapshot f set pic1.imr=1", "f is a file: it can be read, not driven"],
  ["--snapshot f restore g", "f is a file: it can be read, not driven"],
  ["--snapshot f msi --vector 0x41", "f is a file: it can be read, not driven"],
  ["--snapshot f route reset", "f is a file: it can be read, not driven"],
  ["--snapshot f irqfd bind 4", "f is a file: it can be read, not driven"],
  ["create --guest pic --preset ioapic", "a guest needs a vCPU, and sets up its chips itself"],
  ["create --guest pic --vcpus 0", "a guest needs a vCPU, and sets up its chips itself"],
  ["create --irqchip split --guest pic", "guest pic needs PICs and an IOAPIC, and a split irqchip has none"],
  [
    "create --irqchip split --preset pic",
    "preset pic needs PICs and an IOAPIC, and a split irqchip has none",
  ],
  ["create --backend model --guest pic", "the software model runs no guest"],
  ["create --backend model --irqchip split", "the software model has no split irqchip"],
  ["create --from f --preset pic", "option '--from <file>' cannot be used with option '--preset <state>'"],
  ["create --from f --vcpus 2", "option '--from <file>' cannot be used with option '--vcpus <n>'"],
  ["create --from f --guest pic", "option '--from <file>' cannot be used with option '--guest <program>'"],
  ["create --from f --irqchip split", "option '--from <file>' cannot be used with option '--irqchip <kind>'"],
  ["destroy a --all", "give names or --all, not both"],
  ["-s a destroy --all", "give names or --all, not both"],
  ["-s a destroy b", "--session names the session when no name is given; give one of them"],
  ["pulse 4 --timeout 1s", "--timeout goes with --require handled"],
  ["pulse 4 --timeout 1s --require delivered", "--timeout goes with --require handled"],
  ["msi", "an MSI is --address and --data, or --vector and what goes with it"],
  ["msi --address 0xfee00000", "an MSI is --address and --data, or --vector and what goes with it"],
  [
    "msi --address 0xfee00000 --data 1 --dest 1",
    "an MSI is --address and --data, or --vector and what goes with it",
  ],
  ["msi --dest 1", "an MSI is --address and --data, or --vector and what goes with it"],
  [
    "msi --vector 0x41 --decode --count 2",
    "--decode sends nothing: --count, --interval and --require don't go with it",
  ],
  [
    "msi --vector 0x41 --decode --interval 1s",
    "--decode sends nothing: --count, --interval and --require don't go with it",
  ],
  ["route set", "no routes to set"],
  ["route show default", "`route show` takes no routes"],
  ["route reset 4=none", "`route reset` takes no routes"],
  ["irqfd kick 4 --resample", "--resample goes with bind"],
  ["irqfd bind 4 --count 2", "--count goes with kick"],
  ["irqfd list 4", "`irqfd list` takes no GSI"],
  ["irqfd bind", "`irqfd bind` needs a GSI"],
  ["dump --format raw --chip routes", "routes has no raw bytes"],
  ["dump --layout x86", "--layout is for the raw bytes of a --snapshot"],
  ["dump --json --format raw", "--json is --format json, and not raw"],
  ["-s a diff b c", "diff takes its two targets as arguments, not as options"],
  ["--snapshot a diff b c", "diff takes its two targets as arguments, not as options"],
  ["--pid 1 --vm-fd 3 diff b c", "diff takes its two targets as arguments, not as options"],
  ["diff - -", "standard input can be only one of the two"],
  ["--snapshot f explain --for 1s", "--for takes two readings, and a file has one"],
  ["trace --json --format vcd", "--json is --format ndjson, and not vcd"],
  ["trace --stats-only --format svg", "--stats-only has no picture to give as svg"],
  ["trace --snapshot f", "a snapshot is a moment and has no events"],
  ["trace --pid 1 --vm-fd 3", "the kernel's events do not tell VMs of one process apart"],
  ["trace --pid 1 --via ptrace", "events come from the kernel's tracepoints, whatever --via says"],
  ["trace -s a --pid 1", "--session and --pid name two targets; give one"],
  ["trace --pid 1 --all", "--pid and --all name two targets; give one"],
  ["trace --for 1s -- true", "--for and a command both say when to end; give one"],
  ["trace --from f --all", "--from shows what was recorded; --all is for recording"],
  ["trace --from f --for 1s", "--from shows what was recorded; --for is for recording"],
  ["trace --from f --buffer-kb 64", "--from shows what was recorded; --buffer-kb is for recording"],
  ["trace --from f -- true", "--from shows what was recorded; a command is for recording"],
  ["-s a trace --from f", "--from shows what was recorded; --session is for recording"],
  ["run x -o y", "--output goes with --format tap or junit"],
  ["run x --json --format tap", "--json and --format tap are two formats; give one"],
  ["-s a run x --from f", "--from is for the VM made for the script, and a target is named"],
  ["run - --from -", "script and snapshot can't both come from standard input"],
  ["run x --from f --preset pic", "option '--from <file>' cannot be used with option '--preset <state>'"],
  ["run x --from f --vcpus 2", "option '--from <file>' cannot be used with option '--vcpus <n>'"],
  ["-s a run x --preset pic", "--preset is for the VM made for the script, and a target is named"],
  ["--pid 1 run x --vcpus 2", "--vcpus is for the VM made for the script, and a target is named"],
  ["--snapshot f run x --backend auto", "--backend is for the VM made for the script, and a target is named"],
];

describe("options that do not go together", () => {
  it.each(MIXTURES)(
    "%s: refused before anything is opened, also on a line of a script",
    async (line, sentence) => {
      const words = line.split(" ");
      const error = await refusal(words);
      expect(error?.message).toBe(sentence);
      expect(error?.exitStatus).toBe(2);
      expect(error?.hint).toMatch(/\w/);
      const inScript = await refusalInScript(words);
      expect(inScript?.code).toBe("bad-input");
      expect(inScript?.message).toBe(`x.kvmirq:2: ${sentence}`);
    },
  );

  /** Errors that only show when something runs, by their files. */
  const AT_WORK = ["child-command.ts", "run-script.ts"];

  it("are all in this list that a command knows: each sentence of a usage error is tried here", () => {
    const files = readdirSync("src/commands", { recursive: true, encoding: "utf8" }).filter((file) =>
      file.endsWith(".ts"),
    );
    const sentences = files
      .filter((file) => !AT_WORK.some((name) => file.endsWith(name)))
      .flatMap((file) =>
        readFileSync(`src/commands/${file}`, "utf8")
          .split(/\(\s*"usage",|misfit\(/)
          .slice(1),
      )
      .map((rest) => rest.split(/,\s*\{|\);/)[0]!)
      .flatMap((text) => [...text.matchAll(/"([^"]{6,})"|`((?:[^`\\]|\\.)*)`/g)])
      .map(([, plain, template]) => plain ?? template!);
    expect(sentences.length).toBeGreaterThan(25);
    const untried = sentences.filter((sentence) => {
      const pattern = sentence
        .replaceAll("\\`", "`")
        .split(/\$\{[^}]*\}/)
        .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
        .join(".+");
      return !MIXTURES.some(([, tried]) => new RegExp(`^${pattern}$`).test(tried));
    });
    expect(untried).toEqual([]);
  });
});

/** A line that a command has nothing to say against. */
const LINES: Readonly<Record<string, string>> = {
  create: "create",
  list: "list",
  destroy: "destroy",
  pulse: "pulse 4",
  hold: "hold 4",
  release: "release 4",
  msi: "msi --vector 0x41",
  route: "route reset",
  irqfd: "irqfd bind 4",
  restore: "restore f",
  set: "set pic1.imr=1",
  dump: "dump",
  diff: "diff a b",
  explain: "explain",
  expect: "expect pic1.imr=0",
  watch: "watch",
  trace: "trace",
  run: "run f",
  doctor: "doctor",
  demo: "demo",
  completion: "completion bash",
};
/** Those options with a value, and what they need beside them. */
const GLOBALS: Readonly<Record<string, string>> = {
  "--session": "--session a",
  "--pid": "--pid 1",
  "--vm-fd": "--pid 1 --vm-fd 3",
  "--via": "--pid 1 --via ptrace",
  "--yes": "--yes",
  "--snapshot": "--snapshot f",
  "--json": "--json",
  "--debug": "--debug",
};
/** Commands that change their target as the rest of the line says list --snapshot, for when it changes nothing. */
const READING: Readonly<Record<string, string>> = {
  msi: "msi --vector 0x41 --decode",
  route: "route show",
  irqfd: "irqfd list",
  restore: "restore f --dry-run",
};

const NO_FILE = { "--snapshot": "f is a file: it can be read, not driven" };
const NO_TARGET = "diff takes its two targets as arguments, not as options";
/** Commands that say why they take no such option. */
const REASONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  pulse: NO_FILE,
  hold: NO_FILE,
  release: NO_FILE,
  set: NO_FILE,
  diff: {
    "--session": NO_TARGET,
    "--pid": NO_TARGET,
    "--vm-fd": NO_TARGET,
    "--via": NO_TARGET,
    "--snapshot": NO_TARGET,
  },
  trace: {
    "--vm-fd": "the kernel's events do not tell VMs of one process apart",
    "--via": "events come from the kernel's tracepoints, whatever --via says",
    "--snapshot": "a snapshot is a moment and has no events",
  },
};

describe("the program's options of a command", () => {
  const names = Object.values(GROUPS).flatMap((group) => Object.keys(group));

  it.each(names)(
    "%s takes those that its help lists, and refuses each other one by its name",
    async (name) => {
      const help = await program.parse([name, "--help"]);
      const [, list = ""] = ("help" in help ? help.help : "").split("Global Options:\n");
      const listed = [...list.split("\n\n")[0]!.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(
        ([, option]) => option!,
      );
      expect(listed).toContain("--json");
      for (const [option, words] of Object.entries(GLOBALS)) {
        const line = option === "--snapshot" ? (READING[name] ?? LINES[name]) : LINES[name];
        const context = `${listed.includes(option) ? words : words.replace(/.* (?=--v)/, "")} ${line}`;
        const error = await refusal(context.split(" "));
        // To confirm what is not asked does no harm.
        const sentence =
          listed.includes(option) || option === "--yes"
            ? undefined
            : (REASONS[name]?.[option] ?? `\`${name}\` takes no ${option}`);
        expect(error?.message, context).toBe(sentence);
        expect(error?.exitStatus, context).toBe(sentence === undefined ? undefined : 2);
      }
      expect((await refusal([...LINES[name]!.split(" "), "--nonsense"]))?.message).toContain("'--nonsense'");
    },
  );
});
