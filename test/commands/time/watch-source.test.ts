import { afterEach, describe, expect, it, vi } from "vitest";
import { ModelMachine } from "../../../src/arch/x86/model/machine.ts";
import { WatchSource } from "../../../src/commands/time/watch-source.ts";
import { LocalSource } from "../../../src/sources/local/source.ts";

afterEach(() => vi.restoreAllMocks());

/** A clock that is set by hand, and a process that has used a fifth of it. */
function clock(): { at: number } {
  const time = { at: 1000 };
  vi.spyOn(performance, "now").mockImplementation(() => time.at);
  vi.spyOn(process, "cpuUsage").mockImplementation(() => ({ user: time.at * 100, system: time.at * 100 }));
  return time;
}

/** A VM whose readings stop threads for so long. */
function stoppedFor(...readings: number[][]) {
  const target = new LocalSource(new ModelMachine(1));
  const stops = readings.map((all) => all.map((ns) => ({ tid: 1, ns })));
  let last = -1;
  const read = target.read.bind(target);
  target.read = async (wanted) => {
    last++;
    return { ...(await read(wanted)), stops: stops[last]! };
  };
  return target;
}

describe("what watching takes", () => {
  it("is told of the whole watch, however long nothing was new", async () => {
    const time = clock();
    const source = new WatchSource(stoppedFor([10]), [], {});
    await source.next();
    time.at += 60_000;
    expect(source.wholeCost().cpu).toBeCloseTo(0.2);
    expect(source.cost().cpu).toBeCloseTo(0.2);
    time.at += 60_000;
    expect(source.cost().cpu).toBeCloseTo(0.2);
  });

  it("has the longest stop of all readings at the end, and that of the last one before", async () => {
    const source = new WatchSource(stoppedFor([10, 9000], [20, 30, 40], [5]), [], {});
    for (let reading = 0; reading < 3; reading++) await source.next();
    expect(source.cost().stops).toEqual({ threads: 1, longestNs: 5 });
    expect(source.wholeCost().stops).toEqual({ threads: 3, longestNs: 9000 });
  });
});
