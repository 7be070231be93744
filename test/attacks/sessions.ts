import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { User } from "../support/cli.ts";
import { descriptorsOf, until } from "../support/cli.ts";
import type { Arena, Attack } from "./attack.ts";
import { mutateBytes, mutateJson, TERMINAL_TEXTS } from "./mutate.ts";
import { call, problemsOf } from "./program.ts";
import type { Random } from "./random.ts";

/** The memory that a holder may take, whatever it is sent. */
const MOST_HOLDER_KIB = 300 * 1024;

/** A session's socket, and its holder's pid. */
export function holderOf(user: User, name = "default"): { path: string; pid: number } {
  const folder = join(user.folder, "kvm-irq", name);
  const [file] = readdirSync(folder);
  return { path: join(folder, file!), pid: user.json(["list"]).sessions[0].pid };
}

/** The most memory that a process has taken, in KiB; `undefined` when it has ended, reaped or not. */
export function peakOf(pid: number): number | undefined {
  try {
    const [, kib] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return kib === undefined ? undefined : Number(kib);
  } catch {
    return undefined;
  }
}

/** Asks as an honest client does. @returns what is wrong with the answer. */
async function askHonestly(path: string): Promise<string[]> {
  const socket = connect(path);
  const answer = new Promise<string>((resolve) => {
    let text = "";
    socket.on("data", (piece) => {
      text += piece;
      if (text.endsWith("\n")) resolve(text);
    });
    socket.on("error", (error) => resolve(error.message));
    socket.on("close", () => resolve("it hung up"));
  });
  socket.write('{"jsonrpc":"2.0","id":7,"method":"describe","params":{}}\n');
  const late = sleep(10_000, "it is silent", { ref: false });
  const said = await Promise.race([answer, late]);
  socket.destroy();
  return /"id":7,"result"|"result":.*"id":7/.test(said) ? [] : [`an honest request: ${said.slice(0, 200)}`];
}

const HONEST_FRAMES: readonly object[] = [
  { method: "describe", params: {} },
  { method: "readChips", params: { ids: ["pic1", "pic2", "ioapic", "lapic[0]"] } },
  {
    method: "setIrqLines",
    params: {
      steps: [
        { gsi: 4, level: 1 },
        { gsi: 4, level: 0 },
      ],
      transient: true,
    },
  },
  { method: "signalMsis", params: { messages: [{ address: 0xfee00000, data: 0x41 }] } },
  { method: "setRouting", params: { routing: [{ gsi: 24, msi: { address: 0xfee00000, data: 0x51 } }] } },
  { method: "irqfd", params: { action: { do: "bind", gsi: 4, resample: false } } },
  {
    method: "writeChips",
    params: { images: [{ id: "pic1", base64: "AAAAAAAAAAAAAAAAAAAAAA==" }], expected: [] },
  },
].map((frame, id) => ({ jsonrpc: "2.0", id, ...frame }));

function hostileFrame(random: Random): Buffer {
  const honest = random.pick(HONEST_FRAMES);
  const frame = random.pick<() => string | Buffer>([
    () => mutateJson(random, honest),
    () => mutateJson(random, honest),
    () => mutateBytes(random, Buffer.from(JSON.stringify(honest))),
    () => `[${mutateJson(random, honest)},${mutateJson(random, honest)}]`,
    () =>
      random.pick([
        "[null]",
        "",
        "null",
        "[]",
        "{}",
        "[[]]",
        "0",
        '"',
        "\u0000",
        '{"id":1}',
        "\ufeff{}",
        "[".repeat(5000),
      ]),
  ])();
  // What ends it is not meant to be tried here.
  return Buffer.from(frame.toString("latin1").replaceAll("destroy", "destr0y"), "latin1");
}

const frames: Attack = {
  name: "frames",
  what: "mutated frames to a session's holder, an honest request after each",
  short: 200,
  long: 2000,
  async run({ random, user, tally }, count) {
    user.ok(["create"]);
    let holder = holderOf(user);
    for (let n = 0; n < count; n++) {
      const frame = hostileFrame(random);
      const socket = connect(holder.path);
      socket.on("error", () => {});
      socket.resume();
      await new Promise<void>((resolve) =>
        socket.write(Buffer.concat([frame, Buffer.from("\n")]), () => resolve()),
      );
      const problems = await askHonestly(holder.path);
      socket.destroy();
      tally.count(`frame ${n}: ${frame.toString("utf8").slice(0, 200)}`, problems);
      if (problems.length === 0) continue;
      user.run(["create", "--replace"]);
      holder = holderOf(user);
    }
    countHolder({ random, user, tally }, "its memory", holder.pid);
  },
};

