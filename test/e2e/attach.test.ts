import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Snapshot } from "../../src/arch/x86/state.ts";
import { bundle, haveQemu, leftovers } from "../support/attach.ts";
import { PROGRAM, User, until } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";
import { parseInfoLapic, parseInfoPic, picsOf, Qemu } from "../support/qemu.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";

const user = new User();
const isRoot = process.getuid?.() === 0;
afterAll(() => {
  expect(user.dispose()).toEqual([]);
});

describe.skipIf(!haveQemu || !isRoot)(
  "QEMU with four vCPUs (needs qemu-system-x86_64, /dev/kvm and root)",
  () => {
    let qemu: Qemu;
    let pid: string;
    const dump = (...more: string[]) => user.json<Snapshot>(["dump", "--pid", pid, ...more]);

    beforeAll(async () => {
      qemu = await Qemu.start("-machine", "pc", "-smp", "4", "-name", "guest=oracle,debug-threads=on");
      // The BIOS has started the other vCPUs, and from then on little changes.
      await until("the BIOS is through", async () =>
        /SPIV\s+0x000001ff/.test(await qemu.monitor("info lapic 0")),
      );
      pid = String(qemu.pid);
    }, 60_000);
    afterAll(async () => {
      await qemu?.end();
    });

    it("is listed with its pid, guest, vCPUs and user", () => {
      const { vms } = user.json(["list"]);
      const [vm, ...others] = vms.filter((one: { pid: number }) => one.pid === qemu.pid);
      expect(others).toEqual([]);
      expect(vm).toMatchObject({
        command: "qemu-system-x86_64",
        name: "oracle",
        vcpus: 4,
        user: "root",
        attachable: true,
      });
      expect(user.ok(["list"])).toMatch(
        new RegExp(`^qemu-system-x86_64 +${pid} .* 4  oracle .*--pid ${pid}$`, "m"),
      );
    });

    it("agrees with `info pic` on every register of the PICs and every pin of the IOAPIC", async () => {
      const [text, snapshot] = await qemu.beside("info pic", () => dump("--chip", "pic", "--chip", "ioapic"));
      const { pic1, pic2, ioapic } = snapshot.chips;
      const theirs = parseInfoPic(text);
      expect(theirs.pins).toHaveLength(24);
      expect(picsOf({ pic1: pic1!, pic2: pic2!, ioapic: ioapic! })).toEqual(theirs);
    }, 60_000);

    it.each([0, 1, 2, 3])(
      "agrees with `info lapic %i`",
      async (vcpu) => {
        const [text, snapshot] = await qemu.beside(`info lapic ${vcpu}`, () =>
          dump("--chip", `lapic[${vcpu}]`),
        );
        const theirs = parseInfoLapic(text);
        expect(Object.keys(theirs)).toHaveLength(13);
        expect(snapshot.chips.lapic![0]).toMatchObject({ vcpu, ...theirs });
      },
      60_000,
    );

    it("has what decides delivery for each vCPU", () => {
      const { vcpus, source } = dump();
      expect(source).toMatchObject({ kind: "process", backend: "kvm", pid: qemu.pid, name: "oracle" });
      expect(vcpus!.map(({ vcpu }) => vcpu)).toEqual([0, 1, 2, 3]);
      for (const state of vcpus!) {
        expect(state).toMatchObject({
          rflags: expect.any(Number),
          mp_state: expect.any(String),
          interrupt: { shadow: expect.any(Number) },
        });
      }
    });

    it("gives a snapshot that restores into a scratch VM and into the model", () => {
      const snapshot = JSON.stringify(dump("--chip", "pic", "--chip", "ioapic", "--chip", "lapic"));
      for (const backend of ["kvm", "model"]) {
        user.ok(["create", backend, "--backend", backend, "--vcpus", "4"]);
        user.ok(["-s", backend, "restore", "-"], { input: snapshot });
        const copy = user.json<Snapshot>(["-s", backend, "dump", "--chip", "ioapic"]);
        expect(copy.chips.ioapic!.redirtbl).toEqual(JSON.parse(snapshot).chips.ioapic.redirtbl);
        user.ok(["destroy", backend]);
      }
    });

    it.each([
      [["pulse", "4"]],
      [["hold", "4"]],
      [["release", "4"]],
      [["set", "pic1.imr=0xff"]],
      [["msi", "--vector", "0x41"]],
      [["run", "-"]],
    ])("is not changed by %j without --yes", (args) => {
      const { status, stdout, stderr } = user.run([...args, "--pid", pid], { input: "pulse 4\n" });
      expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
      expect(stderr).toMatch(/would change the VM of pid .*\nhint: pass --yes/);
    });

    it("takes scripts that only read without --yes", () => {
      const { status } = user.run(["run", "-", "--pid", pid], {
        input: "expect pic1.imr>=0\ndump --chip pic1\n",
      });
      expect(status).toBe(0);
    });

    it("is changed with --yes: QEMU reads what was set, and gets it back by restore", async () => {
      await qemu.execute("stop");
      const before = dump("--chip", "ioapic");
      user.ok([
        "set",
        "ioapic.redirtbl[20].vector=0x51",
        "ioapic.redirtbl[20].trig_mode=level",
        "--pid",
        pid,
        "--yes",
      ]);
      const pin = () => qemu.monitor("info pic").then((text) => parseInfoPic(text).pins[20]! & 0xffffn);
      expect(await pin()).toBe(0x8051n);
      user.ok(["restore", "-", "--pid", pid, "--yes"], { input: JSON.stringify(before) });
      expect(await pin()).toBe(0n);
      const { results } = user.json(["pulse", "5", "--pid", pid, "--yes"]);
      expect(results).toMatchObject([{ gsi: 5, count: 1 }]);
      await qemu.execute("cont");
    });

    it.skipIf(!haveTmux).each([
      [["y", "Enter"], 0, /^ +5 +1 /m],
      [["n", "Enter"], 130, /nothing was changed/],
      [["C-d"], 130, /nothing was changed/],
      [["C-c"], 130, /nothing was changed/],
    ])(
      "is asked for on a terminal (needs tmux), where %j ends with status %i",
      async (keys, status, said) => {
        const terminal = new Terminal(100, 20);
        try {
          const line = `trap : INT; ${process.execPath} ${PROGRAM} pulse 5 --pid ${pid}; echo status $?`;
          terminal.run(line, user.env, user.folder);
          await terminal.shows(/Go on\? \[y\/N\]/);
          terminal.type(...keys);
          expect(await terminal.shows(new RegExp(`^status ${status}$`, "m"))).toMatch(said);
        } finally {
          terminal.dispose();
        }
      },
    );

    it("is left running, with no thread held", async () => {
      expect(await qemu.monitor("info status")).toContain("running");
      expect(leftovers(qemu.pid)).toEqual([]);
    });

    it("is out of reach of another user, who is told why and what would help", () => {
      const folder = mkdtempSync(join(tmpdir(), "kvm-irq-copy-"));
      try {
        cpSync(dirname(PROGRAM), join(folder, "bin"), { recursive: true });
        cpSync(join(dirname(PROGRAM), "../dist"), join(folder, "dist"), { recursive: true });
        cpSync("node_modules/ffi-rs", join(folder, "node_modules/ffi-rs"), { recursive: true });
        cpSync("node_modules/@yuuang", join(folder, "node_modules/@yuuang"), { recursive: true });
        writeFileSync(join(folder, "package.json"), "{}");
        spawnSync("chmod", ["-R", "a+rX", folder]);
        const asNobody = (...args: string[]) =>
          spawnSync(
            "setpriv",
            [
              "--reuid=65534",
              "--regid=65534",
              "--clear-groups",
              process.execPath,
              join(folder, "bin/kvm-irq.js"),
              ...args,
            ],
            {
              env: { ...user.env, XDG_RUNTIME_DIR: "" },
              encoding: "utf8",
            },
          );
        const { status, stderr } = asNobody("dump", "--pid", pid);
        expect(stderr).toMatch(/belongs to another user\nhint: run as that user or as root/);
        expect(status).toBe(4);
        const listed = asNobody("list", "--json");
        expect(listed.status).toBe(0);
        expect(JSON.parse(listed.stdout).unseen_processes).toBeGreaterThan(0);
        expect(listed.stderr).toMatch(/^\d+ processes can't be looked into and may have VMs: run as root/m);
        expect(user.json(["list"]).unseen_processes).toBe(0);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  },
);

describe.skipIf(!haveKvm || !isRoot)("a process (needs /dev/kvm and root)", () => {
  const children: ChildProcess[] = [];
  afterAll(() => {
    for (const child of children) child.kill("SIGKILL");
  });

  async function startVmm(...args: string[]): Promise<string> {
    const child = spawn(process.execPath, [bundle("static-vmm"), ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    children.push(child);
    await once(createInterface({ input: child.stdout! }), "line");
    return String(child.pid);
  }

  it("with a VM in a known state is shown in it", async () => {
    const pid = await startVmm();
    const { pic1, ioapic, lapic } = user.json<Snapshot>(["dump", "--pid", pid]).chips;
    expect(pic1).toMatchObject({ imr: 0xff, irr: (1 << 4) | (1 << 7) });
    expect(ioapic!.redirtbl[20]).toMatchObject({ remote_irr: true, vector: 0x44 });
    expect(lapic!.map(({ irr, isr }) => ({ irr, isr }))).toEqual([
      { irr: [0x34, 0x37, 0x44], isr: [] },
      expect.objectContaining({ isr: [0x61] }),
    ]);
    expect(user.run(["expect", "--pid", pid, "lapic[1].isr=0x61", "pic1.irr&0x10"]).status).toBe(0);
    expect(user.run(["expect", "--pid", pid, "lapic[1].isr=0x62"]).status).toBe(1);
  });

  it("is read by several of us at once, each in its turn", async () => {
    const pid = await startVmm();
    const dumps = Array.from({ length: 6 }, () => user.runAsync(["dump", "--pid", pid, "--json"]));
    const results = await Promise.all(dumps);
    expect(results.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
      results.map(() => ({ status: 0, stderr: "" })),
    );
    expect(leftovers(Number(pid))).toEqual([]);
  });

  it("with several VMs must be told which one", async () => {
    const pid = await startVmm("2");
    const { status, stderr } = user.run(["dump", "--pid", pid]);
    expect(status).toBe(2);
    const [, fd] = /as with `--vm-fd (\d+)`/.exec(stderr)!;
    expect(user.run(["dump", "--pid", pid, "--vm-fd", fd!, "--chip", "ioapic"]).status).toBe(0);
    expect(user.run(["dump", "--pid", pid, "--vm-fd", "999"]).status).toBe(4);
    const { vms } = user.json(["list"]);
    expect(vms.filter((vm: { pid: number }) => String(vm.pid) === pid)).toHaveLength(2);
  });

  it("that holds a session can be read too, and the better way is named", () => {
    const { pid } = user.json(["create", "held", "--preset", "ioapic"]);
    const { status, stdout, stderr } = user.run(["dump", "--json", "--pid", String(pid), "--via", "ptrace"]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/is the holder of a session: `-s` reaches it without stopping it/);
    const { chips } = user.json(["-s", "held", "dump"]);
    expect(JSON.parse(stdout).chips).toEqual(chips);
    expect(user.run(["-s", "held", "pulse", "4"]).status).toBe(0);
    user.ok(["destroy", "held"]);
  });

  it.each([
    ["that does not exist", () => 4194303, /there is no process/, 4],
    ["without a VM", () => process.ppid, /has no VM/, 4],
    ["that is a thread of the kernel", () => 2, /is a thread of the kernel/, 4],
    ["that is no number", () => "qemu", /whole number/, 2],
    ["that is 0", () => 0, /whole number/, 2],
  ])("%s is refused", (_what, pid, message, status) => {
    const result = user.run(["dump", "--pid", String(pid())]);
    expect(result).toMatchObject({ status, stdout: "" });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^hint: /m);
  });

  it.skipIf(!haveTmux)("is not asked about in the background of a terminal (needs tmux)", async () => {
    const set = `"${process.execPath}" "${PROGRAM}" set pic1.imr=0xff --pid ${await startVmm()}`;
    const terminal = new Terminal(100, 20);
    // A shell in a script leaves its group in the foreground; timeout(1) makes one of its own.
    writeFileSync(join(user.folder, "set.sh"), `timeout 20 ${set}; echo "status $?"\n`);
    try {
      terminal.run("sh set.sh", user.env, user.folder);
      expect(await terminal.shows(/status \d+/)).toMatch(/would change the VM of [\s\S]*^status 2$/m);
    } finally {
      terminal.dispose();
      rmSync(join(user.folder, "set.sh"));
    }
  });

  it("named beside a session or a file is one target too many", () => {
    expect(user.run(["dump", "--pid", "1", "-s", "x"])).toMatchObject({ status: 2 });
    expect(user.run(["dump", "--vm-fd", "1"])).toMatchObject({ status: 2 });
  });
});
