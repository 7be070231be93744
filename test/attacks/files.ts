import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Arena, Attack } from "./attack.ts";
import { mutateBytes, mutateJson, mutateWords } from "./mutate.ts";
import { call, Many, problemsOf, type Ran } from "./program.ts";
import type { Random } from "./random.ts";

/** Of the calls in one process, so many more are made as a shell makes them. */
const SAMPLE = 20;

/** Statuses that a command over a file may end with: done, a negative answer, a path or chip that is not there, bad input. */
const FILE_STATUSES = [0, 1, 2, 6];

/** A call for each mutant, in one process, and one in {@link SAMPLE} in a process of its own as well. */
async function callEach(
  { random, user, tally }: Arena,
  count: number,
  make: (random: Random, file: string) => string[],
): Promise<void> {
  const many = new Many(user.env, user.folder);
  const file = join(user.folder, "mutant");
  try {
    for (let n = 0; n < count; n++) {
      const argv = make(random, file);
      const check = (ran: Ran) => {
        tally.took(ran);
        tally.count(`${n}: ${argv.join(" ")}`, problemsOf(ran, FILE_STATUSES));
      };
      check(await many.call(argv));
      if (n % SAMPLE === 0) check(await call(argv, { env: user.env, cwd: user.folder }));
    }
  } finally {
    many.dispose();
  }
}

/** The model has no kernel in it: what these attack is the same with both. */
const VM = ["--backend", "model"];

const SNAPSHOT_COMMANDS: readonly ((file: string) => string[])[] = [
  (file) => ["dump", "--snapshot", file],
  (file) => ["dump", "--snapshot", file, "--json"],
  (file) => ["dump", "--snapshot", file, "--format", "raw", "-o", "/dev/null"],
  (file) => ["explain", "--snapshot", file],
  (file) => ["explain", "4", "--snapshot", file],
  (file) => ["explain", "--snapshot", file, "--json"],
  (file) => ["expect", "--snapshot", file, "pic1.imr=0", "lapic[0].irr=0x34"],
  (file) => ["diff", file, "honest.json"],
  (file) => ["diff", "honest.json", file, "--json"],
  (file) => ["route", "show", "--snapshot", file],
  (file) => ["run", "empty.kvmirq", "--from", file, ...VM],
];

/** Snapshots as the program makes them, of one vCPU and of two. */
function honestSnapshots({ user }: Arena): string[] {
  return ["1", "2"].map((vcpus) => {
    const file = join(user.folder, `honest-${vcpus}.json`);
    const input = `hold 20
pulse 4
set 'lapic[0].isr=[0x41]' 'ioapic.redirtbl[5].reserved=3'
route set default 24=msi:0xfee00000/0x51
dump --json -o ${file}`;
    user.ok(["run", "-", ...VM, "--preset", "ioapic", "--vcpus", vcpus, "--quiet"], { input });
    return readFileSync(file, "utf8");
  });
}

const snapshots: Attack = {
  name: "snapshots",
  what: "mutated snapshots to dump, explain, expect, diff, route and run",
  short: 200,
  long: 2000,
  async run(arena, count) {
    const honest = honestSnapshots(arena);
    writeFileSync(join(arena.user.folder, "honest.json"), honest[0]!);
    writeFileSync(join(arena.user.folder, "empty.kvmirq"), "# nothing\n");
    await callEach(arena, count, (random, file) => {
      const text = random.pick(honest);
      const mutant = random.chance(0.7)
        ? mutateJson(random, JSON.parse(text))
        : mutateBytes(random, Buffer.from(text));
      writeFileSync(file, mutant);
      return random.pick(SNAPSHOT_COMMANDS)(file);
    });
  },
};

const restored: Attack = {
  name: "restore",
  what: "mutated snapshots restored into a session, which is as before when that is refused",
  short: 25,
  long: 500,
  async run(arena, count) {
    const { user, tally, random } = arena;
    const honest = honestSnapshots(arena);
    user.ok(["create", "--preset", "ioapic", "--vcpus", "2", ...VM]);
    const many = new Many(user.env, user.folder);
    const file = join(user.folder, "mutant");
    const state = async () => (await many.call(["dump", "--format", "raw", "-o", "/dev/stdout"])).stdout;
    try {
      for (let n = 0; n < count; n++) {
        writeFileSync(file, mutateJson(random, JSON.parse(random.pick(honest))));
        const before = await state();
        const ran = await many.call(["restore", file]);
        const problems = problemsOf(ran, FILE_STATUSES);
        if (ran.status !== 0 && (await state()) !== before) problems.push("it was restored in part");
        tally.took(ran);
        tally.count(`mutant ${n}`, problems);
      }
    } finally {
      many.dispose();
      user.run(["destroy"]);
    }
  },
};

