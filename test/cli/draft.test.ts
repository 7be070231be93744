import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Draft } from "../../src/cli/draft.ts";

let folder: string;
const path = (name: string) => join(folder, name);
const files = () => readdirSync(folder).sort();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kvm-irq-draft-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(text: string): void {
  const draft = new Draft(path("out"));
  draft.write(text);
  draft.commit();
}

describe("a file that is written whole or not at all", () => {
  it("is written beside its place under a name that nobody can foresee", () => {
    const names = [1, 2].map(() => {
      const draft = new Draft(path("out"));
      const [name] = files();
      draft.discard();
      return name;
    });
    expect(names[0]).toMatch(/^\.kvm-irq-[0-9a-f]{16}\.tmp$/);
    expect(new Set(names).size).toBe(2);
    expect(files()).toEqual([]);
  });

  it("follows no link that was planted for it", () => {
    writeFileSync(path("victim"), "precious");
    symlinkSync(path("victim"), path(`out.${process.pid}.tmp`));
    write("new");
    expect(readFileSync(path("victim"), "utf8")).toBe("precious");
    expect(readFileSync(path("out"), "utf8")).toBe("new");
  });

  it("has the mode of a new file, or of the one that it replaces", () => {
    write("new");
    expect(statSync(path("out")).mode & 0o777).toBe(0o666 & ~process.umask());
    for (const mode of [0o600, 0o666]) {
      chmodSync(path("out"), mode);
      write("newer");
      expect(statSync(path("out")).mode & 0o777).toBe(mode);
    }
    expect(files()).toEqual(["out"]);
  });

  it("leaves nothing when it can't take its place", () => {
    const draft = new Draft(path("out"));
    draft.write("text");
    rmSync(path(files()[0]!));
    expect(() => draft.commit()).toThrow(expect.objectContaining({ code: "output-failed" }));
    expect(files()).toEqual([]);
  });
});
