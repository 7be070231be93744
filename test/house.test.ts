import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
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
      "src/trace/ndjson.ts",
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
    ["src/trace/tracefs.ts"],
  ],
  [
    "no text of others is run by a shell",
    /(?<![.\w])exec(?:Sync)?\(|\bshell: true|["'`]\/bin\/sh\b/,
    // The guard of a trace instance: a fixed script, the path its argument.
    ["src/trace/tracefs.ts"],
  ],
  ["code of text is never run", /\beval\(|new Function\(|vm\.run/, []],
];

const root = fileURLToPath(new URL("..", import.meta.url));
const sources = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "src"], {
  cwd: root,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file.endsWith(".ts"))
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
