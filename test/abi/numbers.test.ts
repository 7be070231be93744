import { describe, expectTypeOf, it } from "vitest";
import type { ApicId, Gsi, Pin, Vector } from "../../src/abi/numbers.ts";
import type { Arch } from "../../src/arch/arch.ts";
import type { PinRoute } from "../../src/vm/routing.ts";

/** Checked by the compiler: `npm run check:types` fails when one of these does not hold. */
describe("a number of one kind", () => {
  it("is none of another", () => {
    expectTypeOf<Pin>().not.toExtend<Gsi>();
    expectTypeOf<Gsi>().not.toExtend<Pin>();
    expectTypeOf<Vector>().not.toExtend<ApicId>();
    expectTypeOf<PinRoute["pin"]>().not.toExtend<
      Parameters<Awaited<ReturnType<Arch["diagnosis"]>>["explain"]>[1]
    >();
  });

  it("is a number, and a plain number is any of them", () => {
    expectTypeOf<Gsi>().toExtend<number>();
    expectTypeOf<number>().toExtend<Gsi>();
    expectTypeOf<number>().toExtend<Vector>();
  });
});
