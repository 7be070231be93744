import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, isConnected, PROGRAM, User, until } from "../support/cli.ts";
import { haveTmux, Terminal } from "../support/terminal.ts";

const user = new User();
beforeAll(() => {
  user.ok(["create", "--preset", "ioapic"]);
});
afterAll(() => expect(user.dispose()).toEqual([]));

const result = (args: string[]) => user.json(args).results[0];
/** Whether a level-triggered pin's line is high: its IRR follows it. */
const high = (gsi: number) => ((user.json(["dump", "--chip", "ioapic"]).chips.ioapic.irr >>> gsi) & 1) === 1;

describe("pulse", () => {
  it("is delivered to an open pin, whose vector is then in the local APIC's IRR", () => {
    user.ok(["create", "ci", "--preset", "ioapic"]);
    expect(user.json(["-s", "ci", "pulse", "20"])).toEqual({
      results: [{ gsi: 20, count: 1, delivered: 1, coalesced: 0, ignored: 0, last_status: 1, level: 0 }],
    });
    const [lapic] = user.json(["-s", "ci", "dump", "--chip", "lapic"]).chips.lapic;
    expect(lapic.irr).toEqual([0x44]);
    user.ok(["destroy", "ci"]);
  });

  it("takes numbers and ranges, each GSI once", () => {
    const { results } = user.json(["pulse", "4", "10-12", "11"]);
    expect(results.map(({ gsi }: { gsi: number }) => gsi)).toEqual([4, 10, 11, 12]);
  });

  it("counts every rise of a train", () => {
    expect(result(["pulse", "5", "--count", "2500"])).toMatchObject({ count: 2500, delivered: 2500 });
  });

  it("is ignored by a level pin that waits for its EOI", () => {
    user.ok(["pulse", "21"]);
    expect(result(["pulse", "21", "--count", "3"])).toMatchObject({ count: 3, delivered: 0, ignored: 3 });
  });

  it("is coalesced on an edge pin whose line is held", () => {
    user.ok(["hold", "6"]);
    expect(result(["pulse", "6"])).toMatchObject({ coalesced: 1, delivered: 0 });
  });

  it("with --require ends in status 1 when a pulse went otherwise, and says how many", () => {
    expect(user.run(["pulse", "7", "--require", "delivered"]).status).toBe(0);
    user.ok(["set", "ioapic.redirtbl[7].mask=true"]);
    const { status, stderr, stdout } = user.run(["pulse", "7", "--require", "delivered", "--count", "2"]);
    expect(status).toBe(1);
    expect(stderr).toBe("GSI 7: 0 of 2 pulses delivered\n");
    expect(stdout).toMatch(/GSI +RISES +DELIVERED/);
    expect(user.run(["pulse", "7", "--require", "ignored"]).status).toBe(0);
  });

  it("keeps to its interval and width", async () => {
    const start = performance.now();
    expect(result(["pulse", "3", "--count", "5", "--interval", "100ms", "--width", "20ms"])).toMatchObject({
      count: 5,
      delivered: 5,
    });
    expect(performance.now() - start).toBeGreaterThan(400);
  });

  it("that is interrupted leaves every line low and says how far it came", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const child = user.start([
        "pulse",
        "20",
        "--count",
        "1000",
        "--interval",
        "30s",
        "--width",
        "20s",
        "--json",
      ]);
      await until("the line is high", () => high(20));
      child.kill(signal);
      const { status, stdout, stderr } = await finished(child);
      expect(status).toBe(130);
      expect(stderr).toContain("interrupted after 1 of 1000 pulses");
      expect(JSON.parse(stdout).results).toMatchObject([{ gsi: 20, count: 1 }]);
      expect(high(20)).toBe(false);
    }
  });
});

describe("the RTC's line", () => {
  it("is coalesced until every CPU that got it has ended the interrupt: KVM keeps count for GSI 8", () => {
    expect(result(["pulse", "8", "--count", "5"])).toMatchObject({ count: 5, delivered: 1, coalesced: 4 });
  });
});

