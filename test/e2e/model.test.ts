import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM, User } from "../support/cli.ts";
import { canHideKvm, withoutKvm } from "../support/without-kvm.ts";

const user = new User({ KVM_IRQ_BACKEND: "model" });
const DEV = join(user.folder, "dev");
beforeAll(() => mkdirSync(DEV));
afterAll(() => expect(user.dispose()).toEqual(["dev"]));

/** Every command that can be a line of a script, in an order in which they make sense. */
const COMMANDS = [
  ["pulse", "4", "--require", "delivered"],
  ["hold", "20"],
  ["expect", "lapic[0].irr=0x34", "ioapic.redirtbl[20].remote_irr=true"],
  ["pulse", "20", "--require", "ignored"],
  ["explain", "20"],
  ["release", "20"],
  ["msi", "--vector", "0x55", "--require", "delivered"],
  ["set", "ioapic.redirtbl[4].mask=true", "pic1.imr=0xfb"],
  ["route", "set", "20=ioapic:20", "30=msi:0xfee00000/0x56"],
  ["pulse", "30", "--count", "3", "--require", "delivered"],
  ["route", "show"],
  ["dump"],
  ["expect", "lapic[0].irr=0x55", "lapic[0].irr=0x56", "vcpus[0].mp_state=runnable"],
];

describe("a session on the software model", () => {
  it.each([
    { how: "--backend model", args: ["--backend", "model"], env: { KVM_IRQ_BACKEND: "kvm" } },
    { how: "KVM_IRQ_BACKEND=model", args: [], env: {} },
  ])("made by $how takes every command, for people and as JSON", ({ args, env }) => {
    for (const more of [[], ["--json"]]) {
      const created = user.json(["create", "soft", "--preset", "ioapic", "--replace", ...args], { env });
      expect(created).toMatchObject({ backend: "model" });
      for (const command of COMMANDS) user.ok(["-s", "soft", ...command, ...more], { env });
    }
    const snapshot = user.json(["-s", "soft", "dump"]);
    expect(snapshot.source).toMatchObject({ kind: "session", backend: "model" });
    const input = JSON.stringify(snapshot);
    expect(user.json(["-s", "soft", "restore", "-"], { input }).changed).toEqual([]);
    expect(user.ok(["list"])).toMatch(/soft +model/);
    user.ok(["destroy", "soft"]);
  });

  it("is what `run` makes with it, and every command has a place there", () => {
    const lines = COMMANDS.map((words) => words.map((word) => `'${word}'`).join(" "));
    const input = lines.join("\n");
    const { status, stdout, stderr } = user.run(["run", "-", "--preset", "ioapic", "--json"], { input });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout.match(/"status":0/g)).toHaveLength(COMMANDS.length);
  });

  it.each([
    ["irqfd", ["-s", "soft", "irqfd", "bind", "4"]],
    ["a guest", ["create", "other", "--guest", "pic"]],
    ["a split irqchip", ["create", "other", "--irqchip", "split"]],
  ])("has no %s, and says so with status 2", (_, args) => {
    user.ok(["create", "soft", "--replace"]);
    const { status, stderr } = user.run(args);
    expect(status).toBe(2);
    expect(stderr).toMatch(/^kvm-irq: the software model .*\nhint: .*--backend kvm/s);
    user.ok(["destroy", "soft"]);
  });
});

describe.skipIf(!canHideKvm)("on a machine without /dev/kvm (skipped where it can't be hidden)", () => {
  /** Runs the program there, with some other device as /dev/kvm when one is named. */
  const run = (args: string[], backend?: string, device?: string) => {
    const { KVM_IRQ_BACKEND: _, ...env } = user.env;
    const [program, ...rest] = [...withoutKvm(DEV, device), process.execPath, PROGRAM, ...args] as [string];
    const { status, stdout, stderr } = spawnSync(program, rest, {
      env: { ...env, ...(backend === undefined ? {} : { KVM_IRQ_BACKEND: backend }) },
      encoding: "utf8",
    });
    return { status, stdout, stderr };
  };

  it.each(["create", "create --backend kvm", "run /dev/null", "demo --backend kvm"])(
    "`%s` is an error of status 3 whose hint names the model",
    (call) => {
      const { status, stdout, stderr } = run(call.split(" "));
      expect({ status, stdout }).toEqual({ status: 3, stdout: "" });
      expect(stderr).toMatch(
        /^kvm-irq: there is no \/dev\/kvm on this machine\nhint: .*`--backend model`\n$/,
      );
    },
  );

  it("another device of that name is an error of status 3 too", () => {
    const { status, stderr } = run(["create"], undefined, "null");
    expect(status).toBe(3);
    expect(stderr).toMatch(/^kvm-irq: \/dev\/kvm is not KVM's device.*\nhint: .*`--backend model`\n$/);
  });

  it("says so as JSON too", () => {
    const { status, stderr } = run(["create", "--json"]);
    expect(status).toBe(3);
    expect(JSON.parse(stderr).error).toMatchObject({
      code: "kvm-unavailable",
      errno_name: "ENOENT",
      hint: expect.stringContaining("--backend model"),
    });
  });

  it("a session on the model is made, used and ended", () => {
    for (const args of [["create"], ["pulse", "4"], ["dump"], ["destroy"]]) {
      expect(run(args, "model")).toMatchObject({ status: 0, stderr: "" });
    }
  });

  it("`--backend auto` takes the model, and says which it is on stderr", () => {
    const demo = run(["demo", "--json"]);
    expect(demo).toMatchObject({ status: 0 });
    expect(JSON.parse(demo.stdout).source.backend).toBe("model");
    expect(demo.stderr).toBe(
      "there is no /dev/kvm on this machine: using the software model\nbackend: the software model\n",
    );
    const script = run(["run", "--backend", "auto", "/dev/null"]);
    expect(script.stderr).toBe("there is no /dev/kvm on this machine: using the software model\n");
    expect(script.status).toBe(0);
    const created = run(["create", "--json"], "auto");
    expect(created.stderr).toBe("there is no /dev/kvm on this machine: using the software model\n");
    expect(JSON.parse(created.stdout).backend).toBe("model");
    const dumped = run(["dump", "--json"]);
    expect(JSON.parse(dumped.stdout).source.backend).toBe("model");
    expect(run(["destroy"])).toMatchObject({ status: 0 });
  });

  it("doctor ends in status 3, with what to do", () => {
    const { status, stdout } = run(["doctor"]);
    expect(status).toBe(3);
    expect(stdout).toContain("/dev/kvm");
  });
});
