import { spawn } from "node:child_process";
import { describe, expect, it, vi } from "vitest";
import * as permission from "../../../src/sources/attach/permission.ts";
import { openProcess } from "../../../src/sources/attach/source.ts";

vi.mock("../../../src/sources/attach/permission.ts", { spy: true });

describe("opening another process's VM", () => {
  it("judges once whether it may be attached to", async () => {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    try {
      await expect(openProcess({ pid: child.pid! })).rejects.toMatchObject({ code: "no-vm" });
      expect(permission.judge).toHaveBeenCalledTimes(1);
    } finally {
      child.kill();
    }
  });
});
