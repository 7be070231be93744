import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BusyVmm, haveBusyVmm } from "../support/attach.ts";
import { PROGRAM, User } from "../support/cli.ts";

const MASKED = "ioapic.redirtbl[4].mask";

describe("a remedy, pasted into a shell,", () => {
  const user = new User();
  beforeAll(() => {
    mkdirSync(`${user.folder}/bin`);
    writeFileSync(`${user.folder}/bin/kvm-irq`, `#!/bin/sh\nexec "${process.execPath}" "${PROGRAM}" "$@"\n`, {
      mode: 0o755,
    });
    for (const name of ["default", "ci"]) user.ok(["create", name, "--preset", "ioapic"]);
  });
  afterAll(() => {
    user.dispose();
  });

  const set = (target: readonly string[], condition: string) => user.ok([...target, "set", condition]);
  const holds = (target: readonly string[], condition: string) =>
    user.run([...target, "expect", condition]).status === 0;

  /** The commands between backticks in what explain advises. */
  const commands = (args: readonly string[], env: Record<string, string> = {}): string[] => {
    const { ways = [], findings = [] } = JSON.parse(user.run(["explain", "--json", ...args], { env }).stdout);
    const remedies = [...ways.flatMap(({ stages }: { stages: object[] }) => stages), ...findings];
    return remedies.flatMap(({ remedy = "" }: { remedy?: string }) =>
      [...remedy.matchAll(/`(.*?)`/g)].map(([, command]) => command!),
    );
  };
  const paste = (command: string) => {
    const env = { ...user.env, PATH: `${user.folder}/bin:${process.env["PATH"]}` };
    const { status, stderr } = spawnSync("sh", ["-c", command], { env, encoding: "utf8" });
    expect({ command, status, stderr }).toEqual({ command, status: 0, stderr: "" });
  };

  it.each([
    ["-s ci", ["-s", "ci"], {}],
    ["KVM_IRQ_SESSION=ci", [], { KVM_IRQ_SESSION: "ci" }],
  ])("changes the session that %s names, and no other", (_, args, env) => {
    for (const name of ["default", "ci"]) set(["-s", name], `${MASKED}=true`);
    const [command] = commands(["4", ...args], env);
    paste(command!);
    expect(holds(["-s", "ci"], `${MASKED}=false`)).toBe(true);
    expect(holds(["-s", "default"], `${MASKED}=true`)).toBe(true);
  });

  it("of each kind acts on the session that it was found in", () => {
    const target = ["-s", "ci"];
    const kinds: [string, string[], string][] = [
      ["lapic[0].svr=0xff", ["4"], "lapic[0].svr=0x1ff"],
      ["lapic[0].lvt_lint0=0x10000", ["4"], "lapic[0].lvt_lint0=0x700"],
      ["ioapic.redirtbl[20].remote_irr=true", ["20"], "ioapic.redirtbl[20].remote_irr=false"],
      ["ioapic.redirtbl[20].remote_irr=true", [], "ioapic.redirtbl[20].remote_irr=false"],
    ];
    for (const [wrong, args, right] of kinds) {
      set(target, wrong);
      for (const command of commands([...args, ...target])) paste(command);
      expect([wrong, holds(target, right)]).toEqual([wrong, true]);
    }
    user.ok([...target, "hold", "5"]);
    const [release] = commands(["5", ...target]);
    expect(release).toBe("kvm-irq -s ci release 5");
    paste(release!);
    user.ok(["-s", "default", "hold", "5"]);
    expect(holds(["-s", "default"], "pic1.last_irr=0x20")).toBe(true);
    expect(holds(target, "pic1.last_irr=0")).toBe(true);
    user.ok(["-s", "default", "release", "5"]);
  });

  it("of a hint acts on the session that the error is about", () => {
    const hints = [
      ["irqfd", "kick", "4"],
      ["pulse", "99"],
      ["route", "set"],
    ].map((args) => user.run(["-s", "ci", ...args]).stderr);
    expect(hints.map((text) => [...text.matchAll(/`(kvm-irq .*?)`/g)].map(([, command]) => command))).toEqual(
      [
        ["kvm-irq -s ci irqfd bind 4", "kvm-irq -s ci irqfd list"],
        ["kvm-irq -s ci route set"],
        ["kvm-irq -s ci route set default 30=msi:0xfee00000/0x41", "kvm-irq -s ci route reset"],
      ],
    );
  });

  it("is a line of the script where a script has a VM of its own", () => {
    const script = (args: string[]) =>
      user.run(["--json", ...args, "run", "-"], { input: `set ${MASKED}=true pic1.imr=0xff\nexplain 4\n` })
        .stdout;
    expect(script([])).toContain("or `set 'ioapic.redirtbl[4].mask=false'`");
    expect(script(["-s", "ci"])).toContain("or `kvm-irq -s ci set 'ioapic.redirtbl[4].mask=false'`");
  });

  it("says of a file that it can't be changed", () => {
    set(["-s", "ci"], `${MASKED}=true`);
    user.ok(["-s", "ci", "dump", "--json", "-o", `${user.folder}/a b.json`]);
    expect(user.run(["explain", "4", "--json", "--snapshot", `${user.folder}/a b.json`]).stdout).toContain(
      "or `set 'ioapic.redirtbl[4].mask=false'` on the VM itself (a snapshot can't be changed)",
    );
  });

  it.skipIf(!haveBusyVmm)(
    "changes the VM of the process that --pid names (skipped unless a VMM can be built and attached to)",
    async () => {
      const vmm = await BusyVmm.start("calm");
      try {
        const target = ["--pid", `${vmm.pid}`];
        set(["-s", "default"], `${MASKED}=true`);
        set([...target, "--yes"], `${MASKED}=true`);
        const [command] = commands(["4", ...target]);
        expect(command).toBe(`kvm-irq --pid ${vmm.pid} --yes set 'ioapic.redirtbl[4].mask=false'`);
        paste(command!);
        expect(holds(target, `${MASKED}=false`)).toBe(true);
        expect(holds(["-s", "default"], `${MASKED}=true`)).toBe(true);
      } finally {
        await vmm.end();
      }
    },
  );
});
