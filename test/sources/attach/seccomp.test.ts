import { describe, expect, it } from "vitest";
import { filtersAllow } from "../../../src/sources/attach/seccomp.ts";

const ALLOW = 0x7fff_0000;
const [LOAD, LOAD_X, RETURN, JUMP_EQUAL] = [0x20, 0x01, 0x06, 0x15];
const [LEFT_SHIFT_X, RIGHT_SHIFT_X, DIVIDE_X] = [0x6c, 0x7c, 0x3c];
const FIRST_ARGUMENT = 16;

/** A program from its instructions: code, k, and for jumps how far when so and when not. */
function program(...instructions: [code: number, k: number, so?: number, not?: number][]): Uint8Array {
  const view = new DataView(new ArrayBuffer(instructions.length * 8));
  instructions.forEach(([code, k, so = 0, not = 0], at) => {
    view.setUint16(at * 8, code, true);
    view.setUint8(at * 8 + 2, so);
    view.setUint8(at * 8 + 3, not);
    view.setUint32(at * 8 + 4, k, true);
  });
  return new Uint8Array(view.buffer);
}

const allows = (filter: Uint8Array, argument = 0n) =>
  filtersAllow([filter], { number: 219, instructionPointer: 0n, args: [argument] });

/** Allows where an operation with X turns the first argument into what is wanted. */
const filterFor = (operation: number, x: number, wanted: number) =>
  program(
    [LOAD_X, x],
    [LOAD, FIRST_ARGUMENT],
    [operation, 0],
    [JUMP_EQUAL, wanted, 0, 1],
    [RETURN, ALLOW],
    [RETURN, 0],
  );

describe("filtersAllow", () => {
  it("shifts by the low five bits, as the kernel does", () => {
    expect(allows(filterFor(LEFT_SHIFT_X, 33, 2), 1n)).toBe(true);
    expect(allows(filterFor(RIGHT_SHIFT_X, 33, 0x4000_0000), 0x8000_0000n)).toBe(true);
  });

  it("ends with a refusal when something is divided by zero", () => {
    expect(allows(program([LOAD, 0], [DIVIDE_X, 0], [RETURN, ALLOW]))).toBe(false);
    expect(allows(program([LOAD_X, 3], [LOAD, 0], [DIVIDE_X, 0], [RETURN, ALLOW]))).toBe(true);
  });
});
