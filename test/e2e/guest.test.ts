import { afterAll, describe, expect, it } from "vitest";
import { isAlive } from "../../src/os/alive.ts";
import { descriptorsOf, User, until } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";

const user = new User();
afterAll(() => expect(user.dispose()).toEqual([]));

const guest = (session: string) => user.json(["-s", session, "dump"]).guest;
const handled = (session: string, vector: number): number =>
  guest(session).handled.find((entry: { vector: number }) => entry.vector === vector)?.count ?? 0;

describe.skipIf(!haveKvm)("a guest that runs (skipped without /dev/kvm)", () => {
  it.each([
    { program: "pic", gsi: 4, vector: 0x24 },
    { program: "pic", gsi: 9, vector: 0x29 },
    { program: "ioapic", gsi: 4, vector: 0x34 },
    { program: "ioapic", gsi: 20, vector: 0x44 },
  ])(
    "with the program $program handles GSI $gsi as vector $vector, and ends it",
    ({ program, gsi, vector }) => {
      user.ok(["create", "g", "--guest", program, "--replace"]);
      const pulsed = user.json(["-s", "g", "pulse", String(gsi), "--require", "handled"]);
      expect(pulsed.results).toMatchObject([{ gsi, count: 1, delivered: 1, handled: 1, level: 0 }]);
      const snapshot = user.json(["-s", "g", "dump"]);
      expect(snapshot.guest).toMatchObject({ program, running: true, handled: [{ vector }] });
      expect(user.ok(["list"])).toContain(`  guest ${program}  `);
      // While its line is up, a level interrupt comes again after each EOI.
      if (gsi < 16) expect(snapshot.guest.handled[0].count).toBe(1);
      const { pic1, pic2, ioapic, lapic } = snapshot.chips;
      expect([pic1.isr, pic2.isr, lapic[0].isr, lapic[0].irr]).toEqual([0, 0, [], []]);
      expect(ioapic.redirtbl[gsi].remote_irr).toBe(false);
      expect(user.ok(["-s", "g", "dump"])).toMatch(/Guest +program \w+ +state running\n/);
    },
  );

  it("handles 1000 pulses of 1000, none lost, while others look at it", { timeout: 60_000 }, async () => {
    user.ok(["create", "g", "--guest", "ioapic", "--replace"]);
    const looking = user.runAsync(["-s", "g", "dump", "--json"]);
    const { results } = user.json(["-s", "g", "pulse", "4", "--count", "1000", "--require", "handled"]);
    expect(results).toMatchObject([{ count: 1000, delivered: 1000, handled: 1000 }]);
    expect((await looking).status).toBe(0);
    expect(handled("g", 0x34)).toBe(1000);
  });

  it("runs on vCPU 0, and nobody runs the others: the snapshot and what is made of it again say so", () => {
    user.ok(["create", "g", "--guest", "ioapic", "--vcpus", "2", "--replace"]);
    const input = user.ok(["-s", "g", "dump", "--json"]);
    const runs = (text: string) => JSON.parse(text).vcpus.map(({ run }: { run: boolean }) => run);
    expect(runs(input)).toEqual([true, false]);
    expect(runs(user.ok(["--snapshot", "-", "dump", "--json"], { input }))).toEqual([true, false]);
    user.ok(["create", "idle", "--replace"]);
    expect(runs(user.ok(["-s", "idle", "dump", "--json"]))).toEqual([false]);
  });

  it("handles an MSI too", async () => {
    user.ok(["create", "g", "--guest", "ioapic", "--replace"]);
    user.ok(["-s", "g", "msi", "--vector", "0x71"]);
    await until("the handler ran", () => handled("g", 0x71) === 1);
  });

  it("gets no interrupt from a masked pin, and --require handled says so after its timeout", () => {
    user.ok(["create", "g", "--guest", "ioapic", "--replace"]);
    user.ok(["-s", "g", "set", "ioapic.redirtbl[4].mask=true"]);
    const argv = ["-s", "g", "pulse", "4", "--require", "handled", "--timeout", "50ms"];
    const { status, stdout, stderr } = user.run(argv);
    expect({ status, stderr }).toEqual({ status: 1, stderr: "GSI 4: 0 of 1 pulse handled\n" });
    expect(stdout).toMatch(/IGNORED +HANDLED +LEVEL\n +4 +1 +0 +0 +1 +0 +low/);
  });

  it("handles a level interrupt again and again until its line drops", async () => {
    user.ok(["create", "g", "--guest", "ioapic", "--replace"]);
    user.ok(["-s", "g", "hold", "20"]);
    await until("it came twice", () => handled("g", 0x44) > 1);
    user.ok(["-s", "g", "release", "20"]);
    const before = handled("g", 0x44);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(handled("g", 0x44)).toBe(before);
  });

  it("leaves a level pin stuck when an edge took its EOI away, as explain says before", async () => {
    user.ok(["create", "g", "--guest", "ioapic", "--replace"]);
    user.ok(["-s", "g", "set", "lapic[0].tpr=0xff"]);
    user.ok(["-s", "g", "pulse", "20"]);
    const explained = () => {
      const { gsis, findings } = JSON.parse(user.run(["-s", "g", "explain", "--json"]).stdout);
      return [gsis[20].verdict, ...findings.map(({ code }: { code: string }) => code)];
    };
    expect(explained()).toEqual(["held"]);
    user.ok(["-s", "g", "msi", "--vector", "0x44"]);
    const stuck = ["blocked", "remote-irr-stuck"];
    expect(explained()).toEqual(stuck);
    user.ok(["-s", "g", "set", "lapic[0].tpr=0"]);
    await until("the handler ran", () => handled("g", 0x44) === 1);
    expect(explained()).toEqual(stuck);
  });

  it("that is reset by an INIT does not take the holder with it", () => {
    user.ok(["create", "g", "--guest", "ioapic", "--replace"]);
    user.ok(["-s", "g", "msi", "--vector", "0", "--mode", "init"]);
    expect(user.json(["-s", "g", "dump"]).chips.lapic).toHaveLength(1);
  });

  it("ends with its session, and leaves no process", () => {
    const { pid } = user.json(["create", "g", "--guest", "ioapic", "--replace"]);
    expect(descriptorsOf(pid).some((target) => target.includes("kvm-vcpu"))).toBe(true);
    user.ok(["destroy", "g"]);
    expect(isAlive(pid)).toBe(false);
  });

  it("is what --require handled needs", () => {
    user.ok(["create", "none", "--replace"]);
    const { status, stderr } = user.run(["-s", "none", "pulse", "4", "--require", "handled"]);
    expect(status).toBe(2);
    expect(stderr).toContain(
      "has no guest that counts what it handles\nhint: `kvm-irq create --guest ioapic`",
    );
    user.ok(["destroy", "none"]);
  });
});

describe("create --guest", () => {
  it.each([
    [["--guest", "linux"]],
    [["--guest", "pic", "--preset", "ioapic"]],
    [["--guest", "pic", "--vcpus", "0"]],
    [["--guest", "pic", "--backend", "model"]],
  ])("%j is refused with status 2 and makes nothing", (args) => {
    const { status, stderr } = user.run(["create", "refused", ...args]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/\nhint: /);
    expect(user.json(["list"]).sessions.map(({ name }: { name: string }) => name)).not.toContain("refused");
  });
});
