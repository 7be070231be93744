import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildSigframe, sigframeSize } from "../../../../src/arch/x86/attach/sigframe.ts";
import { USER_REGS_SIZE, writeRegister } from "../../../../src/arch/x86/attach/user-regs.ts";

const XSTATE = 2696;
const ADDRESS = 0x7000n;
/** Places in `struct ucontext`. */
const RAX = 40 + 104;
const RIP = 40 + 128;
const FPSTATE = 40 + 184;

function frameOf(rax: bigint, origRax: bigint, xstate = new Uint8Array(XSTATE)) {
  const regs = new DataView(new ArrayBuffer(USER_REGS_SIZE));
  writeRegister(regs, "rax", rax);
  writeRegister(regs, "orig_rax", origRax);
  writeRegister(regs, "rip", 0x1002n);
  const frame = buildSigframe(ADDRESS, regs, new Uint8Array(8), xstate);
  const view = new DataView(frame.bytes.buffer, frame.context);
  return { frame, view, rax: view.getBigInt64(RAX, true), rip: view.getBigUint64(RIP, true) };
}

describe("a frame for rt_sigreturn", () => {
  it.each([-512n, -513n, -514n, -516n])("runs a system call again that was interrupted with %s", (result) => {
    expect(frameOf(result, 271n)).toMatchObject({ rax: 271n, rip: 0x1000n });
  });

  it("answers EINTR for a call of which restart_syscall alone knows what it was", () => {
    expect(frameOf(-516n, 219n)).toMatchObject({ rax: -4n, rip: 0x1002n });
  });

  it("leaves a finished call's result, and user code's rax, as they are", () => {
    expect(frameOf(-4n, 16n)).toMatchObject({ rax: -4n, rip: 0x1002n });
    expect(frameOf(-512n, -1n)).toMatchObject({ rax: -512n, rip: 0x1002n });
  });

  it("has its vector state at a multiple of 64, with both marks, within the size that is foretold", () => {
    fc.assert(
      fc.property(fc.integer({ min: 576, max: 11_008 }), (size) => {
        const { frame, view } = frameOf(0n, 0n, new Uint8Array(size));
        const at = Number(view.getBigUint64(FPSTATE, true) - ADDRESS);
        expect((at + Number(ADDRESS)) % 64).toBe(0);
        const bytes = new DataView(frame.bytes.buffer);
        const xstate = bytes.getUint32(at + 464 + 16, true);
        expect(xstate).toBe(Math.min(size, 2816));
        expect(bytes.getUint32(at + 464, true)).toBe(0x46505853);
        expect(bytes.getUint32(at + xstate, true)).toBe(0x46505845);
        expect(frame.bytes.length).toBeLessThanOrEqual(sigframeSize(size));
      }),
    );
  });
});
