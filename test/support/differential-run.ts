import fc from "fast-check";
import { ModelMachine } from "../../src/arch/x86/model/machine.ts";
import { KvmMachine } from "../../src/kvm/kvm-machine.ts";
import type { Machine } from "../../src/vm/machine.ts";
import { keepsLapicService, probedBehaviour } from "./behaviour.ts";
import { type Disagreement, firstDisagreement } from "./differential.ts";
import { GuestMachine } from "./guest.ts";
import { anyCpuSequence, anySequence, type Sequence } from "./steps.ts";

/** What a differential run did and found. */
export interface DifferentialResult {
  steps: number;
  vms: number;
  seed: number;
  /** The shortest sequence that fast-check found, as a report to print; `undefined` when all agreed. */
  failure?: string;
}

/** Making a VM costs as much as a hundred steps. */
const MOST = { vcpus: 4, steps: 160 };
/** Sequences that fast-check makes in one go. */
const BATCH = 50;

export interface DifferentialOptions {
  /** The same seed gives the same sequences. */
  seed?: number;
  /** Whether vCPU 0 runs a guest that takes and ends interrupts. */
  guest?: boolean;
  /** Whether to look for a shorter sequence once one fails. */
  shrink?: boolean;
  /** Told of the steps done so far, now and then. */
  onBatch?: (steps: number) => void;
}

/**
 * Puts random sequences to the real KVM and to the model until so many steps have agreed, or one has not.
 *
 * @param wanted the number of steps, at least.
 */
export function differentialRun(
  wanted: number,
  { seed = Date.now() | 0, guest = false, shrink = true, onBatch }: DifferentialOptions = {},
): DifferentialResult {
  const result: DifferentialResult = { steps: 0, vms: 0, seed };
  const Kernel = guest ? GuestMachine : KvmMachine;
  const sequences = guest ? anyCpuSequence(keepsLapicService(), MOST) : anySequence(MOST);
  for (let batch = 0; result.steps < wanted && result.failure === undefined; batch++) {
    runBatch(result, sequences, Kernel, { seed: seed + batch, numRuns: BATCH, endOnFailure: !shrink });
    onBatch?.(result.steps);
  }
  return result;
}

type MachineClass = new (vcpus: number) => Machine;

function runBatch(
  result: DifferentialResult,
  sequences: fc.Arbitrary<Sequence>,
  Kernel: MachineClass,
  parameters: fc.Parameters<[Sequence]>,
): void {
  const property = fc.property(sequences, (one) => {
    const disagreement = compare(Kernel, one);
    result.vms++;
    result.steps += disagreement === undefined ? one.steps.length : disagreement.step + 1;
    return disagreement === undefined;
  });
  const [shortest] = fc.check(property, parameters).counterexample ?? [];
  if (shortest !== undefined) result.failure = report(shortest, compare(Kernel, shortest));
}

function compare(Kernel: MachineClass, { vcpus, steps }: Sequence): Disagreement | undefined {
  const kernel = new Kernel(vcpus);
  try {
    return firstDisagreement(kernel, new ModelMachine(vcpus, probedBehaviour()), steps);
  } finally {
    kernel.close();
  }
}

function report({ vcpus }: Sequence, disagreement: Disagreement | undefined): string {
  if (disagreement === undefined) return "the disagreement did not come again: it depends on time";
  return [`# kvm-irq run --vcpus ${vcpus} -`, ...disagreement.script, `# ${disagreement.what}`].join("\n");
}
