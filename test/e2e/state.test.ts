import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM, User } from "../support/cli.ts";

const user = new User();
/** What colours start with. */
const ESCAPE = "\u001b[";
const path = (name: string) => join(user.folder, name);
beforeAll(() => {
  user.ok(["create", "--preset", "ioapic"]);
});
afterAll(() => {
  user.ok(["destroy", "--all"]);
  // Drafts of files that were being written would lie beside them.
  expect(readdirSync(user.folder).filter((name) => name.includes(".tmp"))).toEqual([]);
  user.dispose();
});

const snapshot = () => user.json(["dump"]);
// biome-ignore lint/suspicious/noExplicitAny: broken on purpose
type Change = (value: any) => void;
const changed = (change: Change) => {
  const value = snapshot();
  change(value);
  return JSON.stringify(value);
};

/** A snapshot with that text in place of its redirection table. */
const withRedirtbl = (text: string) =>
  changed(({ chips }) => {
    chips.ioapic.redirtbl = "HERE";
  }).replace('"HERE"', text);
const withRoutes = (count: number) =>
  changed((value) => {
    value.routing = Array.from({ length: count }, (_, gsi) => ({
      gsi,
      msi: { address: 0xfee00000, data: 0 },
    }));
  });

describe("dump", () => {
  it("shows every chip, a row a pin, in plain text when piped", () => {
    const text = user.ok(["dump"]);
    expect(text).not.toContain(ESCAPE);
    expect(text).toContain("PIC1 (master)  base 0x20");
    expect(text.match(/^ *\d+ +0x[34]\d|^ *\d+ +0x3[a-f]/gm)?.length).toBeGreaterThanOrEqual(24);
    expect(text).toContain("LAPIC of vCPU 0");
  });

  it.each([
    [["pic1"], ["pic1"]],
    [["pic"], ["pic1", "pic2"]],
    [
      ["ioapic", "pic2"],
      ["pic2", "ioapic"],
    ],
    [["lapic"], ["lapic"]],
    [["lapic[0]"], ["lapic"]],
    [["all"], ["pic1", "pic2", "ioapic", "lapic"]],
    [["pic1,ioapic"], ["pic1", "ioapic"]],
  ])("--chip %j shows %j", (words, chips) => {
    const args = words.flatMap((word) => ["--chip", word]);
    expect(Object.keys(user.json(["dump", ...args]).chips)).toEqual(chips);
  });

  it("has the form of the snapshot format", () => {
    expect(snapshot()).toMatchObject({
      format: "kvm-irq.snapshot",
      version: 1,
      captured_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      source: { kind: "session", name: "default", pid: expect.any(Number) },
      host: { kernel: expect.any(String), arch: "x86_64" },
      chips: { pic1: { elcr_mask: 0xf8 }, ioapic: { base_address: 0xfec00000 }, lapic: [{ vcpu: 0 }] },
    });
  });

  it("colours on request alone, when piped", () => {
    expect(user.ok(["dump"], { env: { FORCE_COLOR: "1" } })).toContain(ESCAPE);
    expect(user.ok(["dump"], { env: { NO_COLOR: "1" } })).not.toContain(ESCAPE);
  });

  it("writes a file whole, and says so when it can't", () => {
    expect(user.ok(["dump", "--json", "-o", path("out.json")])).toBe("");
    expect(JSON.parse(readFileSync(path("out.json"), "utf8")).format).toBe("kvm-irq.snapshot");
    user.ok(["dump", "-o", path("out.txt")]);
    expect(readFileSync(path("out.txt"), "utf8")).toContain("IOAPIC");
    mkdirSync(path("folder"), { recursive: true });
    for (const [bad, why] of [
      [path("folder"), "it is a folder"],
      [path("missing/out.json"), "there is no such folder"],
      ["/proc/nothing", "no files can be made in its folder"],
    ] as const) {
      const { status, stderr } = user.run(["dump", "--format", "json", "-o", bad]);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^kvm-irq: .* can't be written: [^:]+\nhint: /);
      expect(stderr).toContain(`can't be written: ${why}\n`);
    }
    expect(user.run(["dump", "-o", "/dev/null"]).status).toBe(0);
    expect(existsSync("/dev/null")).toBe(true);
  });

  it("reads a saved snapshot and raw bytes as a target, but does not drive them", () => {
    writeFileSync(path("snap.json"), JSON.stringify(snapshot()));
    user.ok(["dump", "--format", "raw", "-o", path("snap.bin")]);
    const live = snapshot().chips;
    expect(user.json(["dump", "--snapshot", path("snap.json")]).chips).toEqual(live);
    expect(user.json(["dump", "--snapshot", path("snap.bin")]).chips).toEqual(live);
    expect(user.json(["dump", "--snapshot", "-"], { input: JSON.stringify(snapshot()) }).chips).toEqual(live);
    for (const args of [
      ["pulse", "4"],
      ["set", "pic1.imr=0"],
      ["restore", path("snap.json")],
    ]) {
      const { status, stderr } = user.run([...args, "--snapshot", path("snap.json")]);
      expect(status).toBe(2);
      expect(stderr).toContain("it can be read, not driven");
    }
  });

  it("decodes the 48 pins of ia64's layout", () => {
    const bytes = Buffer.alloc(408);
    bytes.writeUInt32LE(0xfec00000, 0);
    bytes.writeUInt32LE(0x0001_a234, 24 + 47 * 8);
    writeFileSync(path("old.bin"), bytes);
    const { chips, host } = user.json(["dump", "--snapshot", path("old.bin"), "--layout", "ia64"]);
    expect(host.arch).toBe("ia64");
    expect(chips.ioapic.redirtbl).toHaveLength(48);
    expect(chips.ioapic.redirtbl[47]).toMatchObject({
      vector: 0x34,
      mask: true,
      trig_mode: "level",
      polarity: "low",
    });
    expect(user.ok(["dump", "--snapshot", path("old.bin"), "--layout", "ia64"])).toMatch(/^ 47 {2}0x34/m);
    expect(user.run(["dump", "--layout", "ia64"])).toMatchObject({ status: 2 });
  });

  it("takes a snapshot of ia64 with its 48 pins everywhere, except to put it into a VM of x86-64", () => {
    writeFileSync(path("old.bin"), Buffer.alloc(408));
    const old = user.json(["dump", "--snapshot", path("old.bin"), "--layout", "ia64"]);
    writeFileSync(path("old.json"), JSON.stringify(old));
    expect(user.json(["dump", "--snapshot", path("old.json")]).chips).toEqual(old.chips);
    user.ok(["expect", "ioapic.redirtbl[47].mask=false", "--snapshot", path("old.json")]);
    user.ok(["diff", path("old.json"), path("old.json")]);
    const explained = user.run(["explain", "4", "--snapshot", path("old.json")]);
    expect(explained).toMatchObject({ status: 2 });
    expect(explained.stderr).toContain("old.json is of ia64; explain knows the ways of x86_64");
    const { status, stderr } = user.run(["restore", path("old.json")]);
    expect(status).toBe(6);
    expect(stderr).toContain("the snapshot is of ia64");
    old.chips.ioapic.redirtbl.pop();
    const short = user.run(["dump", "--snapshot", "-"], { input: JSON.stringify(old) });
    expect(short).toMatchObject({ status: 6 });
    expect(short.stderr).toContain("it has 47 elements; an IOAPIC of ia64 has 48");
  });
});

