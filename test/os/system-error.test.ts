import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { KvmIrqError } from "../../src/abi/error.ts";
import { asKnown } from "../../src/os/system-error.ts";

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("what was thrown, as an error with a code", () => {
  it("leaves known errors as they are", () => {
    const error = new KvmIrqError("bad-gsi", "no");
    expect(asKnown(error)).toBe(error);
  });

  it("is the kernel's refusal when the system refused something", () => {
    const error = asKnown(thrownBy(() => readFileSync("/none/of/it")));
    expect(error.toJSON()).toEqual({
      code: "kernel-refused",
      message: "open of /none/of/it failed with ENOENT: there is no such file or folder",
      hint: expect.any(String),
      syscall: "open",
      errno: 2,
      errno_name: "ENOENT",
      path: "/none/of/it",
    });
  });

  it.each(["ENOSPC", "EROFS", "EACCES", "EMFILE"])("has words for %s", (code) => {
    const error = Object.assign(new Error(`${code}: as libuv says it`), {
      code,
      errno: -1,
      syscall: "write",
    });
    expect(asKnown(error)).toMatchObject({ code: "kernel-refused", exitStatus: 5 });
    expect(asKnown(error).message).not.toContain("libuv");
  });

  it("is a mistake of this program otherwise", () => {
    expect(asKnown(new TypeError("x is undefined")).code).toBe("internal");
    expect(asKnown("text").message).toBe("unexpected: text");
    expect(asKnown(undefined).code).toBe("internal");
  });
});