const SCRIPT = `# A level interrupt.
hold 20
expect 'lapic[0].irr=0x44' 'ioapic.redirtbl[20].remote_irr=true'
set 'ioapic.redirtbl[4].mask=false' \\
    pic1.imr=0xef
route set default 24=msi:0xfee00000/0x51,ioapic:3
pulse 4 5-7 --count 3
msi --address 0xfee00000 --data 0x41
irqfd bind 24
irqfd kick 24
release 20
explain 4
dump --chip ioapic --json
`;

const scripts: Attack = {
  name: "scripts",
  what: "mutated scripts to run",
  short: 100,
  long: 2000,
  async run(arena, count) {
    await callEach(arena, count, (random, file) => {
      const lines = SCRIPT.split("\n");
      const at = random.below(lines.length);
      lines[at] = mutateWords(random, lines[at]!.split(" ")).join(" ");
      writeFileSync(file, random.chance(0.6) ? lines.join("\n") : mutateBytes(random, Buffer.from(SCRIPT)));
      const format = random.pick([
        [],
        ["--format", "tap"],
        ["--format", "junit"],
        ["--keep-going"],
        ["--dry-run"],
      ]);
      return ["run", file, "--preset", "ioapic", ...VM, ...format];
    });
  },
};

const raws: Attack = {
  name: "raw",
  what: "mutated raw chips to dump, diff and explain",
  short: 80,
  long: 1000,
  async run(arena, count) {
    const { user } = arena;
    user.ok(["create", "--preset", "ioapic", "--vcpus", "2", ...VM]);
    user.ok(["dump", "--format", "raw", "-o", join(user.folder, "honest.raw")]);
    user.ok(["destroy"]);
    const honest = readFileSync(join(user.folder, "honest.raw"));
    await callEach(arena, count, (random, file) => {
      writeFileSync(file, mutateBytes(random, honest));
      return random.pick([
        ["dump", "--snapshot", file],
        ["dump", "--snapshot", file, "--layout", "ia64"],
        ["dump", "--snapshot", file, "--layout", "x86", "--json"],
        ["explain", "--snapshot", file],
        ["diff", file, "honest.raw"],
      ]);
    });
  },
};

const bigFiles: Attack = {
  name: "bombs",
  what: "files that cost far more than their size",
  short: 6,
  long: 100,
  async run(arena, count) {
    const { user, tally } = arena;
    const honest = honestSnapshots(arena)[0]!;
    for (const [name, make, command] of BOMBS(honest).slice(0, count)) {
      const file = join(user.folder, name);
      writeFileSync(file, make());
      const ran = await call(command(file), { env: user.env, cwd: user.folder });
      tally.took(ran);
      tally.count(name, problemsOf(ran, [0, 4, 6]));
      writeFileSync(file, "");
    }
  },
};

type Bomb = [name: string, make: () => string | Buffer, command: (file: string) => string[]];

/** An honest snapshot with one member replaced by text. */
function withMember(snapshot: string, path: readonly string[], text: string): string {
  const value = JSON.parse(snapshot);
  const last = path.at(-1)!;
  // biome-ignore lint/suspicious/noExplicitAny: any member may be replaced
  const parent = path.slice(0, -1).reduce((node: any, key) => node[key], value);
  parent[last] = "\u0001";
  return JSON.stringify(value).replace('"\\u0001"', () => text);
}

const listOf = (text: string, times: number) => `[${Array(times).fill(text).join(",")}]`;

