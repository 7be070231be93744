import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { isAlive as alive } from "../../src/os/alive.ts";
import { descriptorsOf, finished, isConnected, PROGRAM, User, until } from "../support/cli.ts";
import { has } from "../support/commands.ts";
import { fakeHolder } from "../support/json-rpc.ts";

const user = new User();
const started: ChildProcess[] = [];
afterEach(async () => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
  for (const pid of holders()) process.kill(pid, "SIGCONT");
  user.run(["destroy", "--all"]);
  expect(user.leftovers()).toEqual([]);
  await until("no holder is left", () => holders().length === 0);
});
afterAll(() => expect(user.dispose()).toEqual([]));

const folder = join(user.folder, "kvm-irq");
const isRoot = process.getuid?.() === 0;
const socketOf = (name: string) => join(folder, name, readdirSync(join(folder, name))[0]!);
/** One line for the error, one for the hint. */
const ONE_LINE = /^kvm-irq: [^\n]+\n(hint: [^\n]+\n)?$/;

/** Every holder of this user, with a name or without. */
function holders(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
        const title = readFileSync(`/proc/${pid}/cmdline`, "latin1");
        return title.includes("kvm-irq-holder") && environment.includes(`XDG_RUNTIME_DIR=${user.folder}`);
      } catch {
        return false;
      }
    });
}

function stopped(name: string): number {
  const { pid } = user.json(["create", name]);
  process.kill(pid, "SIGSTOP");
  return pid;
}

/** A process that has nothing to do with any session. */
function bystander(): number {
  const child = spawn("sleep", ["60"], { stdio: "ignore" });
  started.push(child);
  return child.pid!;
}

