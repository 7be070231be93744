import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { isAlive as alive } from "../../src/os/alive.ts";
import { finished, PROGRAM, User, until } from "../support/cli.ts";

const user = new User();
afterEach(() => {
  user.run(["destroy", "--all"]);
  expect(user.leftovers()).toEqual([]);
});
afterAll(() => expect(user.dispose()).toEqual([]));

const folder = join(user.folder, "kvm-irq");
const socketOf = (name: string) => join(folder, name, readdirSync(join(folder, name))[0]!);

describe("a session", () => {
  it("is made, listed and destroyed", () => {
    const created = user.json(["create", "one", "--vcpus", "2", "--preset", "pic"]);
    expect(created).toMatchObject({ name: "one", vcpus: 2, preset: "pic", pid: expect.any(Number) });
    expect(user.json(["list"]).sessions).toMatchObject([{ name: "one", pid: created.pid, vcpus: 2 }]);
    expect(user.ok(["list"])).toMatch(/^NAME .*\none .* 2 .*pic/s);
    expect(user.json(["destroy", "one"])).toEqual({ destroyed: ["one"] });
    expect(alive(created.pid)).toBe(false);
    expect(user.leftovers()).toEqual([]);
    expect(user.json(["list"]).sessions).toEqual([]);
  });

  it("is `default` unless named by -s or KVM_IRQ_SESSION, before or after the command", () => {
    user.ok(["create"]);
    user.ok(["create", "other"]);
    const nameOf = (args: string[], env = {}) => user.json(["dump", ...args], { env }).source.name;
    expect(nameOf([])).toBe("default");
    expect(nameOf(["-s", "other"])).toBe("other");
    expect(nameOf([], { KVM_IRQ_SESSION: "other" })).toBe("other");
    expect(JSON.parse(user.ok(["--session", "other", "dump", "--json"])).source.name).toBe("other");
    user.ok(["destroy", "--all"]);
  });

  it("whose name is taken is an error that names the ways out; --replace takes its place", () => {
    const first = user.json(["create", "twice"]);
    const second = user.run(["create", "twice"]);
    expect(second).toMatchObject({ status: 2, stdout: "" });
    expect(second.stderr).toContain("kvm-irq destroy twice");
    expect(second.stderr).toContain("--replace");
    const third = user.json(["create", "twice", "--replace"]);
    expect(third.pid).not.toBe(first.pid);
    expect(alive(first.pid)).toBe(false);
    user.ok(["destroy", "twice"]);
  });

  it("is not ended by a --replace that can't be made", () => {
    const { pid } = user.json(["create", "kept", "--backend", "model"]);
    for (const wish of [
      ["--guest", "pic"],
      ["--irqchip", "split"],
    ]) {
      const { status } = user.run(["create", "kept", "--replace", "--backend", "model", ...wish]);
      expect(status).toBe(2);
    }
    expect(user.json(["list"]).sessions).toContainEqual(expect.objectContaining({ name: "kept", pid }));
    user.ok(["destroy", "kept"]);
  });

  it("is replaced by each of several that want its place at once: the last one has it", async () => {
    const argv = ["create", "wanted", "--replace", "--json"];
    const results = await Promise.all(Array.from({ length: 4 }, () => user.runAsync(argv)));
    expect(results.map(({ status }) => status)).toEqual([0, 0, 0, 0]);
    const pids = results.map(({ stdout }) => JSON.parse(stdout).pid);
    const { sessions } = user.json(["list"]);
    const [wanted, ...others] = sessions.filter(({ name }: { name: string }) => name === "wanted");
    expect(others).toEqual([]);
    expect(pids).toContain(wanted.pid);
    await until("the others have ended", () => pids.filter(alive).length === 1);
    user.ok(["destroy", "wanted"]);
  });

  it("is not ended by a --replace that makes no sense", () => {
    const { pid } = user.json(["create", "kept"]);
    const { status } = user.run(["create", "kept", "--replace", "--irqchip", "split", "--preset", "ioapic"]);
    expect(status).toBe(2);
    expect(user.json(["list"]).sessions).toMatchObject([{ name: "kept", pid }]);
    user.ok(["destroy", "kept"]);
  });

  it("made by many at once is made exactly once", async () => {
    const results = await Promise.all(
      Array.from({ length: 6 }, () => user.runAsync(["create", "race", "--json"])),
    );
    expect(results.map(({ status }) => status).sort()).toEqual([0, 2, 2, 2, 2, 2]);
    const winner = JSON.parse(results.find(({ status }) => status === 0)!.stdout);
    expect(user.json(["list"]).sessions).toMatchObject([{ name: "race", pid: winner.pid }]);
    user.ok(["destroy", "race"]);
    expect(user.leftovers()).toEqual([]);
  });

  it("is never ended for a target that `destroy` does not take, nor made under another name than was meant", () => {
    user.ok(["create"]);
    for (const args of [
      ["destroy", "--pid", "1"],
      ["destroy", "--snapshot", "snap.json"],
      ["destroy", "--all", "-s", "default"],
      ["destroy", "other", "-s", "default"],
      ["create", "-s", "other"],
      ["list", "-s", "default"],
    ]) {
      expect(user.run(args), args.join(" ")).toMatchObject({ status: 2 });
    }
    expect(user.json(["list"]).sessions).toMatchObject([{ name: "default" }]);
    user.ok(["-s", "default", "destroy"]);
  });

  it("keeps nothing open that the shell had open: no lock, no pipe", async () => {
    const far = Array.from({ length: 27 }, () => "ignore" as const);
    const child = spawn(process.execPath, [PROGRAM, "create", "frugal"], {
      env: user.env,
      stdio: ["ignore", "ignore", "ignore", ...far, "pipe"],
    });
    const pipe = child.stdio[30 as 3] as Readable;
    const ended = new Promise((resolve) => pipe.resume().once("end", resolve));
    expect(await once(child, "exit")).toEqual([0, null]);
    await ended;
    expect(user.json(["list"]).sessions.map(({ name }: { name: string }) => name)).toContain("frugal");
    user.ok(["destroy", "frugal"]);
  });

  it("ends by itself when nobody has called for its --ttl", async () => {
    const { pid } = user.json(["create", "brief", "--ttl", "700ms"]);
    await until("the holder has ended", () => !alive(pid));
    expect(user.leftovers()).toEqual([]);
  });

  it("whose holder was killed is gone: the next command says so and sweeps up, the one after knows of none", async () => {
    const { pid } = user.json(["create", "dead"]);
    process.kill(pid, "SIGKILL");
    await until("the holder is dead", () => !alive(pid));
    const first = user.run(["-s", "dead", "dump"]);
    expect(first).toMatchObject({ status: 4 });
    expect(first.stderr).toContain(`its holder (pid ${pid}) died`);
    expect(user.leftovers()).toEqual([]);
    const second = user.run(["-s", "dead", "dump"]);
    expect(second).toMatchObject({ status: 4 });
    expect(second.stderr).toContain("there is no session 'dead'");
  });

  it("whose holder was killed can be made again at once, and `list` sweeps it up too", async () => {
    const first = user.json(["create", "phoenix"]);
    process.kill(first.pid, "SIGKILL");
    await until("the holder is dead", () => !alive(first.pid));
    const second = user.json(["create", "phoenix"]);
    process.kill(second.pid, "SIGKILL");
    await until("the holder is dead", () => !alive(second.pid));
    const listed = user.run(["list", "--json"]);
    expect(JSON.parse(listed.stdout).sessions).toEqual([]);
    expect(listed.stderr).toContain("session 'phoenix' is gone");
    expect(user.leftovers()).toEqual([]);
  });

  it("whose holder is stopped is shown as silent, and destroyed all the same", () => {
    const { pid } = user.json(["create", "stuck"]);
    process.kill(pid, "SIGSTOP");
    expect(user.json(["list"]).sessions).toEqual([{ name: "stuck", pid, silent: true }]);
    user.ok(["destroy", "stuck"]);
    expect(alive(pid)).toBe(false);
    expect(user.leftovers()).toEqual([]);
  });

  it("ends cleanly when its holder gets SIGTERM", async () => {
    const { pid } = user.json(["create", "polite"]);
    process.kill(pid, "SIGTERM");
    await until("the holder has ended", () => !alive(pid));
    expect(user.leftovers()).toEqual([]);
  });

  it("is not left behind by a `create` that is killed halfway", async () => {
    for (const delay of [30, 60, 90, 120, 150, 200]) {
      const child = user.start(["create", "half"]);
      setTimeout(() => child.kill("SIGKILL"), delay);
      const { status } = await finished(child);
      // Either nobody was told of the session, and it is gone, or it was made before the kill.
      if (status === 0) user.ok(["destroy", "half"]);
      await until("no holder is left over", () => {
        const { sessions } = user.json(["list"]);
        if (sessions.length > 0) user.run(["destroy", "half"]);
        return sessions.length === 0 && user.leftovers().length === 0;
      });
    }
  });

  it("of many named to `destroy` ends although another is missing, which is status 4", () => {
    user.ok(["create", "here"]);
    const { status, stderr } = user.run(["destroy", "missing", "here"]);
    expect(status).toBe(4);
    expect(stderr).toContain("no session 'missing'");
    expect(user.json(["list"]).sessions).toEqual([]);
    expect(user.run(["destroy", "--all"]).status).toBe(0);
  });
});

