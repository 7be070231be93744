import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PROGRAM, User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";

/** As wide as the page's lines. */
const COLUMNS = 96;

const page = readFileSync(new URL("../../docs/case-studies.md", import.meta.url), "utf8");
const blocks = [...page.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block!);

/** What a block shows, as a pattern: `…` stands for any lines, and a process's number is another each time. */
function patternOf(block: string): RegExp {
  const quoted = block.trimEnd().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(
    `^${quoted.replace(/holder pid \d+/g, "holder pid \\d+").replace(/^…\n/gm, "[\\s\\S]*\\n")}\\nend$`,
    "m",
  );
}

describe.skipIf(!haveKvm || !haveTmux)("docs/case-studies.md (needs /dev/kvm and tmux)", () => {
  const user = new User({ KVM_IRQ_BACKEND: "kvm", NO_COLOR: "1" });
  afterAll(() => expect(user.dispose()).toEqual([]));

  it("has a block for each report, and one more for its findings", () => {
    expect(blocks).toHaveLength(4);
  });

  it.each(blocks)("shows in block %#, after those before it, what the program says", async (block) => {
    const calls = block.split("\n").filter((line) => line.startsWith("$ "));
    const script = join(user.folder, "block.sh");
    const steps = calls.map((call) => `echo ${quote(call)}\n${call.slice(2)}\n`);
    writeFileSync(
      script,
      `kvm-irq() { "${process.execPath}" "${PROGRAM}" "$@"; }\n${steps.join("")}echo end\n`,
    );
    const terminal = new Terminal(COLUMNS, 120);
    try {
      terminal.run(`bash ${script}`, user.env, user.folder);
      await terminal.shows(/^end$/m);
      expect(terminal.screen()).toMatch(patternOf(block));
    } finally {
      terminal.dispose();
      rmSync(script);
    }
  });

  it("leaves no session to who has followed it to its end", () => {
    expect(user.json(["list"]).sessions).toEqual([]);
  });
});

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