function countHolder({ tally }: Arena, what: string, pid: number): void {
  const kib = peakOf(pid);
  tally.took({ kib });
  if (kib === undefined) tally.count(what, ["the holder is gone"]);
  else tally.count(what, kib > MOST_HOLDER_KIB ? [`${Math.round(kib / 1024)} MiB`] : []);
}

const request = (id: number, method: string, params: object) =>
  `${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`;

/** What costs a holder far more than it costs the client: what to send, and whether the answers are read. */
const FLOODS: readonly {
  name: string;
  frame: () => string;
  times?: number;
  clients?: number;
  deaf?: boolean;
}[] = [
  {
    name: "a batch of 4 MB",
    frame: () =>
      `[${Array(5e4)
        .fill(request(1, "describe", {}).trim())
        .join(",")}]\n`,
  },
  { name: "370,000 ids", frame: () => request(1, "readChips", { ids: Array(370_000).fill("ioapic") }) },
  { name: "a million brackets", frame: () => `${"[".repeat(1e6)}\n` },
  {
    name: "a megabyte of id",
    frame: () => `{"jsonrpc":"2.0","id":"${"x".repeat(1e6)}","method":"describe"}\n`,
    times: 20,
  },
  {
    name: "answers that nobody reads",
    frame: () => request(1, "readChips", { ids: ["ioapic", "lapic[0]"] }),
    times: 30_000,
    deaf: true,
  },
  { name: "frames without an end", frame: () => "x".repeat(900_000), clients: 200, deaf: true },
  { name: "2,000 newlines of a million", frame: () => "\n".repeat(1e6), times: 20 },
  {
    name: "100,000 routes",
    frame: () => request(1, "setRouting", { routing: Array(1e5).fill({ gsi: 1, chip: "ioapic", pin: 1 }) }),
  },
  { name: "a flood without a newline", frame: () => "x".repeat(1e6), times: 100 },
];

const floods: Attack = {
  name: "floods",
  what: "frames that cost a holder far more than their size; clients that don't read",
  short: 3,
  long: 100,
  async run(arena, count) {
    const { user, tally } = arena;
    for (const { name, frame, times = 1, clients = 1, deaf = false } of FLOODS.slice(0, count)) {
      user.ok(["create", "--replace"]);
      const { path, pid } = holderOf(user);
      const text = frame();
      const sockets = Array.from({ length: clients }, () => flood(path, text, times, deaf));
      const problems = await askHonestly(path);
      tally.count(name, problems);
      await sleep(500);
      countHolder(arena, `${name}: memory`, pid);
      for (const socket of sockets) socket.destroy();
    }
  },
};

function flood(path: string, text: string, times: number, deaf: boolean): Socket {
  const socket = connect(path);
  socket.on("error", () => {});
  if (deaf) socket.pause();
  else socket.resume();
  for (let n = 0; n < times; n++) socket.write(text);
  return socket;
}

/** What a holder that means harm may say, whatever it is asked. */
const REPLIES: readonly string[] = [
  ..."null 0 [] {} [null] x true [{}]".split(" "),
  '{"jsonrpc":"2.0","id":ID}',
  '{"jsonrpc":"2.0","id":ID,"result":null}',
  '{"jsonrpc":"2.0","id":ID,"result":[]}',
  '{"jsonrpc":"2.0","id":ID,"result":{}}',
  '{"jsonrpc":"2.0","id":ID,"result":{"images":null,"statuses":null,"host":null}}',
  '{"jsonrpc":"2.0","id":ID,"result":{"name":"a","pid":"x","host":{"arch":"z"},"routing":7,"vcpus":1e9,"images":[{"id":"pic1","base64":"AA=="}],"statuses":["x"]}}',
  '{"jsonrpc":"2.0","id":ID,"error":null}',
  '{"jsonrpc":"2.0","id":ID,"error":{}}',
  '{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"x","data":null}}',
  '{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"x","data":{"code":"__proto__","message":{}}}}',
  ...TERMINAL_TEXTS.map(
    (text) =>
      `{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"x","data":{"code":"conflict","message":${JSON.stringify(text)},"hint":${JSON.stringify(text)}}}}`,
  ),
  "SILENCE",
  "HANG UP",
  "ENDLESS",
];

