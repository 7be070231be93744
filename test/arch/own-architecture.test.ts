import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Context, Outcome, Program } from "../../src/cli/command.ts";
import { MADE_UP, madeUpSnapshot } from "../support/made-up-arch.ts";

const folder = mkdtempSync(join(tmpdir(), "kvm-irq-arch-"));
const file = (name: string, snapshot: object) => {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(snapshot));
  return path;
};
let program: Program;
let chalk: object;
let written: unknown;

// What is made of all architectures is made when it is loaded: after the made-up one is there.
beforeAll(async () => {
  const { makeProgram } = await import("../../src/cli/program.ts");
  const { GROUPS } = await import("../../src/commands/index.ts");
  program = makeProgram("0", GROUPS);
  chalk = new (await import("chalk")).Chalk({ level: 0 });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a command in this process, where the made-up architecture is known. */
async function run(...argv: string[]): Promise<Outcome & { shown: string }> {
  const parsed = await program.parse(argv);
  if ("help" in parsed) throw new Error("that is help");
  const { openSource } = await import("../../src/sources/open.ts");
  const context = {
    globals: parsed.globals,
    address: {},
    signal: new AbortController().signal,
    notice: () => {},
    source: async () => {
      const source = await openSource(parsed.globals);
      parsed.fits({ ...source.identity, routing: "default" });
      return source;
    },
  } as unknown as Context;
  const outcome = await parsed.run(context);
  const view = { columns: 100, paint: chalk } as never;
  return { ...outcome, shown: (await outcome.text?.(view)) ?? "" };
}

describe("a snapshot of another architecture than this host's", () => {
  const path = () => file("a.json", madeUpSnapshot({ enabled: 0b110 }));

  it("is tested by its own fields and words", async () => {
    expect(await run("expect", "dist.enabled&4", "dist.ctlr=on", "--snapshot", path())).toMatchObject({
      status: 0,
    });
    await expect(run("expect", "dist.ctlr=maybe", "--snapshot", path())).rejects.toMatchObject({
      message: expect.stringContaining("is compared with off, on"),
    });
  });

  it("has none of this host's fields", async () => {
    await expect(run("expect", "pic1.imr=0", "--snapshot", path())).rejects.toMatchObject({
      code: "bad-path",
      message: "there is no pic1 (in pic1.imr)",
      hint: "there is: dist, redist, timer, wide",
    });
  });

  it("is shown by its own words of --chip", async () => {
    expect((await run("dump", "--chip", "dist", "--snapshot", path())).json).toMatchObject({
      chips: { dist: { enabled: 6 } },
    });
  });

  it("is compared by its own bits, routes and messages", async () => {
    const routes = [{ gsi: 9, msi: { address: 0, data: 77 } }];
    const before = file("b.json", { ...madeUpSnapshot({ enabled: 0b11, group: 1 }), routing: "default" });
    const after = file("c.json", { ...madeUpSnapshot({ enabled: 0b110, group: 2 }), routing: routes });
    const { json, shown } = await run("diff", before, after);
    expect(json).toMatchObject({
      differences: [
        { path: "dist.enabled", set: [2], cleared: [0] },
        { path: "dist.group", from: 1, to: 2 },
        { path: "routing[7]", from: [{ chip: "dist", pin: 3 }], to: [] },
        { path: "routing[9]", from: [], to: [{ msi: { data: 77 } }] },
      ],
    });
    expect(shown).toContain("routing[9]: nowhere -> MSI: message 77\n");
  });

  it("is not compared with one of this host's", async () => {
    const host = file("host.json", {
      ...madeUpSnapshot(),
      host: { kernel: "6.0", arch: "x86_64" },
      chips: { pic1: undefined },
    });
    await expect(run("diff", path(), host)).rejects.toMatchObject({
      code: "bad-input",
      message: "a.json is of made-up, host.json of x86_64",
    });
    const { diffSnapshots } = await import("../../src/rules/diff-snapshots.ts");
    const other = { ...madeUpSnapshot(), host: { kernel: "6.0", arch: "ia64" } };
    expect(() => diffSnapshots(madeUpSnapshot(), other)).toThrow(
      "one snapshot is of made-up, the other of ia64",
    );
  });

  it("shows where its own default routing sends GSIs", async () => {
    const routed = file("d.json", { ...madeUpSnapshot(), routing: "default" });
    const { json, shown } = await run("route", "show", "--snapshot", routed);
    expect(json).toMatchObject({ default: true, routes: [{ gsi: 7, chip: "dist", pin: 3 }] });
    expect(shown).toContain("dist pin 3");
  });
});

describe("a VM of another architecture than this host's", () => {
  it("is changed by its own fields", async () => {
    const { editSource, parseAssignment } = await import("../../src/operations/edit.ts");
    let images = MADE_UP.encode(madeUpSnapshot({ group: 1 }).chips);
    const source = {
      identity: {
        source: { kind: "process" },
        host: { kernel: "6.0", arch: MADE_UP.name },
        chips: ["dist"],
        label: "a VM",
      },
      read: async () => ({
        identity: source.identity,
        images,
        runs: new Map(),
        consistency: "atomic",
        stops: [],
      }),
      perform: async (_: string, params: { images: typeof images }) => {
        written = params.images;
        images = params.images;
      },
    };
    const edited = await editSource(source as never, [
      parseAssignment("dist.ctlr=off"),
      parseAssignment("dist.enabled=0x10"),
    ]);
    expect(edited.after).toEqual({ dist: { ctlr: "off", enabled: 16, group: 1, pending: [] } });
    expect(written).toEqual(MADE_UP.encode(edited.wanted));
    expect(() => parseAssignment("dist.nothing=1")).toThrow(/there is no dist/);
  });
});
