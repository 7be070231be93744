import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BusyVmm, haveBusyVmm, leftovers } from "../support/attach.ts";
import { type User, until } from "../support/cli.ts";
import { noTracing, PlainTracefs } from "../support/tracing.ts";
import type { Attack } from "./attack.ts";
import { call, problemsOf } from "./program.ts";
import type { Random } from "./random.ts";

/** How long a program may take to end once it is told to. */
const PATIENCE_MS = 20_000;

interface Killing {
  args: readonly string[];
  /** How long it may run until it is ended, at the most; counted from when it has begun what it does, if that shows. */
  ms: number;
  hasBegun?: (pid: number) => boolean;
  signal?: NodeJS.Signals;
}

/** Starts the program and ends it at a random point of the time that it takes. @returns its pid, and whether it ended. */
async function killSome(
  user: User,
  random: Random,
  { args, ms, hasBegun, signal = "SIGKILL" }: Killing,
): Promise<{ pid: number; problems: string[] }> {
  const child = user.start(args);
  child.stdout?.resume();
  child.stderr?.resume();
  const ended = once(child, "exit");
  if (hasBegun !== undefined && random.chance(0.7)) {
    await until("it has begun", () => child.exitCode !== null || hasBegun(child.pid!));
  }
  await sleep(random.next() * ms);
  child.kill(signal);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, PATIENCE_MS);
  await ended;
  clearTimeout(timer);
  return { pid: child.pid!, problems: late ? [`no end ${PATIENCE_MS / 1000} s after ${signal}`] : [] };
}

/** Pids of living holders of sessions with that name. */
function holdersNamed(name: string): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split(/[\0 ]/);
        return words[0] === "kvm-irq-holder" && words[1] === name;
      } catch {
        return false;
      }
    });
}

const killedCreates: Attack = {
  name: "kill-create",
  what: "create and destroy killed at random points: no holder without a session, no stale socket",
  short: 4,
  long: 150,
  async run({ user, tally, random }, count) {
    for (let n = 0; n < count; n++) {
      const name = `killed-${process.pid}-${n}`;
      const known = random.chance(0.5);
      if (known) user.ok(["create", name, "--backend", "model"]);
      const args = known
        ? random.pick([
            ["destroy", name],
            ["create", name, "--replace", "--backend", "model"],
          ])
        : ["create", name, "--backend", "model"];
      const { problems } = await killSome(user, random, { args, ms: 200 });
      // A holder that is on its way when its creator dies notices within a moment.
      const isSettled = () => holdersNamed(name).length === sessionsNamed(user, name);
      await until("holders and sessions agree", isSettled, 5000).catch(() => {
        problems.push(`${holdersNamed(name).length} holders, ${sessionsNamed(user, name)} sessions`);
      });
      if (sessionsNamed(user, name) > 0)
        problems.push(...problemsOf(await call(["-s", name, "dump", "--json"], { env: user.env }), [0]));
      user.run(["destroy", name]);
      // A holder that was still to start when its creator died shows after all of that, and ends by itself.
      const isClean = () => {
        user.run(["list"]);
        return user.leftovers().length === 0;
      };
      await until("nothing is left", isClean, 5000).catch(() =>
        problems.push(...user.leftovers().map((left) => `it left ${left}`)),
      );
      tally.count(args.join(" "), problems);
      for (const pid of holdersNamed(name)) process.kill(pid, "SIGKILL");
      rmSync(join(user.folder, "kvm-irq"), { recursive: true, force: true });
    }
  },
};

function sessionsNamed(user: User, name: string): number {
  return user.json(["list"]).sessions.filter((session: { name: string }) => session.name === name).length;
}

