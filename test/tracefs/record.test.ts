import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type RecordOptions, record } from "../../src/arch/x86/events/record.ts";
import { chainsOf } from "../../src/arch/x86/lives/chains.ts";
import { KvmMachine } from "../../src/kvm/kvm-machine.ts";
import type { TraceEvent, TraceHeader } from "../../src/tracefs/event.ts";
import { defaultBufferKb } from "../../src/tracefs/record.ts";
import { TraceInstance } from "../../src/tracefs/tracefs.ts";
import { GuestMachine } from "../support/guest.ts";
import { noTracing, PlainTracefs } from "../support/tracing.ts";

/** A process number beyond any that a kernel gives (`PID_MAX_LIMIT` is 2^22). */
const NOBODY = 2 ** 22 + 1;

describe.skipIf(noTracing !== undefined)(`recording (${noTracing ?? "on this kernel"})`, () => {
  let machine: KvmMachine;
  let plain: PlainTracefs;
  const pulse = (gsi: number) => {
    machine.setIrqLine(gsi, 1);
    machine.setIrqLine(gsi, 0);
  };
  /**
   * Records this process's events while something is done, and until all of it has been read. What work queues
   * do for others meanwhile is left out.
   */
  const during = async (action: () => void, options: RecordOptions = {}) => {
    const events: TraceEvent[] = [];
    let header: TraceHeader | undefined;
    const onStart = (begun: TraceHeader) => {
      header = begun;
      action();
    };
    const summary = await record({ pids: [process.pid], durationMs: 1, onStart, ...options }, (event) => {
      if (event.process !== null) events.push(event);
    });
    return { events, summary, header: header! };
  };
  const instances = () =>
    readdirSync(join(plain.path, "instances")).filter((name) => name.startsWith("kvm-irq-"));

  beforeAll(() => {
    machine = new KvmMachine(1);
    plain = new PlainTracefs();
  });
  afterAll(() => {
    machine.close();
    plain.close();
  });
  afterEach(() => {
    expect(instances().filter((name) => name.startsWith(`kvm-irq-${process.pid}-`))).toEqual([]);
  });

  test("a pulse is the events that the kernel's own text shows", async () => {
    const path = join(plain.path, "instances", "plain-reading");
    mkdirSync(path);
    try {
      writeFileSync(join(path, "set_event_pid"), String(process.pid));
      writeFileSync(join(path, "events/kvm/enable"), "1");
      const { events, summary } = await during(() => pulse(4));
      const shown = readFileSync(join(path, "trace"), "utf8").match(/kvm_(set|pic_set|ioapic_set)_irq: .*/g);
      expect(events.map(({ event }) => event)).toEqual(shown!.map((line) => line.split(":")[0]));
      expect(shown![0]).toBe("kvm_set_irq: gsi 4 level 1 source 0");
      expect(events[0]!.args).toEqual({ gsi: 4, level: 1, irq_source_id: 0 });
      expect(summary.events).toBeGreaterThanOrEqual(events.length);
      expect(summary.lost).toBe(0);
    } finally {
      rmdirSync(path);
    }
  });

  test("a pulse into a vCPU that never runs is a chain that stops at the PIC", async () => {
    const { events } = await during(() => pulse(6));
    expect(chainsOf(events)).toMatchObject([
      { process: process.pid, gsi: 6, route: "pic", outcome: "unfinished", stopped: { at: "accepted" } },
    ]);
  });

  test("an interrupt that a guest takes and ends is complete, with its steps in order", async () => {
    const guest = new GuestMachine(1);
    try {
      const { events } = await during(() => {
        guest.setIrqLine(4, 1);
        guest.setIrqLine(4, 0);
        guest.acknowledge();
        guest.eoiPic("pic1", { command: "non-specific" });
      });
      const [chain, ...others] = chainsOf(events).filter(({ gsi }) => gsi === 4);
      expect(others).toEqual([]);
      expect(chain).toMatchObject({ route: "pic", trigger: "edge", outcome: "complete" });
      const { raised, accepted, lowered, acknowledged } = chain!.steps;
      const times = [raised, accepted, lowered, acknowledged];
      expect(times).toEqual([...times].sort((one, other) => one! - other!));
    } finally {
      guest.close();
    }
  });

  test("events come in the order of time, from after the trace began", async () => {
    const { events, header, summary } = await during(() => [1, 5, 7, 20].forEach(pulse));
    const times = events.map(({ time }) => time);
    expect(times).toEqual([...times].sort((one, other) => one - other));
    expect(times[0]).toBeGreaterThan(0);
    expect(times.at(-1)).toBeLessThan(summary.duration);
    expect(header.missing).toEqual([]);
  });

  test("a trace of one line has nothing of another", async () => {
    const { events } = await during(() => [20, 21, 22].forEach(pulse), { gsis: [21] });
    expect(events.map(({ event, args }) => [event, args["gsi"] ?? args["pin"]])).toEqual([
      ["kvm_set_irq", 21],
      ["kvm_ioapic_set_irq", 21],
      ["kvm_set_irq", 21],
      ["kvm_ioapic_set_irq", 21],
    ]);
  });

  test("a trace of another process has nothing of this one", async () => {
    const { events } = await during(() => pulse(20), { pids: [process.ppid] });
    expect(events.filter((event) => event.pid === process.pid)).toEqual([]);
  });

  test("two at once each get what they asked for", async () => {
    const second: TraceEvent[] = [];
    const end = new AbortController();
    const inner = new Promise<void>((started, failed) => {
      record({ gsis: [22], signal: end.signal, onStart: () => started() }, (event) =>
        second.push(event),
      ).then(() => finished(), failed);
    });
    let finished: () => void = () => {};
    const over = new Promise<void>((done) => {
      finished = done;
    });
    await inner;
    const { events } = await during(() => [21, 22].forEach(pulse), { gsis: [21] });
    pulse(22);
    end.abort();
    await over;
    const raised = (of: TraceEvent[]) =>
      of.filter(({ pid, args }) => pid === process.pid && args["level"] === 1);
    expect(raised(events).map(({ args }) => args["gsi"])).toEqual([21]);
    expect(raised(second).map(({ args }) => args["gsi"])).toEqual([22, 22]);
  });

  test("events that found no room in the buffer are counted", async () => {
    const pulses = 4000;
    const many = () => {
      for (let count = 0; count < pulses; count++) pulse(23);
    };
    const options = { bufferKb: 8, events: ["kvm_set_irq"], gsis: [23] };
    const { events, summary } = await during(many, options);
    expect(summary.lost).toBeGreaterThan(0);
    expect(events.length + summary.lost).toBe(pulses * 2);
  });

  test("events are taken in batches of limited size, each awaited, and none is lost", async () => {
    const batches: number[] = [];
    let taken = 0;
    const onBatch = async () => {
      await nextTurn();
      batches.push(taken);
      taken = 0;
    };
    const onStart = () => {
      for (let count = 0; count < 20_000; count++) pulse(23);
    };
    const options = { pids: [process.pid], gsis: [23], durationMs: 1, onStart, onBatch };
    const { events, lost } = await record(options, () => taken++);
    expect({ taken, lost }).toEqual({ taken: 0, lost: 0 });
    expect(events).toBe(80_000);
    expect(batches.reduce((sum, batch) => sum + batch)).toBe(80_000);
    expect(Math.max(...batches)).toBeLessThan(40_000);
  });

  test.each([
    [1, 8192],
    [8, 8192],
    [32, 2048],
    [256, 1408],
  ])("the buffer for each of %i CPUs is %i KiB", (cpus, kb) => {
    expect(defaultBufferKb(cpus)).toBe(kb);
  });

  test("an event that this kernel does not have is said to be missing", async () => {
    const { header } = await during(() => {}, { events: ["kvm_set_irq", "kvm_no_such_event"] });
    expect(header).toMatchObject({ events: ["kvm_set_irq"], missing: ["kvm_no_such_event"] });
    await expect(during(() => {}, { events: ["kvm_no_such_event"] })).rejects.toMatchObject({
      code: "trace-unavailable",
    });
  });

  test("what a killed trace left is swept up, what a living process has is not", async () => {
    const left = join(plain.path, "instances", `kvm-irq-${NOBODY}-0`);
    const living = join(plain.path, "instances", `kvm-irq-${process.ppid}`);
    mkdirSync(left);
    mkdirSync(living);
    writeFileSync(join(left, "events/kvm/enable"), "1");
    try {
      await during(() => {});
      expect(instances()).toContain(`kvm-irq-${process.ppid}`);
      expect(instances()).not.toContain(`kvm-irq-${NOBODY}-0`);
    } finally {
      rmdirSync(living);
    }
  });

  test("nothing is left when what takes the events fails, or the process is not there", async () => {
    const failing = record({ pids: [process.pid], durationMs: 1, onStart: () => pulse(4) }, () => {
      throw new Error("no more");
    });
    await expect(failing).rejects.toThrow("no more");
    await expect(during(() => {}, { pids: [NOBODY] })).rejects.toMatchObject({ code: "no-process" });
  });

  test("an instance goes with its files, so that it does so at the end of the process too", () => {
    const instance = new TraceInstance(plain.path);
    instance.openToRead("per_cpu/cpu0/trace_pipe_raw");
    expect(() => rmdirSync(instance.path)).toThrow("EBUSY");
    instance.remove();
    instance.remove();
    expect(existsSync(instance.path)).toBe(false);
  });

  test("no descriptor and no mount is left", async () => {
    const state = () => [readdirSync("/proc/self/fd").length, readFileSync("/proc/self/mountinfo", "utf8")];
    await during(() => {});
    const before = state();
    await during(() => pulse(4));
    expect(state()).toEqual(before);
  });

  test("a user who may not trace is told what to do", async () => {
    const { geteuid, seteuid } = process;
    if (geteuid?.() !== 0) return;
    seteuid!(65534);
    try {
      await expect(during(() => {})).rejects.toMatchObject({
        code: "trace-unavailable",
        exitStatus: 3,
        hint: expect.stringContaining("root"),
      });
    } finally {
      seteuid!(0);
    }
  });
});