describe("a holder", () => {
  it("answers fifty clients at once, each rightly", async () => {
    user.ok(["create", "busy", "--preset", "ioapic"]);
    const pins = Array.from({ length: 50 }, (_, n) => n % 24);
    const results = await Promise.all(
      pins.map((pin, n) =>
        n % 2 === 0
          ? user.runAsync(["-s", "busy", "set", `ioapic.redirtbl[${pin}].dest_id=${pin}`, "--json"])
          : user.runAsync(["-s", "busy", "dump", "--json"]),
      ),
    );
    for (const { status, stdout, stderr } of results) {
      expect(stderr).toBe("");
      expect(status).toBe(0);
      JSON.parse(stdout);
    }
    const { redirtbl } = user.json(["-s", "busy", "dump", "--chip", "ioapic"]).chips.ioapic;
    // No change of one client was lost to another's.
    for (const [n, pin] of pins.entries()) if (n % 2 === 0) expect(redirtbl[pin].dest_id).toBe(pin);
    user.ok(["destroy", "busy"]);
  });

  it("answers garbage with a JSON-RPC error, and lives on", async () => {
    user.ok(["create", "tough"]);
    const path = socketOf("tough");
    const answers = async (sent: string | Buffer, lines = 1) => {
      const socket = connect(path);
      let received = "";
      socket.on("data", (chunk) => {
        received += chunk;
      });
      socket.on("error", () => {});
      socket.write(sent);
      await until("it answers", () => received.split("\n").length > lines || socket.closed);
      socket.destroy();
      return received
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
    };
    const call = (method: string, params: unknown) =>
      `${JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })}\n`;
    expect(await answers("this is no JSON\n")).toMatchObject([{ error: { code: -32700 } }]);
    expect(await answers(`${JSON.stringify({ hello: 1 })}\n`)).toMatchObject([{ error: { code: -32600 } }]);
    expect(await answers(call("format", {}))).toMatchObject([{ error: { code: -32601 } }]);
    for (const [method, params] of [
      ["readChips", { ids: ["pic3"] }],
      ["readChips", {}],
      ["readChips", { ids: ["lapic[7]"] }],
      ["writeChips", { images: [{ id: "pic1", base64: "!" }], expected: [] }],
      ["setIrqLines", { steps: [{ gsi: -1, level: 1 }], transient: false }],
      ["setIrqLines", { steps: [{ gsi: 1, level: 2 }], transient: false }],
      ["describe", { more: 1 }],
      ["describe", [1, 2]],
    ] as const) {
      expect(await answers(call(method, params)), method).toMatchObject([{ error: { code: -32000 } }]);
    }
    expect(await answers(Buffer.alloc(64, 0xff).fill("\n", 63))).toMatchObject([{ error: { code: -32700 } }]);
    // Two in one packet, and one cut in two.
    expect(await answers(call("describe", {}) + call("describe", {}), 2)).toHaveLength(2);
    user.ok(["-s", "tough", "dump"]);
    user.ok(["destroy", "tough"]);
  });

  it("closes the socket on an oversized request, and lives on", async () => {
    user.ok(["create", "wide"]);
    const socket = connect(socketOf("wide"));
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk;
    });
    socket.on("error", () => {});
    socket.write(Buffer.alloc(5 * 1024 * 1024, "x"));
    await until("the socket is closed", () => socket.closed);
    expect(received).toContain("too long");
    user.ok(["-s", "wide", "dump"]);
    user.ok(["destroy", "wide"]);
  });

  it("closes the socket of a client that takes too long over a request, and serves others meanwhile", async () => {
    user.ok(["create", "patient"]);
    const socket = connect(socketOf("patient"));
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk;
    });
    socket.write('{"jsonrpc":');
    user.ok(["-s", "patient", "dump"]);
    await until("the socket is closed", () => socket.closed, 20_000);
    expect(received).toContain("too slow");
    user.ok(["destroy", "patient"]);
  });

  it("goes on serving when a client is killed in the middle, and lowers the lines that it held for a moment", async () => {
    user.ok(["create", "held", "--preset", "ioapic"]);
    const child = user.start(["-s", "held", "pulse", "20", "--width", "60s"]);
    const irr = () => user.json(["-s", "held", "dump", "--chip", "ioapic"]).chips.ioapic.irr;
    await until("the line is high", () => irr() === 1 << 20);
    child.kill("SIGKILL");
    await until("the line is low", () => irr() === 0);
    user.ok(["destroy", "held"]);
  });
});

