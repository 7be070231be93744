import { Option } from "commander";
import { KvmIrqError } from "../abi/error.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { makeMachine } from "../sources/make-machine.ts";
import type { Backend, Machine } from "../vm/machine.ts";
import type { Source } from "../vm/source.ts";
import { applyStart, type PresetName, type SavedState, type Start } from "../vm/start.ts";
import type { Context } from "./command.ts";
import { choice } from "./parsers.ts";

const BACKENDS: readonly (Backend | "auto")[] = ["kvm", "model", "auto"];

/** `--backend`: who stands behind a VM that is made. Without it, `KVM_IRQ_BACKEND`. */
export function backendOption(description: string, backends: readonly string[] = BACKENDS): Option {
  return choice("--backend <backend>", description, backends).env("KVM_IRQ_BACKEND");
}

/** What a command line says of the VM that a command makes, and of the state it starts in. */
export interface StartOptions {
  backend: Backend | "auto";
  preset: PresetName;
  vcpus: number;
  from?: string;
}

/** `--from`, which says all that the options named would. */
export function fromOption(...instead: string[]): Option {
  return new Option(
    "--from <file>",
    "start in the state of a snapshot (- for stdin): its chips, routing and number of vCPUs, and on the model their state",
  ).conflicts(["preset", "vcpus", ...instead]);
}

/**
 * How many vCPUs a VM gets, and how it starts. Reads the snapshot that `--from` names.
 *
 * @throws KvmIrqError `no-file`, `bad-input`.
 */
export async function chooseStart(
  context: Pick<Context, "notice">,
  { backend, preset, vcpus, from }: StartOptions,
): Promise<{ vcpus: number; start: PresetName | SavedState }> {
  if (from === undefined) return { vcpus, start: preset };
  const { readSavedState } = await import("../sources/file/saved-state.ts");
  const start = await readSavedState(from);
  const misread = backend === "model" ? (await HOST_ARCH.model?.())?.misreads(start.images) : undefined;
  if (misread !== undefined) context.notice(`${start.label} ${misread}`);
  return { vcpus: start.vcpus, start };
}

export interface ScratchOptions {
  /** `auto` takes KVM where it works, else the model. */
  backend: Backend | "auto";
  vcpus: number;
  start: Start;
}

/**
 * A VM of this process alone, gone when the target is closed.
 *
 * @param context told why, when `auto` had to take the model.
 * @throws KvmIrqError when KVM was asked for by name and can't be used.
 */
export async function scratchSource(
  { backend, vcpus, start }: ScratchOptions,
  context: Pick<Context, "notice">,
): Promise<Source> {
  const machine = backend === "auto" ? await kvmElseModel(vcpus, context) : await makeMachine(backend, vcpus);
  const { LocalSource } = await import("../sources/local/source.ts");
  applyStart(machine, start);
  return new LocalSource(machine);
}

async function kvmElseModel(vcpus: number, context: Pick<Context, "notice">): Promise<Machine> {
  try {
    return await makeMachine("kvm", vcpus);
  } catch (error) {
    const why = error instanceof KvmIrqError ? error.message : "the FFI can't be loaded here";
    context.notice(`${why}: using the software model`);
    return makeMachine("model", vcpus);
  }
}