describe("set", () => {
  it("changes fields, reads them back, and reports each", () => {
    const { changed: changes, changed_by_kernel } = user.json([
      "set",
      "pic1.imr=0xfb",
      "ioapic.redirtbl[4].vector=0x99",
      "ioapic.redirtbl[2-3].mask=true",
    ]);
    expect(changes).toEqual([
      { path: "pic1.imr", from: 0xff, to: 0xfb },
      { path: "ioapic.redirtbl[2].mask", from: false, to: true },
      { path: "ioapic.redirtbl[3].mask", from: false, to: true },
      { path: "ioapic.redirtbl[4].vector", from: 0x34, to: 0x99 },
    ]);
    expect(changed_by_kernel).toEqual([]);
    expect(snapshot().chips.ioapic.redirtbl[4].vector).toBe(0x99);
  });

  it("sets words and lists of vectors", () => {
    user.ok(["set", "lapic[0].isr=0x51,0x41", "ioapic.redirtbl[5].delivery_mode=nmi"]);
    const { lapic, ioapic } = snapshot().chips;
    expect(lapic[0].isr).toEqual([0x41, 0x51]);
    expect(ioapic.redirtbl[5].delivery_mode).toBe("nmi");
    user.ok(["set", "lapic[0].isr=[]", "ioapic.redirtbl[5].delivery_mode=fixed"]);
    expect(snapshot().chips.lapic[0].isr).toEqual([]);
  });

  it("reports what the kernel made of it: a pending level pin is injected again", () => {
    const { changed_by_kernel } = user.json(["set", "ioapic.irr=0x800000"]);
    expect(changed_by_kernel).toContainEqual({
      path: "ioapic.redirtbl[23].remote_irr",
      from: false,
      to: true,
    });
    user.ok(["set", "ioapic.irr=0", "ioapic.redirtbl[23].remote_irr=false"]);
  });

  it.each([
    "ioapic.redirtbl[24].mask=true",
    "pic3.imr=0",
    "pic1.nothing=1",
    "pic1.imr",
    "pic1.imr=256",
    "pic1.imr=-1",
    "pic1.imr=x",
    "ioapic.redirtbl[4].mask=maybe",
    "ioapic.redirtbl[4].trig_mode=sideways",
    "ioapic.redirtbl[4]=1",
    "lapic[0].irr=256",
    "lapic[1].svr=0",
    "vcpus[0].rflags=0",
    "=1",
  ])("refuses %j with status 2 and changes nothing, whatever else was asked", (assignment) => {
    const before = snapshot().chips;
    const { status, stderr } = user.run(["set", "pic2.imr=0", assignment]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/^kvm-irq: .*\n/);
    expect(snapshot().chips).toEqual(before);
  });
});

