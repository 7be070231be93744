import { X86_64 } from "../../src/arch/x86/index.ts";
import { LAPIC_REGISTERS } from "../../src/arch/x86/lapic/layout.ts";
import { applyPreset } from "../../src/arch/x86/presets.ts";
import { VCPU_IMAGE } from "../../src/arch/x86/vcpu/layout.ts";
import type { ChipId } from "../../src/vm/chip.ts";
import type { Machine } from "../../src/vm/machine.ts";
import type { Cpu } from "./guest.ts";
import { scriptLines } from "./script.ts";
import type { Step } from "./steps.ts";

/** Registers that the model knowingly differs in, each with its reason. docs/model.md has the same list. */
export const KNOWN_DIFFERENCES = [
  {
    what: "lapic timer_current while timer_initial is not zero",
    why: "the timer counts in real time, and the model has no clock: it reads 0",
    applies: (chip: ChipId, offset: number, bytes: Uint8Array) =>
      chip.startsWith("lapic") &&
      wordAt(offset) === LAPIC_REGISTERS.timer_current &&
      bytes.subarray(LAPIC_REGISTERS.timer_initial, LAPIC_REGISTERS.timer_initial + 4).some(Boolean),
  },
  {
    what: "vcpu segment types",
    why: "kvm-amd reports what the VMCB holds (accessed bits clear, TR a 16-bit TSS), kvm-intel does not",
    applies: (chip: ChipId, offset: number) => chip.startsWith("vcpu") && SEGMENT_TYPES.has(offset),
  },
] as const;

/** Where cs, ds, es, fs, gs, ss, tr and ldt have their `type` in a vCPU image. */
const SEGMENT_TYPES = new Set(Array.from({ length: 8 }, (_, index) => VCPU_IMAGE.sregs + index * 24 + 14));
const wordAt = (offset: number) => offset & ~3;

/** Where two machines first disagreed. */
export interface Disagreement {
  /** The step, counted from 0. */
  step: number;
  /** One sentence: which status, or which bytes of which chip, and both values. */
  what: string;
  /** The steps up to that one as a `kvm-irq run` script. */
  script: string[];
}

/**
 * Puts two fresh machines through the same steps. After each, its status and every byte of every chip must
 * agree.
 *
 * @returns where they first disagreed, or `undefined`.
 */
export function firstDisagreement(
  kernel: Machine,
  model: Machine,
  steps: readonly Step[],
): Disagreement | undefined {
  const chips = X86_64.chips(kernel.vcpus);
  const script: string[] = [];
  for (const [index, step] of steps.entries()) {
    script.push(...scriptLines(kernel, step));
    const what =
      outcomeDifference(step, takeStep(kernel, step), takeStep(model, step)) ??
      chipDifference(kernel, model, chips);
    if (what !== undefined) return { step: index, what, script };
  }
  return undefined;
}

type Outcome = number | null | Uint8Array | undefined;

/** Does one step. @returns the status of a line, the image of a vCPU, else nothing. */
export function takeStep(machine: Machine, step: Step): Outcome {
  switch (step.do) {
    case "line":
      return machine.setIrqLine(step.gsi, step.level);
    case "msi":
      return machine.signalMsi(step);
    case "route":
      machine.setRouting(step.routing);
      return undefined;
    case "write":
      machine.writeChip({ id: step.chip, bytes: patchedBytes(machine, step) });
      return undefined;
    case "preset":
      applyPreset(machine, step.preset);
      return undefined;
    case "readVcpu":
      return machine.readChip(`vcpu[${step.vcpu}]`);
    case "acknowledge":
      return cpuOf(machine).acknowledge();
    case "eoi":
      cpuOf(machine).eoi();
      return undefined;
    case "eoiPic":
      cpuOf(machine).eoiPic(step.pic, step.eoi);
      return undefined;
  }
}

/** Only sequences for machines with a CPU that runs have steps of the CPU. */
const cpuOf = (machine: Machine) => machine as Machine & Cpu;

/** The bytes that a write step writes. */
export function patchedBytes(
  machine: Machine,
  { chip, from, patches }: Extract<Step, { do: "write" }>,
): Uint8Array {
  const bytes = machine.readChip(chip);
  if (from === "zero") bytes.fill(0);
  for (const patch of patches) {
    bytes.set(patch.bytes.slice(0, Math.max(0, bytes.length - patch.offset)), patch.offset);
  }
  return bytes;
}

function outcomeDifference(step: Step, kernel: Outcome, model: Outcome): string | undefined {
  if (step.do === "readVcpu") {
    return byteDifference(`vcpu[${step.vcpu}]`, kernel as Uint8Array, model as Uint8Array);
  }
  return kernel === model ? undefined : `the kernel answers ${kernel}, the model ${model}`;
}

function chipDifference(kernel: Machine, model: Machine, chips: readonly ChipId[]): string | undefined {
  for (const chip of chips) {
    const difference = byteDifference(chip, kernel.readChip(chip), model.readChip(chip));
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function byteDifference(chip: ChipId, kernel: Uint8Array, model: Uint8Array): string | undefined {
  if (Buffer.compare(kernel, model) === 0) return undefined;
  const offsets = [...kernel.keys()].filter(
    (offset) =>
      kernel[offset] !== model[offset] &&
      !KNOWN_DIFFERENCES.some(({ applies }) => applies(chip, offset, kernel)),
  );
  if (offsets.length === 0) return undefined;
  const hex = (value: number | undefined) => `0x${(value ?? 0).toString(16)}`;
  const bytes = offsets.map((at) => `byte ${hex(at)}: kernel ${hex(kernel[at])}, model ${hex(model[at])}`);
  return `${chip}: ${bytes.join("; ")}`;
}