const killedDumps: Attack = {
  name: "kill-output",
  what: "dump -o killed at random points: the file is whole, or as it was",
  short: 8,
  long: 150,
  async run({ user, tally, random }, count) {
    user.ok(["create", "--backend", "model", "--vcpus", "64"]);
    const file = join(user.folder, "out");
    for (let n = 0; n < count; n++) {
      const signal = random.pick<NodeJS.Signals>(["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"]);
      const { problems } = await killSome(user, random, {
        args: ["dump", "--json", "-o", file],
        ms: 150,
        signal,
      });
      if (existsSync(file) && !/\}\s*$/.test(readFileSync(file, "utf8")))
        problems.push("the file is there in part");
      const beside = readdirSync(user.folder).filter((name) => name !== "out" && name !== "kvm-irq");
      // Nothing can be done about SIGKILL.
      if (signal !== "SIGKILL") problems.push(...beside.map((name) => `it left ${name}`));
      tally.count(signal, problems);
      for (const name of [...beside, "out"]) rmSync(join(user.folder, name), { force: true });
    }
    user.run(["destroy"]);
  },
};

const killedTraces: Attack = {
  name: "kill-trace",
  what: "trace killed at random points: no instance of the kernel's tracing stays",
  short: 3,
  long: 60,
  lacking: noTracing,
  async run({ user, tally, random }, count) {
    const tracefs = new PlainTracefs();
    try {
      for (let n = 0; n < count; n++) {
        const signal = random.pick<NodeJS.Signals>(["SIGKILL", "SIGKILL", "SIGTERM", "SIGHUP"]);
        const instances = () => readdirSync(join(tracefs.path, "instances"));
        const leftBy = (pid: number) => instances().filter((name) => name.split(/\D+/).includes(String(pid)));
        const { pid, problems } = await killSome(user, random, {
          args: ["trace", "--all", "-o", "/dev/null"],
          ms: 300,
          hasBegun: (pid) => leftBy(pid).length > 0,
          signal,
        });
        await until("no instance is left", () => leftBy(pid).length === 0, 10_000).catch(() =>
          problems.push(`it left ${leftBy(pid)}`),
        );
        tally.count(signal, problems);
      }
    } finally {
      // What was left goes with the next trace.
      user.run(["trace", "--all", "--for", "1ms", "-o", "/dev/null"]);
      tracefs.close();
    }
  },
};

/** Commands that attach, of which one vCPU's thread is held by some. */
const ATTACHING: readonly string[][] = [
  ["dump", "--json"],
  ["dump", "--chip", "pic1"],
  ["dump", "--chip", "lapic"],
  ["explain", "--json"],
  ["watch", "--interval", "20ms"],
];

const killedAttaches: Attack = {
  name: "kill-attach",
  what: "commands that attach killed at random points: no thread stays stopped or traced, the VMM goes on",
  short: 6,
  long: 200,
  lacking: !haveBusyVmm && "that takes /dev/kvm, root and a C compiler",
  async run({ user, tally, random }, count) {
    let vmm = await BusyVmm.start("calm");
    for (let n = 0; n < count; n++) {
      const args = [...random.pick(ATTACHING), "--pid", String(vmm.pid)];
      const signal = random.pick<NodeJS.Signals>(["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT"]);
      const { problems } = await killSome(user, random, { args, ms: 400, signal });
      await until("its threads are let go", () => leftovers(vmm.pid).length === 0, 5000).catch(() =>
        problems.push(...leftovers(vmm.pid)),
      );
      if (problems.length === 0) {
        const before = await vmm.status();
        await sleep(20);
        const { trouble, ...rounds } = await vmm.status();
        if (trouble !== "ok") problems.push(`the VMM says: ${trouble}`);
        for (const name of ["sleeps", "polls", "alarms"]) {
          if (Number(rounds[name]) <= Number(before[name])) problems.push(`its ${name} do not go on`);
        }
      }
      tally.count(`${signal} to ${args.join(" ")}`, problems);
      if (problems.length === 0) continue;
      await vmm.end();
      vmm = await BusyVmm.start("calm");
    }
    await vmm.end();
  },
};

/** The program itself, killed at random points. */
export const KILL_ATTACKS: readonly Attack[] = [killedCreates, killedDumps, killedTraces, killedAttaches];