const BAD_HOLDER = fileURLToPath(new URL("../../test/attacks/bad-holder.js", import.meta.url));

/**
 * A holder that is none, in a process of its own.
 *
 * @param pid what its socket's name says that it is.
 */
async function badHolder(user: User, name: string, reply: string, pid?: number): Promise<ChildProcess> {
  mkdirSync(join(user.folder, "kvm-irq", name), { recursive: true, mode: 0o700 });
  const folder = join(user.folder, "kvm-irq", name);
  const child = spawn(process.execPath, [BAD_HOLDER, folder, reply, String(pid ?? "")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout!, "data");
  return child;
}

const COMMANDS: readonly string[][] = [
  ["-s", "bad", "dump"],
  ["-s", "bad", "dump", "--json"],
  ["-s", "bad", "pulse", "4"],
  ["-s", "bad", "explain"],
  ["-s", "bad", "explain", "4"],
  ["-s", "bad", "set", "pic1.imr=0"],
  ["-s", "bad", "msi", "--vector", "0x41"],
  ["-s", "bad", "expect", "pic1.imr=0"],
  ["-s", "bad", "irqfd", "list"],
  ["-s", "bad", "route", "show"],
  ["destroy", "bad"],
  ["list"],
  ["list", "--json"],
];

const badHolders: Attack = {
  name: "bad-holders",
  what: "sessions whose holder answers with anything, with nothing or without end",
  short: 15,
  long: 600,
  async run({ user, tally, random }, count) {
    user.ok(["create", "good"]);
    const pairs = REPLIES.flatMap((reply) => COMMANDS.map((args) => ({ reply, args })));
    const chosen = count >= pairs.length ? pairs : Array.from({ length: count }, () => random.pick(pairs));
    for (const { reply, args } of chosen) {
      // What silence costs is known after two commands, which wait for it.
      if (reply === "SILENCE" && count < pairs.length && args[0] !== "list") continue;
      const holder = await badHolder(user, "bad", reply);
      const ran = await call(args, { env: user.env });
      holder.kill("SIGKILL");
      const lists = args[0] === "list";
      const problems = problemsOf(ran, lists ? [0] : args[0] === "destroy" ? [0, 4, 5] : [4, 5]);
      if (lists && !ran.stdout.includes("good")) problems.push("the good session is not listed");
      tally.took(ran);
      tally.count(`${args.join(" ")} to ${reply}`, problems);
    }
  },
};

const innocents: Attack = {
  name: "innocents",
  what: "destroy of a silent holder whose socket names another process",
  short: 2,
  long: 20,
  async run({ user, tally, random }, count) {
    for (let n = 0; n < count; n++) {
      const victim = spawn("sleep", ["600"]);
      const holder = await badHolder(user, "silent", "SILENCE", victim.pid!);
      const ran = await call(
        random.pick([
          ["destroy", "silent"],
          ["destroy", "--all"],
        ]),
        { env: user.env },
      );
      await sleep(50);
      const problems = problemsOf(ran);
      if (victim.exitCode !== null || victim.signalCode !== null)
        problems.push("an innocent process was killed");
      victim.kill("SIGKILL");
      holder.kill("SIGKILL");
      tally.took(ran);
      tally.count(`destroy ${n}`, problems);
      user.run(["list"]);
    }
  },
};

const pathLengths: Attack = {
  name: "path-lengths",
  what: "an XDG_RUNTIME_DIR of 60 to 110 bytes: a session in it is reached, or refused",
  short: 6,
  long: 51,
  async run({ user, tally }, count) {
    for (let n = 0; n < count; n++) {
      // Around the longest path of a socket first.
      const length = 60 + ((n * (count < 51 ? 1 : 7) + 9) % 51);
      const folder = join(user.folder, "x".repeat(length - user.folder.length - 1));
      mkdirSync(folder, { recursive: true });
      const env = { ...user.env, XDG_RUNTIME_DIR: folder };
      const created = await call(["create"], { env });
      const problems = problemsOf(created, [0, 2, 4]);
      if (created.status === 0) {
        const used = await call(["pulse", "4"], { env });
        problems.push(...problemsOf(used, [0]));
        if (used.status !== 0) problems.push("a session that nobody can reach");
        problems.push(...problemsOf(await call(["destroy"], { env }), [0]));
      } else if (readdirSync(folder, { recursive: true }).length > 1) problems.push("it left something");
      tally.count(`${length} bytes`, problems);
    }
  },
};

/** Whether a process listens on a TCP port, as Node's debugger does. */
function listensOnTcp(pid: number): boolean {
  const sockets = descriptorsOf(pid);
  const listening = [
    ...readFileSync(`/proc/${pid}/net/tcp`, "utf8").matchAll(/ 0A .*? (\d+) \d+ [0-9a-f]{16} /g),
  ];
  return listening.some(([, inode]) => sockets.includes(`socket:[${inode}]`));
}

const debuggers: Attack = {
  name: "debugger",
  what: "SIGUSR1 to a holder, as it starts and later: it opens no debugger, and lives",
  short: 3,
  long: 20,
  async run({ user, tally, random }, count) {
    for (let n = 0; n < count; n++) {
      const creating = user.start(["create", "--replace"]);
      // From the start of the program on: whenever its holder appears.
      const young = setInterval(() => {
        for (const pid of childrenOf(creating.pid!)) trySignal(pid, "SIGUSR1");
      }, 1 + random.below(20));
      const [status] = await once(creating, "exit");
      clearInterval(young);
      if (status !== 0) user.ok(["create", "--replace"]);
      const { path, pid } = holderOf(user);
      trySignal(pid, "SIGUSR1");
      await sleep(300);
      const problems = await askHonestly(path);
      if (peakOf(pid) !== undefined && listensOnTcp(pid)) problems.push("it listens on a TCP port");
      tally.count(`holder ${n}`, problems);
    }
  },
};

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    // A process that has not called exec(2) yet is still a copy of its parent.
    if (readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("kvm-irq-holder")) process.kill(pid, signal);
  } catch {
    // It is gone.
  }
}

