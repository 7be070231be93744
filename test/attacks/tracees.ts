import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { BusyVmm, compile, haveBusyVmm, leftovers } from "../support/attach.ts";
import { PROGRAM, until } from "../support/cli.ts";
import { SandboxedVmm, WAYS_TO_WAIT } from "../support/sandboxed-vmm.ts";
import { noTracing } from "../support/tracing.ts";
import type { Attack } from "./attack.ts";
import { call, interruptedAfter, Many, measure, problemsOf } from "./program.ts";

const needsVmm = !haveBusyVmm && "that takes /dev/kvm, root and a C compiler";

/** What attaches once, and what does so again and again. */
const ATTACHING: readonly string[][] = [
  ["dump", "--json"],
  ["dump", "--chip", "pic1"],
  ["dump", "--chip", "lapic"],
  ["explain", "--json"],
  ["watch", "--interval", "20ms"],
  ["watch", "--interval", "20ms", "--json"],
];

const execs: Attack = {
  name: "exec",
  what: "a VMM that becomes another program, elsewhere in memory, while it is attached to",
  short: 4,
  long: 100,
  lacking: needsVmm,
  async run({ user, tally, random }, count) {
    const program = compile("exec-vmm", "attacks");
    const start = async () => {
      const vmm = spawn(program, ["0"], { stdio: ["ignore", "pipe", "inherit"] });
      await once(vmm.stdout, "data");
      vmm.stdout.resume();
      return vmm;
    };
    let vmm = await start();
    for (let n = 0; n < count; n++) {
      const args = [...random.pick(ATTACHING), "--pid", String(vmm.pid)];
      const ran = await call(args, { env: user.env, prefix: interruptedAfter(2) });
      const problems = problemsOf(ran, [0, 1, 2, 4, 130]);
      if (vmm.exitCode !== null || vmm.signalCode !== null) {
        problems.push(`the program that it became ended: ${vmm.signalCode ?? vmm.exitCode}`);
        vmm = await start();
      } else {
        await until("its threads are let go", () => leftovers(vmm.pid!).length === 0, 5000).catch(() =>
          problems.push(...leftovers(vmm.pid!)),
        );
      }
      tally.count(args.join(" "), problems);
    }
    vmm.kill("SIGKILL");
  },
};

/**
 * In a PID namespace of its own: a VMM that is watched dies, an innocent process gets its pid. Says TRACED for
 * each time that it was seen to be traced, then the status of the watch.
 */
const RECYCLE = `
exec 3> >(exec sleep 30)
"$VMM" calm <&3 >/dev/null & vmm=$!
sleep 0.3
"$NODE" "$PROGRAM" "$@" --pid $vmm >/dev/null & watch=$!
sleep "$AFTER"
kill -9 $vmm; wait $vmm 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9; do
  echo $((vmm - 1)) >/proc/sys/kernel/ns_last_pid
  sleep 30 & innocent=$!
  [ $innocent = $vmm ] && break
done
[ $innocent = $vmm ] && echo RECYCLED
end=$((SECONDS + 2))
while [ $SECONDS -lt $end ]; do
  while read -r key value; do
    case "$key $value" in "TracerPid: 0") ;; TracerPid:*) echo TRACED; break 2 ;; esac
  done </proc/$innocent/status
done
kill -INT $watch 2>/dev/null; wait $watch; echo "STATUS $?"
kill -0 $innocent || echo DEAD
kill -9 $innocent`;

const mayUnshare = spawnSync("unshare", ["-pf", "--mount-proc", "true"]).status === 0;

const recycledPids: Attack = {
  name: "recycled-pid",
  what: "a VMM that is watched dies, and an innocent process gets its pid",
  short: 1,
  long: 20,
  lacking: needsVmm || (!mayUnshare && "that takes a PID namespace"),
  async run({ user, tally, random }, count) {
    await (await BusyVmm.start("calm")).end();
    for (let n = 0; n < count; n++) {
      const env = {
        ...user.env,
        VMM: ".cache/attach/busy-vmm",
        NODE: process.execPath,
        PROGRAM,
        AFTER: (0.5 + random.next()).toFixed(2),
      };
      const args = random.pick([
        ["watch", "--interval", "20ms"],
        ["watch", "--interval", "50ms", "--json"],
      ]);
      const shell = [
        "unshare",
        "-pf",
        "--kill-child",
        "--mount-proc",
        "bash",
        "-c",
        RECYCLE,
        "bash",
        ...args,
      ];
      const ran = await measure(shell, { env });
      const status = Number(/STATUS (\d+)/.exec(ran.stdout)?.[1]);
      const problems = problemsOf({ ...ran, status, stdout: "" }, [0, 4, 130]);
      if (!ran.stdout.includes("RECYCLED")) problems.push("the pid was not given again");
      if (ran.stdout.includes("TRACED")) problems.push("an innocent process was traced");
      if (ran.stdout.includes("DEAD")) problems.push("an innocent process died");
      tally.count(args.join(" "), problems);
    }
  },
};

