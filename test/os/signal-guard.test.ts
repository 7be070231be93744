import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { interruptibly } from "../../src/os/signal-guard.ts";

describe("a signal whose listener has not run yet", () => {
  it.each(["/dev/null", "package.json", "nowhere"])("is not lost when %s is opened", async (path) => {
    let signals = 0;
    const listener = () => signals++;
    process.on("SIGHUP", listener);
    try {
      process.kill(process.pid, "SIGHUP");
      expect(interruptibly(path, () => "opened")).toBe("opened");
      await nextTurn();
      await nextTurn();
      expect(signals).toBe(1);
    } finally {
      process.off("SIGHUP", listener);
    }
  });
});