describe("a holder's world", () => {
  it("has no pipe or terminal, an environment of its own, and makes files for this user alone", () => {
    const { pid } = user.json(["create", "clean"], { env: { SECRET: "x", NODE_OPTIONS: "--no-warnings" } });
    for (const fd of [0, 1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${fd}`)).toBe("/dev/null");
    expect(readFileSync(`/proc/${pid}/environ`, "latin1")).toBe(`XDG_RUNTIME_DIR=${user.folder}\0`);
    expect(readFileSync(`/proc/${pid}/status`, "latin1")).toMatch(/^Umask:\t0077$/m);
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
  });

  it.runIf(isRoot && has("setpriv"))("has no capability in any thread, nor may it get any", () => {
    const { pid } = user.json(["create", "meek"]);
    user.ok(["-s", "meek", "pulse", "4"]);
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${tid}/status`, "latin1");
      const sets = [...status.matchAll(/^Cap(\w+):\t(\w+)$/gm)].map(([, set, bits]) => `${set} ${bits}`);
      expect(sets).toEqual(["Inh", "Prm", "Eff", "Bnd", "Amb"].map((set) => `${set} ${"0".repeat(16)}`));
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    }
  });

  it.runIf(isRoot)("starts from a folder that is closed to all but another user", () => {
    const home = mkdtempSync(join(tmpdir(), "kvm-irq-home-"));
    const root = join(PROGRAM, "../..");
    for (const name of ["bin", "dist", "package.json"])
      cpSync(join(root, name), join(home, name), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(home, "node_modules"));
    chownSync(home, 12_345, 12_345);
    const create = [join(home, "bin/kvm-irq.js"), "create", "from-home"];
    const { status, stderr } = spawnSync(process.execPath, create, { env: user.env, encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    user.ok(["-s", "from-home", "pulse", "4"]);
    rmSync(home, { recursive: true });
  });

  it("opens no debugger at SIGUSR1, and lives on", () => {
    const { pid } = user.json(["create", "deaf"]);
    const sockets = () => descriptorsOf(pid).filter((target) => target.startsWith("socket:")).length;
    expect(sockets()).toBe(1);
    process.kill(pid, "SIGUSR1");
    user.ok(["-s", "deaf", "pulse", "4"]);
    user.ok(["-s", "deaf", "pulse", "4"]);
    expect(sockets()).toBe(1);
  });

  it("opens none at SIGUSR1 while it starts", async () => {
    const { NODE_ARGUMENTS } = await import("../../src/sources/session/start.ts");
    const script = "process.stdout.write('up'); setInterval(() => {}, 1000)";
    const node = spawn(process.execPath, [...NODE_ARGUMENTS, "-e", script]);
    started.push(node);
    let said = "";
    node.stderr.on("data", (chunk) => {
      said += chunk;
    });
    await once(node.stdout, "data");
    const before = descriptorsOf(node.pid!).filter((target) => target.startsWith("socket:")).length;
    node.kill("SIGUSR1");
    await until("the debugger has failed", () => said.includes("failed"));
    expect(descriptorsOf(node.pid!).filter((target) => target.startsWith("socket:"))).toHaveLength(before);
    expect(said).not.toContain("listening");
  });

  it("ends when its folder is gone, since nobody could find it", async () => {
    const { pid } = user.json(["create", "lost"]);
    rmSync(folder, { recursive: true });
    await until("it has ended", () => !alive(pid));
  });

  it("ends at its --ttl although `list` looks at it all the time", async () => {
    const { pid } = user.json(["create", "looked-at", "--ttl", "1s"]);
    await until("it has ended", () => {
      user.run(["list"]);
      return !alive(pid);
    });
  });

  it("does not end at its --ttl while a client is connected", async () => {
    user.ok(["create", "in-use", "--ttl", "3s"]);
    const hold = await user.runAsync(["-s", "in-use", "hold", "4", "--for", "5s"]);
    expect(hold).toMatchObject({ status: 0 });
  });

  it.each(
    [[], ["setpriv", "--bounding-set=-all"]]
      .filter(([by]) => by === undefined || (isRoot && has(by)))
      .map((by) => [by]),
  )("is not there when it can't be started, and `create` ends at once (by %j)", (by) => {
    const start = `process.execPath = "/nowhere/node"; require("${PROGRAM}")`;
    const [program, ...args] = [...by, process.execPath, "-e", start, "--", "kvm-irq", "create", "never"];
    const { status, stderr } = spawnSync(program!, args, {
      env: user.env,
      encoding: "utf8",
      timeout: 20_000,
    });
    expect(stderr).toMatch(/^kvm-irq: the holder (can't be started: |ended before).*\n/);
    expect(status).toBe(5);
  });
});

describe("`destroy` of a silent session", () => {
  it.each([
    ["does not answer", () => undefined],
    ["answers nonsense", ({ id }: { id: number }) => ({ jsonrpc: "2.0", id, result: 5 })],
    ["answers what is not JSON", () => "hello\n"],
  ])(
    "kills no process but the one that listens: not the one in the name of a socket that %s",
    async (what, answer) => {
      const innocent = bystander();
      const server = await fakeHolder(join(folder, "posed", `${innocent}-abcdef.sock`), answer);
      for (const args of [
        ["destroy", "posed"],
        ["create", "posed", "--replace", "--backend", "model"],
      ]) {
        const { status, stderr } = await user.runAsync(args);
        expect(status).toBe(4);
        expect(stderr).toMatch(ONE_LINE);
        expect(stderr).toMatch(new RegExp(`${what}, and its process can't be killed`));
        expect(stderr).toContain(`hint: end process ${process.pid} by yourself`);
      }
      expect(alive(innocent)).toBe(true);
      server.close();
      rmSync(join(folder, "posed"), { recursive: true });
    },
  );

  it("kills the holder whatever number its socket's name has", () => {
    const pid = stopped("renamed");
    const innocent = bystander();
    renameSync(socketOf("renamed"), join(folder, "renamed", `${innocent}-abcdef.sock`));
    user.ok(["destroy", "renamed"]);
    expect(alive(pid)).toBe(false);
    expect(alive(innocent)).toBe(true);
  });

  it("kills it although its queue is full", async () => {
    const pid = stopped("full");
    const sockets: Socket[] = [];
    for (let full = false; !full; ) {
      const socket = connect(socketOf("full"));
      sockets.push(socket);
      full = await new Promise<boolean>((resolve) => {
        socket.once("connect", () => resolve(false));
        socket.once("error", () => resolve(true));
      });
    }
    expect(user.run(["-s", "full", "dump"])).toMatchObject({
      status: 4,
      stderr: expect.stringMatching(
        /takes no more clients: its holder is stopped\nhint: .*kvm-irq destroy full/,
      ),
    });
    expect(user.json(["list"]).sessions).toEqual([{ name: "full", pid, silent: true }]);
    user.ok(["destroy", "full"]);
    expect(alive(pid)).toBe(false);
    for (const socket of sockets) socket.destroy();
  });

  const inNamespace = (script: string) =>
    spawnSync("unshare", ["--pid", "--fork", "--mount-proc", "bash", "-c", script], {
      env: { ...user.env, NODE: process.execPath, PROGRAM },
      encoding: "utf8",
    });
  const haveNamespaces = isRoot && spawnSync("unshare", ["--pid", "--fork", "true"]).status === 0;

  it.runIf(haveNamespaces)("of another PID namespace is refused, and kills nobody", () => {
    const pid = stopped("outside");
    const { status, stderr } = inNamespace('"$NODE" "$PROGRAM" destroy outside');
    expect(status).toBe(4);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toContain("another PID namespace");
    expect(alive(pid)).toBe(true);
    user.ok(["destroy", "outside"]);
    expect(alive(pid)).toBe(false);
  });

  it.runIf(haveNamespaces)(
    "kills the one in a namespace below, and not who has its number here",
    async () => {
      const inner = spawn(
        "unshare",
        [
          "--pid",
          "--fork",
          "--mount-proc",
          "bash",
          "-c",
          '"$NODE" "$PROGRAM" create inside --json; sleep 60; true',
        ],
        { env: { ...user.env, NODE: process.execPath, PROGRAM } },
      );
      started.push(inner);
      await once(inner.stdout, "data");
      const [pid] = holders();
      process.kill(pid!, "SIGSTOP");
      user.ok(["destroy", "inside"]);
      expect(alive(pid!)).toBe(false);
    },
  );

  it("and `list`, `dump` of it are ended by one Ctrl-C, status 130", async () => {
    stopped("mute");
    for (const args of [
      ["destroy", "mute"],
      ["list"],
      ["-s", "mute", "dump"],
      ["create", "mute", "--replace"],
    ]) {
      const child = user.start(args);
      if (args[0] === "create") await until("the holder waits", () => holders().length === 2);
      else await until("it waits", () => isConnected(child));
      child.kill("SIGINT");
      const { status, stderr } = await finished(child);
      expect(status, args.join(" ")).toBe(130);
      expect(stderr).toMatch(/^kvm-irq: interrupted[^\n]*\n$/);
    }
    await until("the new one has ended", () => holders().length === 1);
  });
});

describe("many at once", () => {
  it("that destroy all sessions are all right, whoever comes first", async () => {
    for (const name of ["a", "b", "c"]) user.ok(["create", name, "--backend", "model"]);
    const results = await Promise.all(
      Array.from({ length: 2 }, () => user.runAsync(["destroy", "--all", "--json"])),
    );
    expect(results.map(({ status }) => status)).toEqual([0, 0]);
    const destroyed = results.flatMap(({ stdout }) => JSON.parse(stdout).destroyed);
    expect(new Set(destroyed)).toEqual(new Set(["a", "b", "c"]));
  });

  it("whose holder is stopped and then killed end with one line and status 4", async () => {
    const pid = stopped("doomed");
    const children = Array.from({ length: 20 }, () => user.start(["-s", "doomed", "dump"]));
    const results = children.map(finished);
    await until(
      "all wait",
      () => children.every((child) => child.exitCode !== null || isConnected(child)),
      25_000,
    );
    process.kill(pid, "SIGKILL");
    for (const { status, stdout, stderr } of await Promise.all(results)) {
      expect({ status, stdout }).toEqual({ status: 4, stdout: "" });
      expect(stderr).toMatch(ONE_LINE);
    }
  });

  it("are left neither a holder nor a socket by a `create --replace` that is killed halfway", async () => {
    for (const delay of [60, 120, 180, 240]) {
      user.ok(["create", "swap", "--backend", "model", "--replace"]);
      const child = user.start(["create", "swap", "--backend", "model", "--replace"]);
      setTimeout(() => child.kill("SIGKILL"), delay);
      await finished(child);
      await until("one of them is there, or none", () => {
        const { sessions } = user.json(["list"]);
        return holders().length === sessions.length && user.leftovers().length === 2 * sessions.length;
      });
    }
  });
});

describe("the runtime folder", () => {
  it("may have a path of any length", () => {
    for (const length of [60, 67, 74, 108, 200]) {
      const base = join(user.folder, "d".repeat(length - user.folder.length - 1));
      mkdirSync(base, { mode: 0o700 });
      const env = { XDG_RUNTIME_DIR: base };
      const name = "n".repeat(64);
      user.ok(["create", name, "--backend", "model"], { env });
      expect(user.json(["list"], { env }).sessions, String(length)).toMatchObject([{ name }]);
      expect(user.ok(["-s", name, "pulse", "4"], { env })).toContain("low");
      user.ok(["destroy", name], { env });
      expect(readdirSync(join(base, "kvm-irq"))).toEqual([]);
      rmSync(base, { recursive: true });
    }
  });

  const refused = (base: string, reason: string) => {
    for (const args of [["create"], ["dump"], ["list"], ["destroy", "--all"]]) {
      const { status, stderr } = user.run(args, { env: { XDG_RUNTIME_DIR: base } });
      expect(status, args.join(" ")).toBe(4);
      expect(stderr).toMatch(ONE_LINE);
      expect(stderr).toContain(reason);
      expect(stderr).toContain("unset it");
    }
    expect(existsSync(join(base, "kvm-irq"))).toBe(false);
  };
  const temporary = () => mkdtempSync(join(tmpdir(), "kvm-irq-trust-"));

  it.runIf(isRoot)("of another user is refused, even to root", () => {
    const base = temporary();
    chownSync(base, 12_345, 12_345);
    refused(base, `${base} belongs to user 12345`);
    rmSync(base, { recursive: true });
  });

  it.runIf(isRoot)("below a folder of another user is refused, by way of a link too", () => {
    const base = temporary();
    mkdirSync(join(base, "theirs", "mine"), { recursive: true, mode: 0o700 });
    chownSync(join(base, "theirs"), 12_345, 12_345);
    symlinkSync("theirs/mine", join(base, "link"));
    refused(join(base, "theirs", "mine"), `${base}/theirs belongs to user 12345`);
    refused(join(base, "link"), `${base}/theirs belongs to user 12345`);
    rmSync(base, { recursive: true });
  });

  it("in a folder that others can write is refused, unless that is sticky", () => {
    const base = temporary();
    const [open, sticky] = [join(base, "open"), join(base, "sticky")];
    for (const path of [open, sticky]) mkdirSync(join(path, "mine"), { recursive: true, mode: 0o700 });
    chmodSync(open, 0o777);
    chmodSync(sticky, 0o1777);
    refused(join(open, "mine"), `${open} is open to other users`);
    user.ok(["list"], { env: { XDG_RUNTIME_DIR: join(sticky, "mine") } });
    rmSync(base, { recursive: true });
  });
});
