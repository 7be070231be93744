import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { PROGRAM } from "../support/cli.ts";
import type { Arena, Attack } from "./attack.ts";
import { call, measure, problemsOf } from "./program.ts";

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;

/** Mounts a file system for one attack; nothing of it is left. */
async function onTmpfs(folder: string, options: string, action: () => Promise<void>): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  try {
    await action();
  } finally {
    spawnSync("umount", ["-l", folder]);
  }
}

/** Whether something can be mounted here: root in a container often may not. */
const mayMount = isRoot && spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0;
const noMount = !mayMount && "that takes root, and permission to mount";

/** Commands that write a file, and what it is to hold when it is whole. */
const WRITERS: readonly { args: (file: string) => string[]; whole: RegExp }[] = [
  { args: (file) => ["dump", "--json", "-o", file], whole: /^\{.*\}\s*$/s },
  { args: (file) => ["dump", "--format", "raw", "-o", file], whole: /^.{600}/s },
  { args: (file) => ["dump", "-o", file], whole: /timer/ },
  {
    args: (file) => ["run", "script", "--backend", "model", "--format", "junit", "-o", file],
    whole: /<\/testsuites>\s*$/,
  },
  { args: (file) => ["run", "script", "--backend", "model", "--format", "tap", "-o", file], whole: /^ok 1/m },
  { args: (file) => ["trace", "--from", "trace", "--json", "-o", file], whole: /"summary"/ },
  { args: (file) => ["trace", "--from", "trace", "--format", "svg", "-o", file], whole: /<\/svg>\s*$/ },
  { args: (file) => ["trace", "--from", "trace", "--format", "vcd", "-o", file], whole: /\$enddefinitions/ },
];