describe("restore", () => {
  it("round-trips through a pipe", () => {
    const before = user.ok(["dump", "--json"]);
    user.ok(["set", "pic1.imr=0x12", "ioapic.redirtbl[*].mask=true", "lapic[0].tpr=0x20"]);
    user.ok(["restore", "-"], { input: before });
    expect(snapshot().chips).toEqual(JSON.parse(before).chips);
  });

  it("takes a snapshot that begins with a byte order mark, as `--snapshot` does", () => {
    const marked = `\ufeff${JSON.stringify(snapshot())}`;
    user.ok(["restore", "-"], { input: marked });
    writeFileSync(path("marked.json"), marked);
    expect(user.json(["--snapshot", path("marked.json"), "dump"]).chips).toEqual(
      JSON.parse(marked.slice(1)).chips,
    );
  });

  it("--dry-run shows what would change and writes nothing", () => {
    const before = snapshot();
    const { changed: changes, dry_run } = user.json(["restore", "-", "--dry-run"], {
      input: changed((value) => {
        value.chips.pic1.imr ^= 1;
      }),
    });
    expect(dry_run).toBe(true);
    expect(changes).toMatchObject([{ path: "pic1.imr" }]);
    expect(snapshot().chips).toEqual(before.chips);
  });

  it("--chip restores that chip alone", () => {
    const before = snapshot();
    user.ok(["restore", "-", "--chip", "pic2"], {
      input: changed((value) => {
        value.chips.pic1.imr ^= 1;
        value.chips.pic2.imr ^= 1;
      }),
    });
    const { pic1, pic2 } = snapshot().chips;
    expect(pic1).toEqual(before.chips.pic1);
    expect(pic2.imr).toBe(before.chips.pic2.imr ^ 1);
  });

  it.each<[string, string | (() => string)]>([
    ["empty", ""],
    ["cut short", () => JSON.stringify(snapshot()).slice(0, -20)],
    ["no snapshot", "[1, 2]"],
    ["null", "null"],
    [
      "of another version",
      () =>
        changed((value) => {
          value.version = 2;
        }),
    ],
    [
      "with an unknown field",
      () =>
        changed((value) => {
          value.chips.pic1.more = 1;
        }),
    ],
    [
      "with an unknown chip",
      () =>
        changed((value) => {
          value.chips.pic3 = value.chips.pic1;
        }),
    ],
    [
      "with a value out of range",
      () =>
        changed((value) => {
          value.chips.pic1.imr = 256;
        }),
    ],
    [
      "with a missing field",
      () =>
        changed((value) => {
          delete value.chips.pic1.imr;
        }),
    ],
    [
      "with 25 pins",
      () =>
        changed((value) => {
          value.chips.ioapic.redirtbl.push(value.chips.ioapic.redirtbl[0]);
        }),
    ],
    [
      "with 23 pins",
      () =>
        changed((value) => {
          value.chips.ioapic.redirtbl.pop();
        }),
    ],
    [
      "with two local APICs of one vCPU",
      () =>
        changed((value) => {
          value.chips.lapic.push(value.chips.lapic[0]);
        }),
    ],
    [
      "with a local APIC of a vCPU that the VM lacks",
      () =>
        changed((value) => {
          value.chips.lapic[0].vcpu = 7;
        }),
    ],
    [
      "of an unknown architecture",
      () =>
        changed((value) => {
          value.host.arch = "vax";
        }),
    ],
  ])("refuses a snapshot that is %s with status 6 and writes nothing", (_, input) => {
    const before = snapshot().chips;
    const text = typeof input === "string" ? input : input();
    const { status, stderr, stdout } = user.run(["restore", "-", "--json"], { input: text });
    expect({ status, stdout }).toEqual({ status: 6, stdout: "" });
    expect(JSON.parse(stderr).error).toMatchObject({ code: "bad-input", message: expect.any(String) });
    expect(snapshot().chips).toEqual(before);
  });

  it("says in plain words what does not fit", () => {
    const input = changed(({ chips }) => {
      chips.pic1.imr = 256;
      chips.pic1.more = 1;
      delete chips.pic2.imr;
    });
    const { stderr } = user.run(["restore", "-", "--json"], { input });
    expect(JSON.parse(stderr).error.issues).toEqual([
      { path: "chips.pic1.imr", message: "256 is more than 255" },
      { path: "chips.pic1.more", message: "there is no such field" },
      { path: "chips.pic2.imr", message: "it is missing" },
    ]);
    const asleep = changed(({ vcpus }) => {
      Object.assign(vcpus[0], { rflags: "FF", mp_state: "asleep" });
    });
    expect(JSON.parse(user.run(["restore", "-", "--json"], { input: asleep }).stderr).error.issues).toEqual([
      { path: "vcpus[0].mp_state", message: expect.stringMatching(/^"asleep" is not one of runnable, /) },
      {
        path: "vcpus[0].rflags",
        message: '"FF" is not a number such as 0x1ff, of up to 16 digits in lower case',
      },
    ]);
    const endless = changed(({ chips }) => {
      chips.lapic = Array(10_000).fill({});
    });
    expect(user.run(["restore", "-"], { input: endless }).stderr).toMatch(
      /chips.lapic: it has 10000 elements, and should have at most 4096\n/,
    );
    expect(user.run(["set", "ioapic.redirtbl[4].polarity=up"]).stderr).toContain(
      'ioapic.redirtbl[4].polarity: "up" is not one of "high", "low"',
    );
  });

  it("refuses what has no end", () => {
    for (const args of [["restore"], ["dump", "--snapshot"], ["run"]]) {
      const { status, stderr } = user.run([...args, "/dev/zero"]);
      expect(status).toBe(6);
      expect(stderr).toContain("/dev/zero has more than 32 MiB");
    }
  });

  it.each<[what: string, content: () => string | Buffer, says: string]>([
    ["a million redirection entries", () => withRedirtbl(`[${"{},".repeat(1e6)}{}]`), "lists and objects"],
    ["ten million brackets", () => "[".repeat(1e7), "nested"],
    ["objects in objects", () => withRedirtbl('{"a":'.repeat(1e5)), "nested"],
    ["a million fields", () => `{${Array.from({ length: 1e6 }, (_, n) => `"k${n}":0`)}}`, "fields"],
    [
      "30,000 routes",
      () => withRoutes(30_000),
      "routing: it has 30000 elements, and should have at most 4096",
    ],
    ["10,000 local APICs", () => Buffer.alloc(10_000 * 1024), "10000 local APICs are too many"],
  ])("refuses %s before they take memory", (_, content, says) => {
    writeFileSync(path("huge"), content());
    for (const args of [
      ["dump", "--snapshot"],
      ["create", "huge", "--backend", "model", "--from"],
    ]) {
      const argv = ["--max-old-space-size=128", PROGRAM, ...args, path("huge")];
      const { status, stderr } = spawnSync(process.execPath, argv, { env: user.env, encoding: "utf8" });
      expect(stderr).toContain(says);
      expect(status).toBe(6);
    }
  });

  it("refuses a file that is not there with status 4, and a chip that the snapshot lacks with status 2", () => {
    expect(user.run(["restore", path("nowhere.json")])).toMatchObject({ status: 4 });
    const part = user.ok(["dump", "--json", "--chip", "pic1"]);
    expect(user.run(["restore", "-", "--chip", "ioapic"], { input: part })).toMatchObject({ status: 2 });
    expect(user.run(["dump", "--snapshot", user.folder])).toMatchObject({ status: 4 });
    for (const word of ["vcpu", "vcpu[0]"]) {
      const { status, stderr } = user.run(["restore", "-", "--chip", word], { input: part });
      expect(status).toBe(2);
      expect(stderr).toContain("the state of vCPUs is there to be read, and is not restored");
    }
  });
});
