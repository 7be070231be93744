import { type ChildProcess, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { finished, PROGRAM, type Result, User, until } from "../support/cli.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";

const user = new User();
beforeAll(() => {
  user.ok(["create", "--preset", "ioapic"]);
});
afterAll(() => expect(user.dispose()).toEqual([]));

/** `watch` in a pipe, and what it wrote so far. */
class Watcher {
  readonly child: ChildProcess;
  readonly result: Promise<Result>;
  #written = "";

  constructor(...args: string[]) {
    this.child = user.start(["watch", "--interval", "20ms", ...args]);
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.on("data", (chunk) => {
        this.#written += chunk;
      });
    }
    this.result = finished(this.child);
  }

  async wrote(pattern: RegExp): Promise<void> {
    await until(`watch writes ${pattern}`, () => pattern.test(this.#written));
  }
}

const parsed = (stdout: string) =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("watch in a pipe", () => {
  it("with --json writes the first reading, then each with a change, and ends with 130 on a signal", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      user.ok(["set", "ioapic.redirtbl[20].remote_irr=false", "lapic[0].irr=[]"]);
      const watcher = new Watcher("--json");
      await watcher.wrote(/"reading":1,/);
      user.ok(["pulse", "20"]);
      await watcher.wrote(/remote_irr/);
      watcher.child.kill(signal);
      const { status, stdout, stderr } = await watcher.result;
      expect({ status, stderr }).toEqual({ status: 130, stderr: "" });
      const [first, ...others] = parsed(stdout);
      expect(first).toMatchObject({ reading: 1, changes: [], edges: {}, appeared: [], gone: [] });
      expect(others).toHaveLength(1);
      expect(others[0].edges).toEqual({ 20: 1 });
      expect(others[0].changes).toContainEqual({
        path: "ioapic.redirtbl[20].remote_irr",
        from: false,
        to: true,
      });
      expect(others[0].cost.cpu).toBeGreaterThan(0);
    }
  });

  it("ends at once when its reader has seen enough, with nothing new to write", () => {
    const line = `"${process.execPath}" "${PROGRAM}" watch --json | head -1; echo "\${PIPESTATUS[@]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", line], {
      env: user.env,
      encoding: "utf8",
      timeout: 20_000,
    });
    expect(stdout).toMatch(/^\{.*\}\n0 0\n$/);
    expect(stderr).toBe("");
  });

  it("tells of findings as they come and go, a line each", async () => {
    const watcher = new Watcher();
    await watcher.wrote(/^watching session 'default', every 20 ms\n/);
    user.ok(["set", "ioapic.redirtbl[9].vector=3"]);
    await watcher.wrote(/\+ error illegal-vector: IOAPIC pin 9 .*\n/);
    user.ok(["set", "ioapic.redirtbl[9].vector=0x39"]);
    await watcher.wrote(/- error illegal-vector/);
    watcher.child.kill("SIGINT");
    const { stdout, stderr } = await watcher.result;
    expect(stdout).toMatch(/^\d\d:\d\d:\d\d\.\d{3} ioapic\.redirtbl\[9\]\.vector: 0x39 -> 0x03$/m);
    expect(stderr).toMatch(/^watching took [\d.]+ % CPU$/m);
  });

  it("reads and reports only the chips that are asked for", async () => {
    const watcher = new Watcher("--json", "--chip", "pic");
    await watcher.wrote(/"reading":1,/);
    user.ok(["set", "ioapic.redirtbl[3].mask=true", "pic1.imr=0xfe"]);
    await watcher.wrote(/pic1\.imr/);
    watcher.child.kill("SIGINT");
    expect((await watcher.result).stdout).not.toContain("ioapic");
  });

  it("ends with status 4 when its session does, and says so", async () => {
    user.ok(["create", "short"]);
    const watcher = new Watcher("--json", "-s", "short");
    await watcher.wrote(/"reading":1,/);
    user.ok(["destroy", "short"]);
    const { status, stderr } = await watcher.result;
    expect(status).toBe(4);
    expect(JSON.parse(stderr).error).toMatchObject({
      code: "session-gone",
      session: "short",
      message: expect.stringMatching(/^session 'short' is gone: its holder \(pid \d+\) has ended$/),
    });
  });

  it("shows a snapshot once", () => {
    user.ok(["dump", "--json", "-o", join(user.folder, "snap.json")]);
    const snapshot = ["--snapshot", join(user.folder, "snap.json"), "watch"];
    expect(user.ok(snapshot)).toMatch(/^snap\.json\nCHIP +BASE[\s\S]+\n 23 0x47[\s\S]+lapic\[0\] +on/);
    expect(user.json(snapshot)).toMatchObject({ reading: 1, changes: [] });
    rmSync(join(user.folder, "snap.json"));
  });

  it.each(["19ms", "0", "fast"])("refuses an interval of %s", (interval) => {
    expect(user.run(["watch", "--interval", interval]).status).toBe(2);
  });
});

describe.skipIf(!haveTmux)("watch on a terminal (of tmux)", () => {
  let terminal: Terminal;
  let folder: string;
  beforeEach(() => {
    terminal = new Terminal(80, 24);
    folder = mkdtempSync(join(tmpdir(), "kvm-irq-watch-"));
  });
  afterEach(() => {
    terminal.dispose();
    rmSync(folder, { recursive: true });
  });
  const watch = (args = "", env: Record<string, string> = {}) =>
    terminal.run(
      `"${process.execPath}" "${PROGRAM}" watch --interval 50ms ${args}; echo "status $?"; stty -a | grep -o -e '-*icanon'`,
      { ...user.env, ...env },
      folder,
    );
  const ended = async () => {
    const screen = await terminal.shows(/status \d+\n-?icanon/);
    expect(terminal.isRestored()).toBe(true);
    expect(screen).not.toContain("-icanon");
    return terminal.history();
  };

  it("shows every pin of the IOAPIC at 80x24, redraws what changed, and q gives the terminal back", async () => {
    watch("--chip ioapic --chip lapic", { NO_COLOR: "1" });
    await terminal.shows(/\[5 all\]/);
    terminal.type("3");
    const screen = await terminal.shows(/\[3 ioapic\]/);
    for (let pin = 0; pin < 24; pin++) expect(screen).toMatch(new RegExp(`(^|  ) ?${pin} 0x`, "m"));
    user.ok(["set", "ioapic.redirtbl[12].mask=true"]);
    await terminal.shows(/12 0x3c .*masked[\s\S]*RECENT\n.*redirtbl\[12\]\.mask: false -> true/);
    terminal.type("q");
    expect(await ended()).toMatch(/^status 0$/m);
  });

  it("pauses, takes single readings, and goes on", async () => {
    watch();
    await terminal.shows(/reading \d+ /);
    terminal.type("p");
    const readings = async () => /reading (\d+) .*PAUSED/.exec(await terminal.shows(/PAUSED/))![1];
    // A reading that was under way when the key came is still shown.
    let paused = await readings();
    await until("nothing is read any more", async () => {
      const before = paused;
      await new Promise((resolve) => setTimeout(resolve, 200));
      paused = await readings();
      return paused === before;
    });
    terminal.type("n");
    await terminal.shows(new RegExp(`reading ${Number(paused) + 1} .*PAUSED`));
    terminal.type("Space");
    await terminal.shows(/reading \d+ +every 50 ms/);
    terminal.type("C-c");
    expect(await ended()).toMatch(/^status 130$/m);
  });

  it("saves a snapshot that can be read again, and says where", async () => {
    watch();
    await terminal.shows(/quit/);
    terminal.type("s");
    await terminal.shows(/saved kvm-irq-default-\S+\.json/);
    const [file] = readdirSync(folder);
    expect(JSON.parse(readFileSync(join(folder, file!), "utf8"))).toMatchObject({
      format: "kvm-irq.snapshot",
    });
    user.ok(["--snapshot", join(folder, file!), "dump"]);
  });

  it("goes through the chips with tab, crops and scrolls on a small terminal, and never wraps", async () => {
    watch();
    await terminal.shows(/\[5 all\]/);
    terminal.type("Tab");
    await terminal.shows(/\[1 pic1\][\s\S]*IR7/);
    terminal.resize(30, 7);
    const small = await terminal.shows(/… \d+ more lines/);
    expect(small.trimEnd().split("\n")).toHaveLength(7);
    terminal.type("Down", "Down", "Down", "Down", "Down", "Down", "Down");
    await terminal.shows(/IR7/);
    terminal.resize(160, 50);
    await terminal.shows(/^INPUT +GSI +VECTOR +TRIGGER +LINE +EDGES +STATE[\s\S]*EDGES is/m);
  });

  it("gives the terminal back on SIGTERM", async () => {
    watch("& echo $! > pid; wait $!");
    await terminal.shows(/reading \d+ [\s\S]*there are no keys/);
    process.kill(Number(readFileSync(join(folder, "pid"), "utf8")));
    expect(await ended()).toMatch(/^status 130$/m);
  });

  it("stops for Ctrl-Z with the terminal given back, and goes on with fg", async () => {
    terminal.run(
      `PS1='$ ' bash --norc --noediting -ic '"${process.execPath}" "${PROGRAM}" watch; stty -a | grep -o -e "-*icanon"; read -r _; fg; echo "status $?"'`,
      user.env,
      folder,
    );
    await terminal.shows(/\[5 all\]/);
    terminal.type("C-z");
    // What is typed before it has stopped would be the shell's.
    await terminal.shows(/icanon/);
    terminal.type("Enter");
    await terminal.shows(/\[5 all\]/);
    terminal.type("q");
    const screen = await terminal.shows(/status \d+/);
    expect(screen).toMatch(/^icanon$/m);
    expect(screen).toMatch(/^status 0$/m);
  });

  it("that is paused loses its target no later", async () => {
    user.ok(["create", "brief"]);
    watch("-s brief");
    await terminal.shows(/reading \d+ /);
    terminal.type("p");
    await terminal.shows(/PAUSED/);
    user.ok(["destroy", "brief"]);
    expect(await ended()).toMatch(/^status 4$/m);
  });

  it("that loses its target gives the terminal back, with the last state and what happened", async () => {
    user.ok(["create", "brief"]);
    watch("-s brief");
    await terminal.shows(/reading \d+ /);
    user.ok(["destroy", "brief"]);
    const screen = await ended();
    expect(screen).toMatch(/lapic\[0\] .*\n(.+\n)*kvm-irq: session 'brief' is gone/);
    expect(screen).toMatch(/^status 4$/m);
  });

  it("lists changes, and leaves the terminal as it is, while a shell has it in the background", async () => {
    const watch = `"${process.execPath}" "${PROGRAM}" watch --interval 50ms`;
    writeFileSync(join(folder, "watch.sh"), `set -m; ${watch} & read -r _; kill $!; wait $!\n`);
    terminal.run("sh watch.sh; echo \"status $?\"; stty -a | grep -o -e '-*icanon'", user.env, folder);
    await terminal.shows(/in the background of the terminal/);
    expect(terminal.isRestored()).toBe(true);
    user.ok(["pulse", "4"]);
    await terminal.shows(/ioapic\.irr\[4\]|pic1\.irr|GSI 4|pin 4/);
    terminal.type("Enter");
    expect(await ended()).toMatch(/^status 130$/m);
  });

  it("ends when `timeout` in a script, whose group is not the terminal's, says so", async () => {
    const line = `timeout 2 "${process.execPath}" "${PROGRAM}" watch; echo "status $?"`;
    writeFileSync(join(folder, "watch.sh"), `${line}\n`);
    terminal.run("sh watch.sh; stty -a | grep -o -e '-*icanon'", user.env, folder);
    expect(await ended()).toMatch(/timeout --foreground[\s\S]*^status 124$/m);
  });

  it("can be ended by a shell that has continued it in the background", async () => {
    const job = "bg; sleep 1; kill %1; wait %1; echo \"status $?\"; stty -a | grep -o -e '-*icanon'";
    terminal.run(
      `PS1='$ ' bash --norc --noediting -ic '"${process.execPath}" "${PROGRAM}" watch; ${job.replaceAll("'", '"')}'`,
      user.env,
      folder,
    );
    await terminal.shows(/\[5 all\]/);
    terminal.type("C-z");
    expect(await ended()).toMatch(/^status 130$/m);
  });

  it("shows itself again once the shell brings it back from the background", async () => {
    terminal.run(
      `PS1='$ ' bash --norc --noediting -ic '"${process.execPath}" "${PROGRAM}" watch; bg; sleep 1; fg; echo "status $?"; stty -a | grep -o -e "-*icanon"'`,
      user.env,
      folder,
    );
    await terminal.shows(/\[5 all\]/);
    terminal.type("C-z");
    await until("the shell's screen is back", () => terminal.isRestored());
    await terminal.shows(/\[5 all\]/);
    terminal.type("q");
    expect(await ended()).toMatch(/^status 0$/m);
  });
});

describe.skipIf(!haveTmux)("watch whose terminal is gone (of tmux)", () => {
  it.each(["reading", "paused"])("ends where no SIGHUP tells it, while %s", async (mode) => {
    const terminal = new Terminal(80, 24);
    const path = (name: string) => join(user.folder, name);
    const watch = `"${process.execPath}" "${PROGRAM}" watch --interval 50ms 2> error`;
    writeFileSync(path("watch.sh"), `${watch}; echo $? > new && mv new status\n`);
    terminal.run("setsid sh watch.sh", user.env, user.folder);
    try {
      await terminal.shows(/reading \d+ /);
      if (mode === "paused") terminal.type("p");
      await terminal.shows(mode === "paused" ? /PAUSED/ : /reading \d+ /);
    } finally {
      terminal.dispose();
    }
    await until("it has ended", () => existsSync(path("status")));
    expect(readFileSync(path("error"), "utf8")).toBe("");
    expect(readFileSync(path("status"), "utf8")).toBe("130\n");
    for (const name of ["watch.sh", "error", "status"]) rmSync(path(name));
  });
});
