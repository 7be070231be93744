import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { transform } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventLine, headerLine } from "../../src/exports/ndjson.ts";
import { PROGRAM } from "../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "kvm-irq-package-"));
const installed = join(folder, "node_modules/kvm-irq");
const at = (path: string) => join(installed, path);
const env = { ...process.env, XDG_RUNTIME_DIR: folder };
afterAll(() => rmSync(folder, { recursive: true }));

/** The program as installed, in a folder without anything else. */
function run(...args: string[]) {
  return spawnSync(process.execPath, [at("bin/kvm-irq.js"), ...args], { env, encoding: "utf8", cwd: folder });
}

describe("the package", () => {
  /** Installs as `npm install` does, without a registry: what it depends on is linked. */
  beforeAll(() => {
    // Not what is run by `prepare`: other tests use what was built.
    const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], {
      encoding: "utf8",
    });
    mkdirSync(installed, { recursive: true });
    execFileSync("tar", ["-xf", join(folder, packed.trim()), "-C", installed, "--strip-components=1"]);
    const { dependencies } = JSON.parse(readFileSync(at("package.json"), "utf8"));
    expect(Object.keys(dependencies)).toEqual(["ffi-rs"]);
    for (const name of ["ffi-rs", "@yuuang"]) {
      symlinkSync(resolve("node_modules", name), join(folder, "node_modules", name));
    }
  });

  it("has the licences of all that is bundled in it, and no compiled code", () => {
    expect(existsSync(at("dist/cli.cjs.cache"))).toBe(false);
    const licences = readFileSync(at("dist/THIRD-PARTY-LICENSES"), "utf8");
    for (const name of ["chalk", "cli-table3", "commander", "slice-ansi", "valibot"]) {
      expect(licences).toMatch(new RegExp(`^${name} \\d[\\d.]* \\(MIT\\)$`, "m"));
    }
    expect(licences.match(/Permission is hereby granted/g)?.length).toBeGreaterThan(10);
  });

  it("needs nothing but what it depends on, in every format", () => {
    writeFileSync(join(folder, "s.kvmirq"), "pulse 4\nexpect pic1.imr=0x00\n");
    const script = (...args: string[]) => run("run", "s.kvmirq", "--backend", "model", ...args);
    expect(script().stderr).toBe("");
    expect(script("--format", "junit").stdout).toContain("<testsuite");
    const header = {
      started_at: "",
      kernel: "6.1",
      clock: "mono",
      clock_origin: "0",
      events: [],
      missing: [],
    };
    const event = {
      time: 1,
      cpu: 0,
      pid: 7,
      comm: "x",
      process: 7,
      event: "kvm_set_irq",
      args: { gsi: 4, level: 1 },
    };
    writeFileSync(join(folder, "t.ndjson"), headerLine(header) + eventLine(event));
    expect(run("trace", "--from", "t.ndjson", "--format", "svg").stdout).toContain("<svg");
    const library =
      'import("kvm-irq").then(({ checkSnapshot }) => console.log("issues" in checkSnapshot({})))';
    expect(execFileSync(process.execPath, ["-e", library], { cwd: folder, encoding: "utf8" })).toBe("true\n");
  });

  it("has its code cache from the first run on, and builds nothing from sources that it lacks", () => {
    rmSync(at("dist/cli.cjs.cache"), { force: true });
    expect(run("--help").status).toBe(0);
    expect(readdirSync(at("dist")).filter((name) => name.includes(".cache"))).toEqual(["cli.cjs.cache"]);
    expect(run("--help").status).toBe(0);
    execFileSync("npm", ["run", "prepare"], { cwd: installed, env });
  });

  it("says in one line what of it can't be loaded", () => {
    rmSync(at("dist/cli.cjs"));
    const { status, stderr } = run("list");
    expect(stderr).toMatch(/^kvm-irq: the program can't be loaded: Cannot find module .*cli\.cjs'\n$/);
    expect(status).toBe(5);
  });
});

describe("a code cache", () => {
  const LOAD = resolve("bin/load.js");

  it("of another source, were it as long, is not used", () => {
    const file = join(folder, "bundle.cjs");
    const say = (word: string) => writeFileSync(file, `module.exports = { say: () => "${word}" };`);
    say("one");
    const heard = () =>
      execFileSync(
        process.execPath,
        ["-e", `console.log(require(${JSON.stringify(LOAD)}).load("${file}").say())`],
        {
          encoding: "utf8",
        },
      );
    expect(heard()).toBe("one\n");
    expect(readFileSync(`${file}.cache`).length).toBeGreaterThan(readFileSync(file).length);
    expect(heard()).toBe("one\n");
    say("two");
    expect(heard()).toBe("two\n");
    expect(readFileSync(`${file}.cache`, "utf8")).toContain('"two"');
  });
});

describe("a Node that is too old", () => {
  it.each(["8.17.0", "14.21.3", "18.20.8", "19.9.0"])(
    "%s is told what is needed, and nothing is loaded",
    (version) => {
      const old = join(folder, "old.cjs");
      const value = JSON.stringify({ ...process.versions, node: version });
      writeFileSync(
        old,
        `Object.defineProperty(process, "versions", { value: ${value} });
       Object.defineProperty(process, "version", { value: "v${version}" });`,
      );
      for (const args of [["diff", "a", "b"], ["--version"], []]) {
        const { status, stdout, stderr } = spawnSync(process.execPath, ["-r", old, PROGRAM, ...args], {
          encoding: "utf8",
        });
        expect({ status, stdout, stderr }).toEqual({
          status: 3,
          stdout: "",
          stderr: `kvm-irq: Node 20 or newer is needed; this is v${version}\n`,
        });
      }
    },
  );

  it("can read the file that tells it so", async () => {
    const shim = readFileSync(PROGRAM, "utf8");
    const [forOld, forNew] = await Promise.all(
      ["node8", "esnext"].map((target) =>
        transform(shim, { target, supported: { "template-literal": true } }),
      ),
    );
    expect(forOld!.code).toBe(forNew!.code);
  });
});
