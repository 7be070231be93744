import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM, User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";

const user = new User();
const path = (name: string) => join(user.folder, name);
beforeAll(() => {
  user.ok(["create", "a", "--preset", "ioapic"]);
  user.ok(["create", "b", "--preset", "ioapic"]);
  user.ok(["create", "wide", "--preset", "ioapic", "--vcpus", "2"]);
  user.ok(["-s", "a", "dump", "--json", "-o", path("a.json")]);
  user.ok(["-s", "b", "set", "ioapic.redirtbl[4].mask=true", "pic1.imr=0xf0", "lapic[0].irr=0x31,0x44"]);
});
afterAll(() => {
  user.ok(["destroy", "--all"]);
  user.dispose();
});

const B_LINES = [
  "pic1.imr: 0xff -> 0xf0 (cleared bits 0 1 2 3)",
  "ioapic.redirtbl[4].mask: false -> true",
  "lapic[0].irr: - -> 0x31 0x44",
];
const diff = (args: string[], input?: string) => {
  const { status, stdout, stderr } = user.run(["diff", ...args], input === undefined ? {} : { input });
  return { status, lines: stdout.split("\n").slice(0, -1), stderr };
};

describe("diff", () => {
  it("of two sessions has a line a field, with the bits that were set and cleared", () => {
    expect(diff(["a", "b"])).toEqual({ status: 1, lines: B_LINES, stderr: "" });
    expect(diff(["b", "a"]).lines).toContain("pic1.imr: 0xf0 -> 0xff (set bits 0 1 2 3)");
  });

  it("has the time at which a file was written, not that at which it is read", () => {
    const { captured_at } = JSON.parse(readFileSync(path("a.json"), "utf8"));
    const compared = JSON.parse(user.run(["diff", path("a.json"), "b", "--json"]).stdout);
    expect(compared.a.captured_at).toBe(captured_at);
    expect(compared.b.captured_at > captured_at).toBe(true);
    expect(user.json(["dump", "--snapshot", path("a.json")]).captured_at).toBe(captured_at);
    user.ok(["-s", "a", "dump", "--format", "raw", "-o", path("a.bin")]);
    const raw = user.json(["dump", "--snapshot", path("a.bin")]);
    expect(raw.captured_at).toBe(statSync(path("a.bin")).mtime.toISOString());
  });

  it("tells the GSIs that are routed elsewhere, and what only one side can tell", () => {
    user.ok(["create", "routed", "--preset", "ioapic"]);
    user.ok(["-s", "routed", "route", "set", "default", "4=ioapic:5", "30=msi:0xfee00000/0x41"]);
    const lines = [
      "routing[4]: pic1 pin 4, ioapic pin 4 -> ioapic pin 5",
      expect.stringMatching(/^routing\[30\]: nowhere -> MSI: .*0x41/),
    ];
    expect(diff(["a", "routed"])).toEqual({ status: 1, lines, stderr: "" });
    expect(diff(["a", "routed", "--ignore", "routing"])).toMatchObject({ status: 0 });
    const { routing: _, routes: __, ...untold } = user.json(["-s", "routed", "dump"]);
    expect(diff(["a", "-"], JSON.stringify(untold))).toEqual({
      status: 0,
      lines: ["nothing differs"],
      stderr: "only session 'a' has a routing: it is left out\n",
    });
    user.ok(["destroy", "routed"]);
  });

  it("of what is the same says so, with status 0", () => {
    expect(diff(["a", "a"])).toEqual({ status: 0, lines: ["nothing differs"], stderr: "" });
    expect(diff([path("a.json"), "a"])).toEqual({ status: 0, lines: ["nothing differs"], stderr: "" });
  });

  it("takes a file, standard input and a session in either place", () => {
    const input = user.ok(["-s", "b", "dump", "--json"]);
    for (const [first, second] of [
      [path("a.json"), "-"],
      ["a", "-"],
      [path("a.json"), "b"],
    ] as const) {
      expect(diff([first, second], input)).toEqual({ status: 1, lines: B_LINES, stderr: "" });
      expect(diff([second, first], input)).toMatchObject({ status: 1, lines: { length: 3 } });
    }
  });

  it("with --json gives the fields with both values, and what was compared", () => {
    const { status, stdout } = user.run(["diff", path("a.json"), "b", "--json"]);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      same: false,
      a: { label: "a.json", source: { kind: "session", name: "a" } },
      b: { label: "session 'b'" },
      differences: [
        { path: "pic1.imr", from: 0xff, to: 0xf0, set: [], cleared: [0, 1, 2, 3] },
        { path: "ioapic.redirtbl[4].mask", from: false, to: true },
        { path: "lapic[0].irr", from: [], to: [0x31, 0x44], set: [0x31, 0x44], cleared: [] },
      ],
    });
    expect(user.json(["diff", "a", "a"])).toMatchObject({ same: true, differences: [] });
  });

  it("leaves out fields, and all below a path", () => {
    expect(diff(["a", "b", "--ignore", "lapic[*].irr", "--ignore", "pic1"]).lines).toEqual([B_LINES[1]]);
    const all = ["--ignore", "lapic", "--ignore", "ioapic.redirtbl[0-7]", "--ignore", "pic1.imr"];
    expect(diff(["a", "b", ...all])).toMatchObject({ status: 0 });
  });

  it("takes a name for a session before a file, and what has a slash or ends in .json for a file", () => {
    const a = readFileSync(path("a.json"));
    for (const name of ["b", "alone", "b.json"]) writeFileSync(path(name), a);
    const statusOf = (name: string) =>
      spawnSync(process.execPath, [PROGRAM, "diff", "a", name], { cwd: user.folder, env: user.env }).status;
    expect(statusOf("b")).toBe(1);
    for (const name of ["./b", "alone", "b.json"]) expect(statusOf(name)).toBe(0);
    expect(statusOf("a.jsonl")).toBe(4);
  });

  it("refuses VMs with other chips, and says which only one side has, unless they are left out", () => {
    const { status, stderr } = diff(["a", "wide"]);
    expect(status).toBe(6);
    expect(stderr).toBe(
      "kvm-irq: they don't have the same chips: only session 'wide' has lapic[1], vcpus[1]\nhint: --ignore 'lapic[1]' --ignore 'vcpus[1]' compares the rest\n",
    );
    expect(diff(["a", "wide", "--ignore", "lapic[1]", "--ignore", "vcpus[1]"])).toMatchObject({ status: 0 });
    const pics = user.ok(["-s", "a", "dump", "--chip", "pic", "--json"]);
    const error = JSON.parse(user.run(["diff", "-", "a", "--json"], { input: pics }).stderr).error;
    expect(error).toMatchObject({ code: "bad-input", only_a: [], only_b: ["ioapic", "lapic[0]"] });
  });

  it("leaves the state of vCPUs and the routing out where only one side has them, and says so", () => {
    user.ok(["-s", "a", "dump", "--format", "raw", "-o", path("a.bin")]);
    expect(diff([path("a.bin"), "a"])).toEqual({
      status: 0,
      lines: ["nothing differs"],
      stderr:
        "only session 'a' has the state of vCPUs: it is left out\n" +
        "only session 'a' has a routing: it is left out\n",
    });
  });

  it.each([
    [["a"], 2],
    [["a", "b", "wide"], 2],
    [["-", "-"], 2],
    [["a", "b", "--ignore", "["], 2],
    [["a", "b", "-s", "a"], 2],
    [["a", "b", "--snapshot", "x.json"], 2],
    [["a", "nobody"], 4],
    [["a", "no such name"], 4],
    [["a", "pid:4194303"], 4],
    [["a", "pid:soon"], 4],
    [["a", "-"], 6],
  ])("of %j fails with status %i and one sentence", (args, status) => {
    const failed = diff(args, "");
    expect(failed).toMatchObject({ status, lines: [] });
    expect(failed.stderr).toMatch(/^kvm-irq: .+\n(hint: .+\n)?$/);
  });

  it.skipIf(!haveKvm || process.getuid?.() !== 0)(
    "reads the VM of a process (skipped without /dev/kvm)",
    () => {
      const [{ pid }] = user.json(["list"]).sessions.filter(({ name }: { name: string }) => name === "b");
      expect(diff(["a", `pid:${pid}`]).lines).toEqual(B_LINES);
      expect(diff([`pid:${pid}`, "b"])).toMatchObject({ status: 0 });
      expect(diff([`pid:${pid}:0`, "b"])).toMatchObject({ status: 4 });
    },
  );
});
