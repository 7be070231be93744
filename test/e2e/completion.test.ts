import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM, User } from "../support/cli.ts";
import { has } from "../support/commands.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";

/** A folder with the program in a place of the PATH, a file to be named, and what the shells read first. */
const home = mkdtempSync(join(tmpdir(), "kvm-irq-completion-"));
const user = new User({ KVM_IRQ_BACKEND: "model", HOME: home, ZDOTDIR: home });
delete user.env["XDG_CONFIG_HOME"];
delete user.env["XDG_DATA_HOME"];
user.env["PATH"] = `${home}/bin:${user.env["PATH"]}`;

const SHELLS = {
  bash: {
    start: "bash --rcfile rc.bash -i",
    files: { "rc.bash": 'PS1="ready> "\nsource <(kvm-irq completion bash)\n' },
  },
  zsh: {
    start: "zsh -i",
    files: {
      ".zshrc": 'PS1="ready> "\nautoload -U compinit && compinit -u -D\nsource <(kvm-irq completion zsh)\n',
    },
  },
  fish: {
    start: "fish --no-config -C 'source rc.fish'",
    files: { "rc.fish": 'function fish_prompt\n  echo "ready> "\nend\nkvm-irq completion fish | source\n' },
  },
};

beforeAll(() => {
  mkdirSync(join(home, "bin"));
  writeFileSync(join(home, "bin/kvm-irq"), `#!/bin/sh\nexec ${process.execPath} ${PROGRAM} "$@"\n`);
  chmodSync(join(home, "bin/kvm-irq"), 0o755);
  writeFileSync(join(home, "lib prog"), "");
  for (const { files } of Object.values(SHELLS)) {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(home, name), text);
  }
  user.ok(["create", "ci1"]);
});
afterAll(() => {
  // Fish puts a file of its own into the runtime folder.
  expect(user.dispose().filter((name) => !name.startsWith("fish_"))).toEqual([]);
  rmSync(home, { recursive: true });
});

describe.each(Object.entries(SHELLS))("completion on the command line of %s", (shell, { start }) => {
  it.skipIf(!has(shell) || !haveTmux)(
    "knows commands, options in both forms, sessions and files",
    async () => {
      const terminal = new Terminal(120, 20);
      try {
        terminal.run(start, user.env, home);
        await terminal.shows(/^ready>/m);
        for (const [typed, completed] of [
          ["kvm-irq du", "kvm-irq dump"],
          ["kvm-irq -s ci1 du", "kvm-irq -s ci1 dump"],
          ["kvm-irq help du", "kvm-irq help dump"],
          ["kvm-irq --session=c", "kvm-irq --session=ci1"],
          ["kvm-irq create --preset i", "kvm-irq create --preset ioapic"],
          ["kvm-irq create --preset=i", "kvm-irq create --preset=ioapic"],
          ["kvm-irq explain --routing q", "kvm-irq explain --routing qemu"],
          ["kvm-irq diff ci", "kvm-irq diff ci1"],
          ["kvm-irq run lib", "kvm-irq run lib\\ prog"],
          ["kvm-irq dump -o lib", "kvm-irq dump -o lib\\ prog"],
        ] as const) {
          terminal.type(typed, "Tab");
          await terminal.shows(new RegExp(`${completed.replaceAll("\\", "\\\\")} *$`, "m"));
          terminal.type("C-u");
        }
      } finally {
        terminal.dispose();
      }
    },
  );
});
