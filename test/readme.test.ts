import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { haveQemu } from "./support/attach.ts";
import { PROGRAM, User } from "./support/cli.ts";
import { has } from "./support/commands.ts";
import { haveKvm } from "./support/kvm.ts";
import { noTracing } from "./support/tracing.ts";

/**
 * Every ```console block of the README is run, in order, and its output compared. With UPDATE_README=1 the
 * README gets what came out instead; a line of "..." stands for lines that are left out.
 */
const README = readFileSync("README.md", "utf8");
const BLOCK = /^```(console|js)( [a-z ]+)?\n(.*?)^```$/gms;
const blocks = [...README.matchAll(BLOCK)].map(([, kind, needs, text]) => ({
  kind: kind!,
  needs: needs?.trim().split(" ") ?? [],
  text: text!,
}));

const isRoot = process.getuid?.() === 0;
const HAVE: Record<string, boolean> = {
  jq: has("jq"),
  qemu: haveQemu && isRoot,
  trace: noTracing === undefined,
};
const MARK = "\u0001";

const user = new User();
const home = join(user.folder, "home");
mkdirSync(join(home, "bin"), { recursive: true });
const shim = join(home, "bin/kvm-irq");
writeFileSync(shim, `#!/bin/sh\nexec ${process.execPath} ${PROGRAM} "$@"\n`);
chmodSync(shim, 0o755);
const env = {
  ...user.env,
  KVM_IRQ_BACKEND: "kvm",
  COLUMNS: "110",
  PATH: `${home}/bin:${process.env["PATH"]}`,
  HOME: home,
};

let updated = README;
afterAll(() => {
  user.dispose();
  if (process.env["UPDATE_README"]) writeFileSync("README.md", updated);
});

interface Step {
  command: string;
  output: string;
}

function stepsOf(text: string): Step[] {
  return text
    .split(/^(?=\$ )/m)
    .filter((part) => part.startsWith("$ "))
    .map((part) => {
      // A command is one line, or a here-document to its end.
      const [whole, command] = /^\$ ([^\n]*<<'(\w+)'\n.*?^\2|[^\n]*)\n/ms.exec(part)!;
      return { command: command!, output: part.slice(whole.length) };
    });
}

/** Runs the steps in one shell, and gives back what each printed. */
function outputsOf(steps: readonly Step[]): string[] {
  const script = steps
    .map(({ command }) => `{ ${command}\n} 2>&1; status=$?; printf '${MARK}'; (exit $status)`)
    .join("\n");
  const { stdout } = spawnSync("bash", ["-c", `${script}\ntrue`], { cwd: home, env, encoding: "utf8" });
  return stdout.split(MARK).slice(0, steps.length);
}

/** What differs from run to run, and from machine to machine. */
function normal(text: string): string {
  return text
    .replace(/\bpid[ =]\d+/g, "pid 1")
    .replace(/--pid \d+/g, "--pid 1")
    .replace(/\b(kernel) [\w.+~-]+/g, "$1 1")
    .replace(/time=[\d.]+ms/g, "time=1ms")
    .replace(/\d+(\.\d+)? (us|ms|ns|s)\b/g, "1 ms")
    .replace(/ +/g, " ")
    .trim();
}

describe("the README's commands give what it says", () => {
  for (const [index, { kind, needs, text }] of blocks.entries()) {
    if (kind === "js") continue;
    const steps = stepsOf(text);
    const name = `block ${index + 1}: ${steps[0]?.command.split("\n")[0]}${needs.length > 0 ? ` (needs ${needs.join(", ")})` : ""}`;
    it.skipIf(!haveKvm || !needs.every((need) => HAVE[need]))(
      name,
      () => {
        const outputs = outputsOf(steps);
        if (process.env["UPDATE_README"] && !text.includes("\n...\n")) {
          const fresh = steps.map(({ command }, at) => `$ ${command}\n${outputs[at]}`).join("");
          updated = updated.replace(`\n${text}\`\`\``, () => `\n${fresh.replace(/ +$/gm, "")}\`\`\``);
          return;
        }
        for (const [at, { command, output }] of steps.entries()) {
          const parts = normal(output)
            .split("...")
            .map((part) => part.trim());
          const actual = normal(outputs[at]!);
          if (parts.length === 1) expect(actual, command).toBe(parts[0]);
          else for (const part of parts) expect(actual, command).toContain(part);
        }
      },
      60_000,
    );
  }
});

describe.skipIf(!haveKvm)("the README's programs (need /dev/kvm)", () => {
  it.each(blocks.filter(({ kind }) => kind === "js"))(
    "run, and print what their comments say",
    ({ text }) => {
      mkdirSync(".cache", { recursive: true });
      writeFileSync(".cache/readme.mjs", text);
      const { stdout, stderr, status } = spawnSync(process.execPath, [".cache/readme.mjs"], {
        encoding: "utf8",
      });
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const wanted = [...text.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line!);
      expect(stdout.trim().split("\n")).toEqual(wanted);
    },
  );
});
