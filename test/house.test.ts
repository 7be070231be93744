import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/**
 * The rules of CONTRIBUTING.md that a look at the source can hold up: what is dangerous anywhere is done in a
 * few places that are made for it. A new place needs a line here, and a reason.
 */
const RULES: readonly [rule: string, pattern: RegExp, places: readonly string[]][] = [
  [
    "text reaches a terminal through the output layer",
    /\bprocess\.(?:stdout|stderr)\.write\(|\bconsole\.\w+\(/,
    [
      "src/cli.ts",
      "src/cli/admit.ts",
      "src/cli/process-context.ts",
      "src/cli/screen.ts",
      "src/cli/standard-output.ts",
      "src/holder-main.ts",
    ],
  ],
  [
    "JSON is parsed where its size and depth are limited before",
    /\bJSON\.parse\(/,
    [
      "src/sources/session/holder.ts",
      "src/sources/session/start.ts",
      "src/sources/session/wire.ts",
      "src/operations/edit.ts",
      "src/sources/file/parse-snapshot.ts",
      "src/exports/line-scanner.ts",
      "src/exports/ndjson.ts",
    ],
  ],
  [
    "a process is ended through a pidfd, or by its parent; never by a number that was read somewhere",
    /\bprocess\.kill\((?!process\.pid\b)(?!pid, 0\))/,
    [],
  ],
  [
    "a file of the user's is written through a draft, which is whole or not there at all",
    /\b(?:writeFileSync|createWriteStream|appendFileSync)\(/,
    ["src/tracefs/tracefs.ts"],
  ],
  [
    "no text of others is run by a shell",
    /(?<![.\w])exec(?:Sync)?\(|\bshell: true|["'`]\/bin\/sh\b/,
    // The guard of a trace instance: a fixed script, the path its argument.
    ["src/tracefs/tracefs.ts"],
  ],
  ["code of text is never run", /\beval\(|new Function\(|vm\.run/, []],
];

const root = fileURLToPath(new URL("..", import.meta.url));
const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" })
  .split("\n")
  .filter((file) => existsSync(`${root}/${file}`));
const sources = files
  .filter((file) => /^src\/.*\.ts$/.test(file))
  .map((file) => ({ file, text: withoutComments(readFileSync(`${root}/${file}`, "utf8")) }));

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

describe("a rule of the house", () => {
  it.each(RULES)("%s", (_, pattern, places) => {
    const found = sources.filter(({ text }) => pattern.test(text)).map(({ file }) => file);
    expect(found.filter((file) => !places.includes(file))).toEqual([]);
    // A place that no longer does it needs no leave to.
    expect(places.filter((file) => !found.includes(file))).toEqual([]);
  });
});

/** What is tried as a whole, or by attacking it, and what tests share. */
const APART = ["test/e2e", "test/attacks", "test/support", "test/fixtures"];

describe("the house is as its documents say", () => {
  it("test/ mirrors src/: the tests of a folder are in its twin", () => {
    const folders = files.filter((file) => /^test\/.*\.test\.ts$/.test(file)).map((file) => dirname(file));
    expect(folders).toContain("test/cli");
    const without = folders.filter(
      (folder) => !APART.includes(folder) && !existsSync(`${root}/${folder.replace(/^test/, "src")}`),
    );
    expect(without).toEqual([]);
  });

  it.each(["CONTRIBUTING.md", "ARCHITECTURE.md"])("%s has each folder of src/ on its map", (document) => {
    const text = readFileSync(`${root}/${document}`, "utf8");
    const folders = new Set(sources.flatMap(({ file }) => /^src\/(\w+\/)/.exec(file)?.[1] ?? []));
    expect([...folders].filter((folder) => !text.includes(`\`${folder}`))).toEqual([]);
  });

  it.each(["CONTRIBUTING.md", "ARCHITECTURE.md", "README.md"])(
    "%s calls scripts of npm that there are",
    (document) => {
      const { scripts } = JSON.parse(readFileSync(`${root}/package.json`, "utf8"));
      const called = [...readFileSync(`${root}/${document}`, "utf8").matchAll(/npm run ([\w:-]+)/g)];
      expect(called.map(([, script]) => script).filter((script) => !(script! in scripts))).toEqual([]);
    },
  );

  it.each(["CONTRIBUTING.md", "ARCHITECTURE.md"])(
    "%s names no file or folder that is not there",
    (document) => {
      const text = readFileSync(`${root}/${document}`, "utf8");
      const named = [...new Set([...text.matchAll(PATH)].map(([path]) => path))];
      expect(named.length).toBeGreaterThan(10);
      const isThere = (path: string) =>
        PLACES.some((place) => existsSync(`${root}/${place}${path}`)) ||
        // The name of a file whose folder was said before.
        (!path.includes("/") && files.some((file) => file.endsWith(`/${path}`)));
      expect(named.filter((path) => !isThere(path))).toEqual([]);
    },
  );
});

describe("the mutants of the model", () => {
  const mutants: { name: string; file: string; find: string }[] = JSON.parse(
    readFileSync(`${root}/scripts/mutants.json`, "utf8"),
  );

  it.each(mutants)("$name: the place that it changes is there, once", ({ file, find }) => {
    expect(readFileSync(`${root}/src/arch/x86/${file}`, "utf8").split(find)).toHaveLength(2);
  });

  it("are as many as docs/model.md says", () => {
    expect(readFileSync(`${root}/docs/model.md`, "utf8")).toContain(`${mutants.length} ways`);
  });
});

/** A path that is written out: a file with its suffix, or a folder with its slash; nothing that starts at `/`. */
const PATH = /(?<![\w./<>@-])(?:[\w.-]+\/)*(?:[\w.-]+\/(?![\w<*{])|[\w-]+(?:\.\w+)*\.(?:ts|js|cjs|md|S)\b)/g;
/** What documents take such a path from. */
const PLACES = ["", "src/"];

/** Turns of phrase that a native engineer would not write, each with what to write instead. */
const FOREIGN: readonly [pattern: RegExp, instead: string][] = [
  [/\bgo(?:es)? nowhere\b/, "is not routed"],
  [/\bhas no place in\b/, "is not allowed in"],
  [/\bif that is meant\b/, "to confirm"],
  [/\b(?:has|have) not\b(?! (?:\w+ )?\w*(?:ed|en|t|run)\b)/, "has no"],
  [/\bmeanwhile\b/, "in that time, has exited"],
  [/\banew\b/, "again"],
  [/\bruns no more\b/, "has stopped"],
  [/\bof late\b/, "recently"],
  [/\bso long\b/, "this long, for this time"],
  [/\ba line an? (?:change|field|pin|interrupt)\b/, "one line per"],
  [/\bnone of KVM's\b|\bis no whole number\b/, "unknown, is not a whole number"],
];

describe("what users read", () => {
  const texts = files
    .filter((file) => /^(?:README|CHANGELOG|docs\/.*)\.md$/.test(file))
    .map((file) => ({ file, text: readFileSync(`${root}/${file}`, "utf8") }));

  it.each(FOREIGN)("has no %s, but: %s", (pattern) => {
    const found = [...sources, ...texts].flatMap(({ file, text }) =>
      text
        .replace(/\s+\/\/ .*$/gm, "")
        .split("\n")
        .filter((line) => pattern.test(line))
        .map((line) => `${file}: ${line.trim()}`),
    );
    expect(found).toEqual([]);
  });
});
