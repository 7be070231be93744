import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, isConnected, PROGRAM, User, until } from "../support/cli.ts";
import { noKernelMemory } from "../support/kernel-memory.ts";
import { haveKvm } from "../support/kvm.ts";

const BACKENDS = [
  { backend: "kvm", skip: !haveKvm },
  { backend: "model", skip: false },
];

describe.each(BACKENDS)("explain on a session of $backend", ({ backend, skip }) => {
  describe.skipIf(skip)("(skipped without /dev/kvm)", () => {
    const user = new User({ KVM_IRQ_BACKEND: backend, NO_COLOR: "1" });
    beforeAll(() => {
      user.ok(["create", "--preset", "ioapic"]);
      user.ok(["create", "fresh"]);
    });
    afterAll(() => expect(user.dispose()).toEqual([]));
    const explain = (...args: string[]) => {
      const { status, stdout, stderr } = user.run(["explain", ...args]);
      expect(stderr).toBe("");
      return { status, stdout, sentence: stdout.trimEnd().split("\n").at(-1) };
    };

    it("ends in one sentence, with status 0 for what only waits, and 1 when strict", () => {
      const expected = "GSI 7 would reach vCPU 0 as vector 0x37 through the IOAPIC once a guest runs";
      expect(explain("7")).toMatchObject({ status: 0, sentence: expected });
      expect(explain("7", "--strict")).toMatchObject({ status: 1, sentence: expected });
    });

    it("agrees with what a pulse then does, before and behind a mask", () => {
      for (const [mask, status] of [
        ["false", 0],
        ["true", 1],
      ] as const) {
        user.ok(["set", `ioapic.redirtbl[9].mask=${mask}`]);
        expect(explain("9").status).toBe(status);
        const { results } = user.json(["pulse", "9"]);
        expect(results[0].delivered).toBe(1 - status);
      }
    });

    it("says of a VM without vCPUs, and of a snapshot of it, that there is nobody to interrupt", () => {
      user.ok(["create", "nobody", "--vcpus", "0", "--preset", "pic"]);
      const codes = (...args: string[]) => {
        const { ways, assumptions } = JSON.parse(user.run(["explain", "4", "--json", ...args]).stdout);
        const stages = ways.flatMap(({ stages }: { stages: { code: string }[] }) => stages);
        return { assumptions, codes: stages.map(({ code }: { code: string }) => code) };
      };
      const living = codes("-s", "nobody");
      expect(living).toEqual({ assumptions: [], codes: expect.arrayContaining(["lint0-nobody"]) });
      const file = `${user.folder}/nobody.json`;
      user.ok(["-s", "nobody", "dump", "--json", "-o", file]);
      expect(codes("--snapshot", file)).toEqual(living);
      rmSync(file);
    });

    it("says of a snapshot of some chips that it does not know the others", () => {
      const input = user.ok(["dump", "--json", "--chip", "pic"]);
      const { stdout } = user.run(["explain", "4", "--json", "--snapshot", "-"], { input });
      expect(stdout).toContain('"lint0-unknown"');
    });

    it("marks the stage that stops each way, and gives its register, bit and remedy", () => {
      user.ok(["set", "ioapic.redirtbl[4].mask=true"]);
      const { status, stdout, sentence } = explain("4");
      expect(status).toBe(1);
      expect(stdout.match(/^=> .*/gm)).toEqual([
        expect.stringMatching(
          /^=> +ioapic +blocked +IOAPIC pin 4 is masked .* +ioapic\.redirtbl\[4\]\.mask = true .* +unmask it .*'ioapic\.redirtbl\[4\]\.mask=false'`$/,
        ),
        expect.stringMatching(
          /^=> +pic +blocked +IMR bit 4 +pic1\.imr = 0xff \(bit 4 set\) +clear pic1\.imr bit 4/,
        ),
      ]);
      expect(sentence).toBe(
        "GSI 4 is blocked: IOAPIC pin 4 is masked (redirtbl[4] bit 16); the PIC way is blocked too: IMR bit 4",
      );
    });

    it("with --json gives every stage, with its code", () => {
      const { status, stdout } = explain("4", "--json");
      expect(status).toBe(1);
      const { gsi, verdict, sentence, ways, assumptions } = JSON.parse(stdout);
      expect({ gsi, verdict, assumptions }).toEqual({ gsi: 4, verdict: "blocked", assumptions: [] });
      expect(sentence).toMatch(/^GSI 4 is blocked: /);
      const codes = ways.map((way: { stages: { code: string }[] }) => way.stages.map(({ code }) => code));
      expect(codes).toEqual([
        ["line-low", "routed", "pic-masked", "lint0-open", "vcpu-no-guest"],
        ["line-low", "routed", "ioapic-masked", "lapic-open", "vcpu-no-guest"],
      ]);
    });

    it("of a GSI that is routed nowhere says so, with status 1", () => {
      expect(explain("30")).toMatchObject({
        status: 1,
        sentence: "GSI 30 is blocked: the default routing takes it to no chip",
      });
      expect(JSON.parse(explain("30", "--json").stdout)).toMatchObject({ verdict: "blocked", ways: [] });
    });

    it("goes by the session's own routing, and by another when told", () => {
      user.ok(["create", "routed", "--preset", "ioapic"]);
      user.ok(["-s", "routed", "route", "set", "30=ioapic:5", "31=msi:0xfee00000/0x61"]);
      expect(explain("-s", "routed", "30").sentence).toMatch(/^GSI 30 would reach vCPU 0 as vector 0x35/);
      expect(explain("-s", "routed", "31").sentence).toMatch(/as vector 0x61 through an MSI/);
      expect(explain("-s", "routed", "4").sentence).toMatch(/the VM's own routing takes it to no chip$/);
      expect(explain("-s", "routed", "0", "--routing", "qemu").stdout).toContain(
        "GSI 0 goes to IOAPIC pin 2",
      );
      user.ok(["destroy", "routed"]);
    });

    it("without a GSI has a row for each, and no findings for a VM that is in order", () => {
      const { status, stdout } = explain("-s", "fresh");
      expect(status).toBe(0);
      expect(stdout.match(/^ *\d+ +(open|held|blocked|unknown) /gm)).toHaveLength(24);
      expect(stdout).toMatch(/^ 16 +blocked +IOAPIC pin 16 is masked \(redirtbl\[16\] bit 16\)$/m);
      expect(stdout).toMatch(/\n\nno findings\n$/);
    });

    it("without a GSI ends with status 1 for an error, and tells its evidence, remedy and where to read on", () => {
      user.ok(["create", "stuck", "--preset", "ioapic"]);
      user.ok(["-s", "stuck", "pulse", "20"]);
      user.ok(["-s", "stuck", "set", "lapic[0].irr=[]"]);
      const { status, stdout } = explain("-s", "stuck");
      expect(status).toBe(1);
      expect(stdout).toMatch(
        /^error +remote-irr-stuck: .*\n +evidence: .*remote_irr = true.*\n +remedy: .*\n +see docs\/findings\.md#remote-irr-stuck\n$/m,
      );
      const { gsis, findings } = JSON.parse(explain("-s", "stuck", "--json").stdout);
      expect(gsis).toHaveLength(24);
      expect(gsis[20].verdict).toBe("blocked");
      expect(findings).toMatchObject([{ code: "remote-irr-stuck", severity: "error" }]);
      user.ok(["destroy", "stuck"]);
    });

    it("with --for sees what moved, and what stays in service", async () => {
      user.ok(["create", "busy", "--preset", "ioapic"]);
      user.ok(["-s", "busy", "set", "lapic[0].isr=0x51"]);
      const quiet = explain("-s", "busy", "21", "--for", "10ms");
      expect(quiet.stdout).toMatch(
        /^in 10 ms: GSI 21 was not seen to rise\n {2}\+ warning in-service-too-long: /m,
      );
      const child = user.start(["-s", "busy", "explain", "--for", "1500ms", "--json"]);
      await new Promise((resolve) => setTimeout(resolve, 700));
      user.ok(["-s", "busy", "pulse", "21"]);
      const { status, stdout } = await finished(child);
      expect(status).toBe(1);
      const { watched, findings } = JSON.parse(stdout);
      expect(watched).toMatchObject({ ms: 1500, risen: [21] });
      expect(watched.changes).toContainEqual({
        path: "ioapic.redirtbl[21].remote_irr",
        from: false,
        to: true,
      });
      expect(findings).toMatchObject([{ code: "in-service-too-long" }]);
      user.ok(["destroy", "busy"]);
    });

    it("says the same of a file as of the session that it was saved from", () => {
      const input = user.ok(["dump", "--json"]);
      for (const gsi of [[], ["4"], ["20"]]) {
        const live = user.run(["explain", ...gsi, "--json"]);
        const saved = user.run(["explain", ...gsi, "--snapshot", "-", "--json"], { input });
        // What they advise differs: a file can't be changed.
        const said = ({ status, stdout }: typeof live) => [
          status,
          JSON.parse(stdout, (key, value) => (key === "remedy" ? undefined : value)),
        ];
        expect(said(saved)).toEqual(said(live));
      }
    });

    it("has a place in scripts, where a block ends them", () => {
      const script = (input: string) => user.run(["run", "-", "--preset", "ioapic"], { input }).status;
      expect(script("pulse 20\nexplain 4\n")).toBe(0);
      expect(script("set ioapic.redirtbl[4].mask=true pic1.imr=0xff\nexplain 4\n")).toBe(1);
    });

    it("changes nothing", () => {
      const before = user.json(["dump"]).chips;
      explain();
      explain("4");
      expect(user.json(["dump"]).chips).toEqual(before);
    });
  });
});

describe("explain", () => {
  const user = new User();
  beforeAll(() => {
    user.ok(["create", "--preset", "ioapic"]);
  });
  afterAll(() => expect(user.dispose()).toEqual([]));

  it.each([
    [["4096"]],
    [["-1"]],
    [["4-6"]],
    [["four"]],
    [["4", "5"]],
    [["4", "--for", "1"]],
    [["4", "--routing", "xen"]],
    [["4", "--snapshot", "-", "--for", "1s"]],
  ])("refuses %j with status 2 and a hint", (args) => {
    const { status, stdout, stderr } = user.run(["explain", ...args]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^kvm-irq: .+\nhint: .+\n$/);
  });

  it("that is interrupted between its two readings ends with 130 and says nothing", async () => {
    const child = user.start(["explain", "4", "--for", "60s"]);
    const ended = finished(child);
    await until("it has reached the session", () => isConnected(child));
    child.kill("SIGINT");
    expect(await ended).toEqual({ status: 130, stdout: "", stderr: "" });
  });

  it.skipIf(!haveKvm || process.getuid?.() !== 0)(
    "says the same of a session's process, and that `-s` is the better way there (skipped without /dev/kvm)",
    () => {
      const [{ pid }] = user.json(["list"]).sessions;
      user.ok(["route", "set", "default", "24=msi:0xfee00000/0x51"]);
      const routed = user.run(["explain", "24", "--pid", String(pid), "--via", "ptrace"]);
      expect(routed.status).toBe(0);
      expect(routed.stdout).toMatch(/^GSI 24 can't be followed: where it goes is not known; /m);
      expect(user.run(["explain", "24", "--pid", String(pid), "--via", "ptrace", "--strict"]).status).toBe(1);
      expect(
        user.run(["explain", "24", "--pid", String(pid), "--via", "ptrace", "--routing", "default"]).status,
      ).toBe(1);
      user.ok(["route", "reset"]);
      const { status, stdout, stderr } = user.run(["explain", "4", "--pid", String(pid), "--via", "ptrace"]);
      expect(status).toBe(0);
      expect(stdout).toMatch(/GSI 4 would reach vCPU 0 as vector 0x34 through the IOAPIC/);
      expect(stderr).toMatch(
        /^pid \d+ .* is the holder of a session: `-s` reaches it without stopping it\n$/,
      );
    },
  );

  it.skipIf(!haveKvm || noKernelMemory !== undefined)(
    "knows where the GSIs of a session's process go by kernel memory (skipped where that can't be read)",
    () => {
      const [{ pid }] = user.json(["list"]).sessions;
      user.ok(["route", "set", "default", "24=msi:0xfee00000/0x51"]);
      const { status, stdout, stderr } = user.run(["explain", "24", "--pid", String(pid), "--via", "kernel"]);
      expect(stdout).toMatch(/^GSI 24 would reach vCPU 0 as vector 0x51 through an MSI /m);
      expect(stderr).toMatch(/^pid \d+ .* is the holder of a session: `-s` can change it, too\n$/);
      expect(status).toBe(0);
      user.ok(["route", "reset"]);
    },
  );

  it("has the last word of the demo's tour, which ends well all the same", () => {
    const { steps } = user.json(["demo"]);
    expect(steps.at(-1)).toMatchObject({ command: ["explain", "4"], result: { verdict: "blocked" } });
    expect(user.ok(["demo"])).toMatch(/^\$ kvm-irq explain 20\n[\s\S]*^GSI 20 is held: .*\(remote IRR\)/m);
  });

  it("is coloured when asked, and plain in a pipe", () => {
    const bold = "\u001b[1m";
    expect(user.run(["explain", "4"]).stdout).not.toContain("\u001b");
    expect(user.run(["explain", "4"], { env: { FORCE_COLOR: "1" } }).stdout).toContain(bold);
  });

  it("of a raw file says what it could not know", () => {
    const raw = spawnSync(process.execPath, [PROGRAM, "dump", "--format", "raw"], { env: user.env }).stdout;
    const { stdout } = user.run(["explain", "4", "--snapshot", "-"], { input: raw });
    expect(stdout).toMatch(/^assumed: KVM's default routing; /m);
    expect(stdout).toMatch(/^assumed: local APICs are on/m);
  });
});
