import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { X86_64 } from "../../src/arch/x86/index.ts";
import { ModelMachine } from "../../src/arch/x86/model/machine.ts";
import type { Chips } from "../../src/arch/x86/state.ts";
import { probedBehaviour } from "../support/behaviour.ts";
import { User } from "../support/cli.ts";
import { takeStep } from "../support/differential.ts";
import { haveKvm } from "../support/kvm.ts";
import { scriptLines } from "../support/script.ts";
import { anySequence } from "../support/steps.ts";

const user = new User();
afterAll(() => expect(user.dispose()).toEqual([]));

const SEQUENCES = fc.sample(anySequence({ vcpus: 3, steps: 120 }), { numRuns: 12, seed: 7 });

const BACKENDS = [
  { backend: "model", behaviour: {}, skip: false },
  { backend: "kvm", behaviour: haveKvm ? probedBehaviour() : {}, skip: !haveKvm },
];

/** Chips without what a clock changes. */
function still({ lapic, ...chips }: Chips): unknown {
  return { ...chips, lapic: lapic?.map(({ timer_current: _, ...registers }) => registers) };
}

describe.each(BACKENDS)("the script of a failed differential test", ({ backend, behaviour, skip }) => {
  it.skipIf(skip)(`does the same steps again in \`run --backend ${backend}\` (skipped without it)`, () => {
    for (const { vcpus, steps } of SEQUENCES) {
      const machine = new ModelMachine(vcpus, behaviour);
      const lines = steps.flatMap((step) => {
        const printed = scriptLines(machine, step);
        takeStep(machine, step);
        return printed;
      });
      const input = [...lines, "dump"].join("\n");
      const options = ["--vcpus", String(vcpus), "--backend", backend, "--json"];
      const { status, stdout, stderr } = user.run(["run", "-", ...options], { input });
      expect({ status, stderr }, stdout.slice(-2000)).toEqual({ status: 0, stderr: "" });
      const last = JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
      const images = X86_64.chips(vcpus).map((id) => ({ id, bytes: machine.readChip(id) }));
      expect(still(last.result.chips), input).toEqual(still(X86_64.decode(images).chips));
    }
  });
});