/** How many clients call at once. */
const CLIENTS = 50;

const crowds: Attack = {
  name: "crowds",
  what: `${CLIENTS} clients at once of a holder that is killed or stopped`,
  short: 12,
  long: 200,
  async run({ user, tally, random }, count) {
    for (let round = 0; round * CLIENTS < count; round++) {
      user.ok(["create", "--replace"]);
      const { pid } = holderOf(user);
      const signal = round % 2 === 0 ? "SIGKILL" : "SIGSTOP";
      const calls = Array.from({ length: Math.min(CLIENTS, count) }, async () => {
        const args = random.pick([
          ["dump"],
          ["pulse", "4"],
          ["dump", "--json"],
          ["hold", "5", "--for", "300ms"],
          ["explain", "4"],
        ]);
        const ran = await call(args, { env: user.env });
        tally.took(ran);
        tally.count(`${args.join(" ")} and ${signal}`, problemsOf(ran, [0, 1, 4]));
      });
      await sleep(random.below(1500));
      process.kill(pid, signal);
      await Promise.all(calls);
      const ended = await call(["destroy"], { env: user.env });
      const problems = problemsOf(ended, [0, 4]);
      if (peakOf(pid) !== undefined) problems.push("the holder lives on");
      tally.count(`destroy after ${signal}`, problems);
    }
  },
};

const stoppedBacklog: Attack = {
  name: "backlog",
  what: "destroy of a stopped holder whose backlog is full",
  short: 1,
  long: 3,
  async run({ user, tally }, count) {
    for (let n = 0; n < count; n++) {
      user.ok(["create", "--replace"]);
      const { path, pid } = holderOf(user);
      process.kill(pid, "SIGSTOP");
      const sockets = Array.from({ length: 600 }, () => {
        const socket = connect(path);
        socket.on("error", () => {});
        return socket;
      });
      await sleep(300);
      const ran = await call(["destroy"], { env: user.env });
      const problems = problemsOf(ran, [0]);
      await until("its holder has ended", () => peakOf(pid) === undefined, 3000).catch(() =>
        problems.push("it lives on"),
      );
      if (problems.length > 0) process.kill(pid, "SIGKILL");
      for (const socket of sockets) socket.destroy();
      tally.took(ran);
      tally.count(`destroy ${n}`, problems);
    }
  },
};

/** Attacks on sessions and their holders. */
export const SESSION_ATTACKS: readonly Attack[] = [
  frames,
  floods,
  badHolders,
  innocents,
  pathLengths,
  debuggers,
  crowds,
  stoppedBacklog,
];