function prepareWriters({ user }: Arena): void {
  user.ok(["create", "--backend", "model", "--vcpus", "4"]);
  writeFileSync(join(user.folder, "script"), `expect pic1.imr=0\n${"pulse 4\n".repeat(50)}`);
  const event = {
    time: 1000,
    cpu: 0,
    pid: 7,
    comm: "vmm",
    process: 7,
    event: "kvm_set_irq",
    args: { gsi: 4, level: 1, irq_source_id: 0 },
  };
  const lines: object[] = [
    {
      format: "kvm-irq.trace",
      version: 1,
      started_at: "2026-01-01T00:00:00.000Z",
      kernel: "6",
      clock: "mono",
      clock_origin: "0",
      events: [],
      missing: [],
    },
    ...Array.from({ length: 20 }, (_, n) => ({ ...event, time: 1000 + n })),
    { summary: { events: 20, lost: 0, duration: 9000 } },
  ];
  writeFileSync(join(user.folder, "trace"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

/** What is wrong with the folder that was written to: a file in part, or something beside it. */
function problemsIn(folder: string, before: readonly string[], file: string, whole: RegExp): string[] {
  const problems = readdirSync(folder)
    .filter((name) => !before.includes(name) && name !== file)
    .map((name) => `it left ${name}`);
  const path = join(folder, file);
  if (existsSync(path) && !whole.test(readFileSync(path, "latin1")))
    problems.push("the file is there in part");
  return problems;
}

const fullDisks: Attack = {
  name: "full-disk",
  what: "output to, and sessions on, a disk with little or no room",
  short: 4,
  long: 80,
  lacking: noMount,
  async run(arena, count) {
    prepareWriters(arena);
    const { user, tally, random } = arena;
    const disk = join(user.folder, "disk");
    for (let n = 0; n < count; n++) {
      const pages = random.below(5);
      await onTmpfs(disk, "size=64k,nr_inodes=20", async () => {
        writeFileSync(join(disk, "filler"), Buffer.alloc((16 - pages) * 4096));
        const { args, whole } = random.pick(WRITERS);
        const before = readdirSync(disk);
        const ran = await call(args("disk/out"), { env: user.env, cwd: user.folder });
        const problems = problemsOf(ran, [0, 2]);
        problems.push(...problemsIn(disk, before, "out", whole));
        if (ran.status === 0 && !existsSync(join(disk, "out"))) problems.push("it succeeded without a file");
        tally.count(`${args("out").join(" ")} with ${pages} pages`, problems);

        const redirected = await call(["dump", "--json"], {
          env: user.env,
          cwd: user.folder,
          prefix: ["sh", "-c", 'exec "$@" > disk/redirected', "sh"],
        });
        const written = readFileSync(join(disk, "redirected"), "utf8");
        const lost =
          redirected.status === 0 && !/\}\s*$/.test(written) ? ["it succeeded with half of it written"] : [];
        tally.count(`a redirection with ${pages} pages`, [...problemsOf(redirected, [0, 2]), ...lost]);
      });
      const inodes = 1 + random.below(6);
      await onTmpfs(disk, `size=64k,nr_inodes=${inodes}`, async () => {
        const env = { ...user.env, XDG_RUNTIME_DIR: disk };
        const created = await call(["create", "--backend", "model"], { env });
        const problems = problemsOf(created, [0, 2, 4]);
        if (created.status === 0) problems.push(...problemsOf(await call(["destroy"], { env }), [0]));
        const left = readdirSync(disk, { recursive: true }).filter((name) => name !== "kvm-irq");
        if (left.length > 0) problems.push(`it left ${left}`);
        tally.count(`create with ${inodes} inodes`, problems);
      });
    }
  },
};

const readOnlyFolders: Attack = {
  name: "read-only",
  what: "output to, and sessions in, folders that can't be written",
  short: 4,
  long: 40,
  lacking: noMount,
  async run(arena, count) {
    prepareWriters(arena);
    const { user, tally, random } = arena;
    const disk = join(user.folder, "disk");
    mkdirSync(disk);
    await onTmpfs(disk, "ro", async () => {
      for (let n = 0; n < count; n++) {
        const { args } = random.pick(WRITERS);
        tally.count(
          args("disk/out").join(" "),
          problemsOf(await call(args("disk/out"), { env: user.env, cwd: user.folder }), [2]),
        );
        const env = { ...user.env, XDG_RUNTIME_DIR: disk };
        const command = random.pick([
          ["create", "--backend", "model"],
          ["create", "--replace", "--backend", "model"],
          ["destroy"],
          ["dump"],
        ]);
        tally.count(
          `${command.join(" ")} on a read-only disk`,
          problemsOf(await call(command, { env }), [4]),
        );
        tally.count("list on a read-only disk", problemsOf(await call(["list"], { env }), [0, 4]));
      }
    });
  },
};

const descriptors: Attack = {
  name: "descriptors",
  what: "few descriptors, from as many as Node itself needs",
  short: 6,
  long: 200,
  async run(arena, count) {
    prepareWriters(arena);
    const { user, tally, random } = arena;
    const limited = (limit: number) => ["sh", "-c", `ulimit -n ${limit}; exec "$@"`, "sh"];
    const least = [...Array(60).keys()].find((limit) => {
      const [command, ...rest] = [...limited(limit), process.execPath, PROGRAM, "--version"];
      return spawnSync(command!, rest).status === 0;
    });
    if (least === undefined) throw new Error("node needs more than 60 descriptors to start");
    for (let n = 0; n < count; n++) {
      const limit = least + random.below(12);
      const args = random.pick([
        ["dump"],
        ["list"],
        ["pulse", "4"],
        ["create", "x", "--replace", "--backend", "model"],
        ["dump", "--snapshot", "trace"],
        ["run", "script", "--backend", "model"],
        ["dump", "-o", "out"],
        ["explain", "--json"],
        ["doctor"],
        ["trace", "--from", "trace"],
        ["destroy", "x"],
      ]);
      const ran = await call(args, { env: user.env, cwd: user.folder, prefix: limited(limit) });
      tally.took(ran);
      tally.count(`${args.join(" ")} with ${limit} descriptors`, problemsOf(ran));
    }
    for (const name of readdirSync(join(user.folder, "kvm-irq"))) {
      tally.count("what is left", name.startsWith(".") ? [`it left ${name}`] : []);
    }
  },
};

const plantedLinks: Attack = {
  name: "planted-links",
  what: "links where the temporary file of --output would be, by its pid, and where the file itself is",
  short: 3,
  long: 40,
  async run(arena, count) {
    prepareWriters(arena);
    const { user, tally, random } = arena;
    const victim = join(user.folder, "victim");
    const folder = join(user.folder, "shared");
    for (let n = 0; n < count; n++) {
      mkdirSync(folder);
      writeFileSync(victim, "precious");
      const { args, whole } = random.pick(WRITERS);
      const { pid } = spawnSync("true");
      for (let ahead = 1; ahead < 300; ahead++) symlinkSync(victim, join(folder, `out.${pid + ahead}.tmp`));
      const before = readdirSync(folder);
      const ran = await call(args("shared/out"), { env: user.env, cwd: user.folder });
      const problems = [...problemsOf(ran, [0, 2]), ...problemsIn(folder, before, "out", whole)];
      if (readFileSync(victim, "utf8") !== "precious")
        problems.push("the file behind a link was overwritten");
      if (existsSync(join(folder, "out")) && lstatSync(join(folder, "out")).isSymbolicLink())
        problems.push("the output is a link");
      tally.count(args("out").join(" "), problems);
      rmSync(folder, { recursive: true });
    }
  },
};

const foreignFolders: Attack = {
  name: "foreign-folders",
  what: "root with an XDG_RUNTIME_DIR that another user owns, can write, or has put a link into",
  short: 5,
  long: 30,
  lacking: !isRoot && "that takes root",
  async run({ user, tally, random }, count) {
    const makers: readonly [string, (folder: string) => string][] = [
      [
        "another user's folder",
        (folder) => {
          chownSync(folder, NOBODY, NOBODY);
          return folder;
        },
      ],
      [
        "a folder that all can write",
        (folder) => {
          chmodSync(folder, 0o777);
          return folder;
        },
      ],
      [
        "a folder in another user's",
        (folder) => {
          mkdirSync(join(folder, "mine"), { mode: 0o700 });
          chownSync(folder, NOBODY, NOBODY);
          return join(folder, "mine");
        },
      ],
      [
        "a link of another user's to a folder of root's",
        (folder) => {
          mkdirSync(join(folder, "theirs"));
          mkdirSync(join(folder, "mine"), { mode: 0o700 });
          symlinkSync(join(folder, "mine"), join(folder, "theirs", "link"));
          spawnSync("chown", ["-h", `${NOBODY}`, join(folder, "theirs", "link")]);
          chownSync(join(folder, "theirs"), NOBODY, NOBODY);
          return join(folder, "theirs", "link");
        },
      ],
      [
        "another user's kvm-irq in a folder of root's",
        (folder) => {
          mkdirSync(join(folder, "kvm-irq"), { mode: 0o700 });
          chownSync(join(folder, "kvm-irq"), NOBODY, NOBODY);
          return folder;
        },
      ],
      [
        "a link in the place of kvm-irq",
        (folder) => {
          mkdirSync(join(folder, "elsewhere"), { mode: 0o700 });
          symlinkSync("elsewhere", join(folder, "kvm-irq"));
          return folder;
        },
      ],
    ];
    for (let n = 0; n < count; n++) {
      const [what, make] = makers[n % makers.length]!;
      const base = join(user.folder, `folder-${n}`);
      mkdirSync(base, { mode: 0o755 });
      const env = { ...user.env, XDG_RUNTIME_DIR: make(base) };
      const args = random.pick([
        ["create", "--backend", "model"],
        ["dump"],
        ["create", "--replace", "--backend", "model"],
      ]);
      const ran = await call(args, { env });
      const problems = problemsOf(ran, [4]);
      if (ran.status === 0) await call(["destroy", "--all"], { env });
      tally.count(`${args.join(" ")} with ${what}`, problems);
    }
  },
};

const swappedFolders: Attack = {
  name: "swapped-folders",
  what: "the folder of sessions replaced by a link to another user's, again and again, while commands run",
  short: 6,
  long: 150,
  lacking: !isRoot && "that takes root",
  async run({ user, tally, random }, count) {
    user.ok(["create", "--backend", "model"]);
    const theirs = join(user.folder, "theirs");
    mkdirSync(join(theirs, "default"), { recursive: true, mode: 0o700 });
    spawnSync("chown", ["-R", `${NOBODY}`, theirs]);
    const [folder, aside] = [join(user.folder, "kvm-irq"), join(user.folder, "aside")];
    let real = true;
    const swap = () => {
      if (real) {
        renameSync(folder, aside);
        symlinkSync("theirs", folder);
      } else {
        rmSync(folder);
        renameSync(aside, folder);
      }
      real = !real;
    };
    for (let n = 0; n < count; n++) {
      const swapping = setInterval(swap, 1 + random.below(8));
      const args = random.pick([
        ["create", "x", "--backend", "model", "--replace"],
        ["dump"],
        ["list"],
        ["pulse", "4"],
        ["destroy", "x"],
      ]);
      const ran = await call(args, { env: user.env });
      clearInterval(swapping);
      if (!real) swap();
      const problems = problemsOf(ran, [0, 2, 4]);
      const strange = readdirSync(theirs, { recursive: true }).filter((name) => name !== "default");
      if (strange.length > 0) problems.push(`it wrote ${strange} into another user's folder`);
      for (const name of strange) rmSync(join(theirs, String(name)), { recursive: true, force: true });
      tally.count(args.join(" "), problems);
    }
    user.run(["destroy", "--all"]);
  },
};

const closedStreams: Attack = {
  name: "streams",
  what: "standard streams that are closed, full, or of which the reader is gone",
  short: 6,
  long: 200,
  async run(arena, count) {
    prepareWriters(arena);
    const { tally, random } = arena;
    const node = `'${process.execPath}' '${join(process.cwd(), "bin/kvm-irq.js")}'`;
    const ends: readonly [string, readonly number[]][] = [
      [">/dev/full", [2]],
      [">&-", [0, 2]],
      ["<&-", [0]],
      ["2>&-", [0]],
      ["2>/dev/full", [0]],
      ["| true", [0]],
      ["| head -c 1 >/dev/null", [0]],
      [">&- 2>&- <&-", [0, 2]],
    ];
    for (let n = 0; n < count; n++) {
      const [end, allowed] = random.pick(ends);
      const args = random.pick([
        "dump",
        "dump --json",
        "explain",
        "list",
        "--version",
        "--help",
        "run script --backend model",
        "trace --from trace --json",
        "dump --format raw -o /dev/null",
        "completion bash",
      ]);
      const ran = await measureShell(`${node} ${args} ${end}`, arena);
      tally.count(
        `${args} ${end}`,
        problemsOf(ran, [
          ...allowed,
          ...(args === "explain" ? [1] : []),
          // Nothing goes to the standard output that is full.
          ...(args.includes("-o") ? [0] : []),
        ]),
      );
    }
  },
};

async function measureShell(line: string, { user }: Arena) {
  return measure(["bash", "-o", "pipefail", "-c", line], { env: user.env, cwd: user.folder });
}

/** What a system that is short of something, or somebody in it, does to a program. */
export const FAULT_ATTACKS: readonly Attack[] = [
  fullDisks,
  readOnlyFolders,
  descriptors,
  plantedLinks,
  foreignFolders,
  swappedFolders,
  closedStreams,
];