const attachStorms: Attack = {
  name: "attach-storm",
  what: "many commands that attach to one VMM at once",
  short: 8,
  long: 200,
  lacking: needsVmm,
  async run({ user, tally, random }, count) {
    const vmm = await BusyVmm.start("calm");
    const crowd = 8;
    for (let n = 0; n < count; n += crowd) {
      await Promise.all(
        Array.from({ length: Math.min(crowd, count - n) }, async () => {
          const args = [...random.pick(ATTACHING.slice(0, 4)), "--pid", String(vmm.pid)];
          const ran = await call(args, { env: user.env });
          tally.took(ran);
          tally.count(args.join(" "), problemsOf(ran, [0, 1, 4]));
        }),
      );
      await sleep(10);
      const { trouble } = await vmm.status();
      tally.count("the VMM", [...leftovers(vmm.pid), ...(trouble === "ok" ? [] : [`it says ${trouble}`])]);
    }
    await vmm.end();
  },
};

const escapes: Attack = {
  name: "seccomp-escapes",
  what: "attaches to a VMM whose threads try a forbidden system call all the time: none goes through",
  short: 40,
  long: 1000,
  lacking: needsVmm,
  async run({ user, tally, random }, count) {
    const vmm = await SandboxedVmm.start("forbidden");
    const many = new Many(user.env, user.folder);
    for (let n = 0; n < count; n++) {
      const chip = random.pick(["pic1", "lapic", "all"]);
      const [before, tries] = [vmm.read("escapes"), vmm.read("rounds")];
      const ran = await many.call(["dump", "--chip", chip, "--pid", String(vmm.pid)]);
      const problems = problemsOf(ran, [0]);
      const through = vmm.read("escapes") - before;
      if (through > 0) problems.push(`${through} forbidden calls went through`);
      if (n === 0) await until("it tries", () => vmm.read("rounds") > tries);
      tally.count(`dump --chip ${chip}`, problems);
    }
    many.dispose();
    await vmm.end();
  },
};

/** How often each VMM with a filter of its own is attached to. */
const ATTACHES_EACH = 10;

const filters: Attack = {
  name: "seccomp-filters",
  what: "attaches to VMMs whose filters allow their own way to wait and nothing else: they live, and wait on",
  short: 30,
  long: WAYS_TO_WAIT.length * 2 * 100,
  lacking: needsVmm,
  async run({ user, tally, random }, count) {
    const many = new Many(user.env, user.folder);
    for (let n = 0; n * ATTACHES_EACH < count; n++) {
      const way = WAYS_TO_WAIT[(n + random.below(2)) % WAYS_TO_WAIT.length]!;
      const parked = random.chance(0.5) ? ["parked"] : [];
      const vmm = await SandboxedVmm.start(way, ...parked);
      for (let attach = 0; attach < ATTACHES_EACH; attach++) {
        const chip = random.pick(["pic1", "lapic"]);
        const ran = await many.call(["dump", "--chip", chip, "--pid", String(vmm.pid)]);
        tally.count(`dump --chip ${chip} of ${way} ${parked}`, problemsOf(ran, [0]));
      }
      tally.count(`${way} ${parked}`, await vmm.harm(way).catch((error) => [String(error)]));
      await vmm.end();
    }
    many.dispose();
  },
};

const storms: Attack = {
  name: "trace-storm",
  what: "trace of a VM that raises interrupts as fast as it can, and Ctrl-C: an end within seconds, in little memory",
  short: 2,
  long: 30,
  lacking: needsVmm || noTracing,
  async run({ user, tally, random }, count) {
    const vmm = spawn(compile("storm-vmm"), ["0", "0"], { stdio: ["pipe", "pipe", "inherit"] });
    await once(vmm.stdout, "data");
    vmm.stdin.write("go\n");
    for (let n = 0; n < count; n++) {
      const shown = random.pick([[], ["--json"], ["--stats-only"], ["--format", "vcd", "-o", "/dev/null"]]);
      const args = ["trace", "--pid", String(vmm.pid), ...shown];
      const ran = await call(args, { env: user.env, prefix: interruptedAfter(0.5 + 2 * random.next()) });
      tally.took(ran);
      // A picture is refused where there is too much to draw.
      tally.count(args.join(" "), problemsOf(ran, shown.includes("vcd") ? [0, 2, 130] : [0, 130]));
    }
    vmm.kill("SIGKILL");
  },
};

/** Processes that are not what they were, or not alone. */
export const TRACEE_ATTACKS: readonly Attack[] = [
  escapes,
  filters,
  execs,
  recycledPids,
  attachStorms,
  storms,
];