describe("the runtime folder", () => {
  it("and everything in it is for this user alone", () => {
    user.ok(["create", "private"]);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, "private")).mode & 0o777).toBe(0o700);
    user.ok(["destroy", "private"]);
  });

  it.each(["../up", "a/b", "", ".hidden", "-dash", "a b", "x".repeat(65), "nul\u0001"])(
    "takes no session of the name %j",
    (name) => {
      expect(user.run(["create", "--", name])).toMatchObject({ status: 2 });
      expect(user.run([`--session=${name}`, "dump"])).toMatchObject({ status: 2 });
    },
  );

  it("that can't be looked at is told as what it is", () => {
    const base = mkdtempSync(join(tmpdir(), "kvm-irq-loop-"));
    symlinkSync("loop", join(base, "loop"));
    for (const args of [["create"], ["dump"], ["list"]]) {
      const { status, stderr } = user.run(args, { env: { XDG_RUNTIME_DIR: join(base, "loop") } });
      expect(status).toBe(4);
      expect(stderr).toMatch(/^kvm-irq: .*(can't be looked at|can't be made).*\nhint: .*XDG_RUNTIME_DIR/);
    }
    rmSync(base, { recursive: true });
  });

  it.each([
    ["a symlink", (path: string, elsewhere: string) => symlinkSync(elsewhere, path)],
    ["open to others", (path: string) => mkdirSync(path, { recursive: true, mode: 0o755 })],
  ])("is refused when it is %s", (_, prepare) => {
    const base = mkdtempSync(join(tmpdir(), "kvm-irq-unsafe-"));
    const elsewhere = mkdtempSync(join(tmpdir(), "kvm-irq-elsewhere-"));
    prepare(join(base, "kvm-irq"), elsewhere);
    for (const args of [["create"], ["dump"], ["list"]]) {
      const { status, stderr } = user.run(args, { env: { XDG_RUNTIME_DIR: base } });
      expect(status).toBe(4);
      expect(stderr).toContain("can't be trusted");
    }
    rmSync(base, { recursive: true });
    rmSync(elsewhere, { recursive: true });
  });

  it("below a file instead of a folder is refused, by each command with the way out", () => {
    const base = join(user.folder, "file");
    writeFileSync(base, "");
    for (const args of [["create"], ["dump"], ["list"], ["destroy", "--all"]]) {
      const { status, stderr } = user.run(args, { env: { XDG_RUNTIME_DIR: base } });
      expect(status).toBe(4);
      expect(stderr).toMatch(
        /^kvm-irq: the folder for sessions can't be .*ENOTDIR.*\nhint: set XDG_RUNTIME_DIR/,
      );
    }
    rmSync(base);
  });
});