function BOMBS(honest: string): Bomb[] {
  const { chips } = JSON.parse(honest);
  const dump = (file: string) => ["dump", "--snapshot", file];
  const run = (file: string) => ["run", file, ...VM];
  const trace = (file: string) => ["trace", "--from", file];
  const entry = JSON.stringify(chips.ioapic.redirtbl[0]);
  const lapic = JSON.stringify(chips.lapic[0]);
  const route = '{"gsi":24,"msi":{"address":4276092928,"data":81}}';
  return [
    ["a million entries", () => withMember(honest, ["chips", "ioapic", "redirtbl"], listOf("0", 1e6)), dump],
    ["100 MB of [", () => "[".repeat(100e6), dump],
    ["20,000 joined lines", () => "pulse 4 \\\n".repeat(20_000), run],
    ["10 MB of zeros", () => Buffer.alloc(10e6), dump],
    ["100,000 routes", () => withMember(honest, ["routing"], listOf(route, 1e5)), dump],
    ["1e400 in a trace", () => `${TRACE_HEADER}\n${TRACE_EVENT.replace("1000", "1e400")}\n`, trace],
    [
      "30,000 whole entries",
      () => withMember(honest, ["chips", "ioapic", "redirtbl"], listOf(entry, 3e4)),
      dump,
    ],
    ["20,000 local APICs", () => withMember(honest, ["chips", "lapic"], listOf(lapic, 2e4)), dump],
    [
      "a million vectors",
      () => withMember(honest, ["chips", "lapic"], `[${lapicWith(lapic, listOf("52", 1e6))}]`),
      dump,
    ],
    ["a million members", () => withMember(honest, ["host"], members(1e6)), dump],
    ["a million unknown members", () => honest.replace("{", () => `{${members(5e5).slice(1, -1)},`), dump],
    ["a string of 100 MB", () => withMember(honest, ["host", "kernel"], `"${"x".repeat(100e6)}"`), dump],
    ["a number of 10 MB", () => withMember(honest, ["version"], "9".repeat(10e6)), dump],
    ["an endless device", () => "", () => dump("/dev/zero")],
    ["another process's memory", () => "", () => dump("/proc/self/mem")],
    ["a folder", () => "", () => dump("/")],
    ["300 MB of zeros", () => Buffer.alloc(300e6), dump],
    ["a million lines", () => "pulse 4\n".repeat(1e6), (file) => [...run(file), "--dry-run"]],
    ["a line of 50 MB", () => "pulse ".repeat(8e6), run],
    ["a word of 50 MB", () => `pulse ${"4".repeat(50e6)}`, run],
    ["a million GSIs", () => `pulse ${"4 ".repeat(1e6)}`, run],
    ["an unclosed quote before 20 MB", () => `set '${"x\n".repeat(1e7)}`, run],
    ["a trace line of 100 MB", () => `${TRACE_HEADER}\n"${"x".repeat(100e6)}`, trace],
    [
      "a trace of 300,000 events",
      () => `${TRACE_HEADER}\n${`${TRACE_EVENT}\n`.repeat(3e5)}`,
      (file) => [...trace(file), "-o", "/dev/null"],
    ],
    ["deep args in a trace", () => `${TRACE_HEADER}\n${"[".repeat(1e6)}\n`, trace],
    ["a trace without newlines", () => TRACE_HEADER.repeat(1e5), trace],
    [
      "a million members in args",
      () => `${TRACE_HEADER}\n${TRACE_EVENT.replace('{"gsi"', () => `${members(1e6).slice(0, -1)},"gsi"`)}\n`,
      trace,
    ],
    [
      "a million missing events",
      () => `${TRACE_HEADER.replace('"missing":[]', () => `"missing":${listOf('"x"', 1e6)}`)}\n`,
      trace,
    ],
  ];
}

const members = (count: number) => `{${Array.from({ length: count }, (_, n) => `"k${n}":0`).join(",")}}`;
const lapicWith = (lapic: string, irr: string) => lapic.replace(/"irr":\[[^\]]*\]/, () => `"irr":${irr}`);

const TRACE_HEADER = JSON.stringify({
  format: "kvm-irq.trace",
  version: 1,
  started_at: "2026-01-01T00:00:00.000Z",
  kernel: "6.18.0",
  clock: "mono",
  clock_origin: "0",
  events: ["kvm_set_irq", "kvm_eoi"],
  missing: [],
});
const TRACE_EVENT = JSON.stringify({
  time: 1000,
  cpu: 0,
  pid: 7,
  comm: "vmm",
  process: 7,
  event: "kvm_set_irq",
  args: { gsi: 4, level: 1, irq_source_id: 0 },
});
const TRACE = [
  TRACE_HEADER,
  TRACE_EVENT,
  ...[
    ["kvm_ioapic_set_irq", { e: "0x34", pin: 4, coalesced: false }],
    ["kvm_pic_set_irq", { chip: 0, pin: 4, elcr: 0, imr: 255, coalesced: false }],
    ["kvm_apic_accept_irq", { apicid: 0, dm: 0, tm: 0, vec: 52 }],
    ["kvm_inj_virq", { vector: 52, soft: false, reinjected: false }],
    ["kvm_eoi", { apicid: 0, vector: 52 }],
    ["kvm_msi_set_irq", { address: "0xfee00000", data: "0x41" }],
  ].map(([event, args], n) => JSON.stringify({ ...JSON.parse(TRACE_EVENT), time: 2000 + n, event, args })),
  JSON.stringify({ summary: { events: 7, lost: 0, duration: 9000 } }),
];

const traces: Attack = {
  name: "traces",
  what: "mutated saved traces, in every format",
  short: 80,
  long: 2000,
  async run(arena, count) {
    await callEach(arena, count, (random, file) => {
      const lines = [...TRACE];
      const at = random.below(lines.length);
      lines[at] = mutateJson(random, JSON.parse(lines[at]!));
      writeFileSync(
        file,
        random.chance(0.7) ? `${lines.join("\n")}\n` : mutateBytes(random, Buffer.from(TRACE.join("\n"))),
      );
      const shown = random.pick([
        [],
        ["--json"],
        ["--stats-only"],
        ...["vcd", "perfetto", "svg"].map((f) => ["--format", f]),
      ]);
      return ["trace", "--from", file, ...shown];
    });
  },
};

/** Files that were made to do harm. */
export const FILE_ATTACKS: readonly Attack[] = [snapshots, restored, scripts, raws, traces, bigFiles];