describe("hold and release", () => {
  it("leave the line high, and low", () => {
    expect(result(["hold", "17"])).toMatchObject({ count: 1, delivered: 1, level: 1 });
    expect(high(17)).toBe(true);
    expect(result(["release", "17"])).toMatchObject({ count: 0, level: 0 });
    expect(high(17)).toBe(false);
  });

  it("hold that is interrupted too late says that the line is high", async () => {
    const { pid } = user.json(["list"]).sessions[0];
    process.kill(pid, "SIGSTOP");
    const child = user.start(["hold", "16"]);
    const result = finished(child);
    // It listens for signals before it connects, and sends its request right behind.
    await until("it has connected", () => isConnected(child));
    await sleep(500);
    child.kill("SIGINT");
    await sleep(100);
    process.kill(pid, "SIGCONT");
    const { status, stdout, stderr } = await result;
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/ 16 .* high$/m);
    expect(high(16)).toBe(true);
    user.ok(["release", "16"]);
  });

  it("hold --for lowers the line again", () => {
    expect(result(["hold", "18", "--for", "50ms"])).toMatchObject({ count: 1, level: 0 });
    expect(high(18)).toBe(false);
  });

  it("hold --for that is interrupted lowers the line", async () => {
    const child = user.start(["hold", "19", "--for", "1h"]);
    await until("the line is high", () => high(19));
    child.kill("SIGINT");
    expect((await finished(child)).status).toBe(130);
    expect(high(19)).toBe(false);
  });

  it.each([
    ["hold", "19", "--for", "1h"],
    ["pulse", "19", "--count", "2", "--interval", "1h"],
    ["msi", "--vector", "0x41", "--count", "2", "--interval", "1h"],
  ])("%s does not wait on for a session that is gone, and says so", async (...args) => {
    const { pid } = user.json(["create", "mortal", "--preset", "ioapic"]);
    const child = user.start(["-s", "mortal", ...args]);
    await until("its first interrupt is there", () => {
      const { ioapic, lapic } = user.json(["-s", "mortal", "dump"]).chips;
      return ioapic.irr !== 0 || lapic[0].irr.length > 0;
    });
    process.kill(pid, "SIGKILL");
    const { status, stderr } = await finished(child);
    expect(status).toBe(4);
    expect(stderr).toMatch(/^kvm-irq: session 'mortal' is gone: /);
    user.run(["-s", "mortal", "dump"]);
  });
});

describe.skipIf(!haveTmux)("a long train (needs tmux)", () => {
  it.each([
    ["pulse 3 --count 1000 --interval 5ms", "pulses"],
    ["msi --vector 0x41 --count 1000 --interval 5ms", "messages"],
  ])("%s shows on a terminal how far it is, and clears that away", async (command, noun) => {
    const terminal = new Terminal(80, 24);
    try {
      terminal.run(`"${process.execPath}" "${PROGRAM}" ${command}; echo "status $?"`, user.env, user.folder);
      const progress = new RegExp(`\\d+ of 1000 ${noun} \\(\\d+ %\\)`);
      await terminal.shows(progress);
      terminal.type("C-c");
      const screen = await terminal.shows(/status 130/);
      expect(screen).toMatch(new RegExp(`interrupted after \\d+ of 1000 ${noun}`));
      expect(screen).not.toMatch(progress);
    } finally {
      terminal.dispose();
    }
  });
});

describe("a GSI that goes nowhere or is none", () => {
  it.each(["24", "4294967295", "22-24", "-1", "4x", "7-3", "x", "1.5", "0x4", "", "99999999999"])(
    "%j is refused with status 2, says which exist, and touches nothing",
    (gsi) => {
      for (const command of ["pulse", "hold", "release"]) {
        const { status, stderr, stdout } = user.run([command, "3", gsi]);
        expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
        expect(stderr).toMatch(/^kvm-irq: /);
        expect(stderr).toMatch(/hint: (GSIs are 0 to 23|write 3-7)/);
      }
    },
  );
});

describe("presets", () => {
  const dump = (preset: string) => {
    user.ok(["create", "preset", "--preset", preset, "--vcpus", "2"]);
    const { chips } = user.json(["-s", "preset", "dump"]);
    user.ok(["destroy", "preset"]);
    return chips;
  };

  it("reset is what the kernel makes", () => {
    const { pic1, ioapic, lapic } = dump("reset");
    expect(pic1).toMatchObject({ imr: 0, irq_base: 0 });
    expect(ioapic.redirtbl.every(({ mask }: { mask: boolean }) => mask)).toBe(true);
    expect(lapic.map(({ svr, lvt_lint0 }: Record<string, number>) => [svr, lvt_lint0])).toEqual([
      [0xff, 0x700],
      [0xff, 0x10000],
    ]);
  });

  it("pic has the bases of a PC and nothing masked", () => {
    const { pic1, pic2 } = dump("pic");
    expect([pic1, pic2]).toMatchObject([
      { irq_base: 0x20, imr: 0 },
      { irq_base: 0x28, imr: 0 },
    ]);
  });

  it("ioapic masks the PICs, opens every pin with its own vector, and enables the local APICs", () => {
    const { pic1, pic2, ioapic, lapic } = dump("ioapic");
    expect([pic1.imr, pic2.imr]).toEqual([0xff, 0xff]);
    ioapic.redirtbl.forEach((entry: object, pin: number) => {
      expect(entry).toMatchObject({
        vector: 0x30 + pin,
        mask: false,
        trig_mode: pin < 16 ? "edge" : "level",
      });
    });
    expect(lapic.map(({ svr }: { svr: number }) => svr)).toEqual([0x1ff, 0x1ff]);
  });
});
