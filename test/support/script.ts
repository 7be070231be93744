import { X86_64 } from "../../src/arch/x86/index.ts";
import { applyPreset, type PresetMachine } from "../../src/arch/x86/presets.ts";
import { routesOf } from "../../src/arch/x86/routing.ts";
import type { ChipId } from "../../src/vm/chip.ts";
import type { Machine } from "../../src/vm/machine.ts";
import type { Route } from "../../src/vm/routing.ts";
import { patchedBytes } from "./differential.ts";
import type { Step } from "./steps.ts";

/**
 * A step as lines of a `kvm-irq run` script that do the same to the machine as it is now. What `run` has no
 * command for (a preset after the start) becomes the `set` commands that it amounts to.
 */
export function scriptLines(machine: Machine, step: Step): string[] {
  switch (step.do) {
    case "line":
      return [lineCommand(machine, step)];
    case "msi":
      return [`msi --address 0x${step.address.toString(16)} --data 0x${step.data.toString(16)}`];
    case "route":
      return [step.routing === "default" ? "route reset" : `route set ${routeWords(step.routing).join(" ")}`];
    case "readVcpu":
      return [`dump --chip vcpu[${step.vcpu}]`];
    // A script has no word for what the CPU does.
    case "acknowledge":
    case "eoi":
      return [`# the CPU: ${step.do}`];
    case "eoiPic":
      return [`# the CPU: ${step.do} ${step.pic} ${JSON.stringify(step.eoi)}`];
    case "write":
      return [setCommand(step.chip, machine.readChip(step.chip), patchedBytes(machine, step))];
    case "preset": {
      const lines: string[] = [];
      applyPreset(recorder(machine, lines), step.preset);
      return lines;
    }
  }
}

/** A GSI that goes nowhere does nothing, and `run` refuses it. */
function lineCommand({ routing }: Machine, { gsi, level }: Step & { do: "line" }): string {
  const command = `${level === 1 ? "hold" : "release"} ${gsi}`;
  return routesOf(routing).some((route) => route.gsi === gsi) ? command : `# ${command}: it goes nowhere`;
}

/** The words of `route set` that make a table. */
function routeWords(routes: readonly Route[]): string[] {
  const ways = new Map<number, string[]>();
  for (const route of routes) {
    if (!("msi" in route || "chip" in route)) throw new Error(`no word sets the route of GSI ${route.gsi}`);
    const way = "msi" in route ? `msi:${route.msi.address}/${route.msi.data}` : `${route.chip}:${route.pin}`;
    ways.set(route.gsi, [...(ways.get(route.gsi) ?? []), way]);
  }
  return ways.size === 0 ? ["0=none"] : [...ways].map(([gsi, words]) => `${gsi}=${words.join(",")}`);
}

/** A machine that notes what is written to it and changes nothing. */
function recorder(machine: Machine, lines: string[]): PresetMachine {
  return {
    vcpus: machine.vcpus,
    readChip: (id) => machine.readChip(id),
    writeChip: ({ id, bytes }) => lines.push(setCommand(id, machine.readChip(id), bytes)),
  };
}

/** `set` with every field that differs; with one that does not when none does, since writing is a step too. */
function setCommand(chip: ChipId, before: Uint8Array, after: Uint8Array): string {
  const fields = (bytes: Uint8Array) => new Map(flatten(decoded(chip, bytes), chip));
  const [old, wanted] = [fields(before), fields(after)];
  const changed = [...wanted].filter(([path, value]) => old.get(path) !== value);
  const gone = [...old.keys()]
    .filter((path) => !wanted.has(path))
    .map((path): [string, string] => [path, /^lapic\S*\.reserved$/.test(path) ? "{}" : "0"]);
  const assignments = [...changed, ...gone];
  if (assignments.length === 0) assignments.push([...wanted].find(([path]) => !path.endsWith(".vcpu"))!);
  return `set ${assignments.map(([path, value]) => quoted(`${path}=${value}`)).join(" ")}`;
}

function decoded(chip: ChipId, bytes: Uint8Array): unknown {
  const { chips } = X86_64.decode([{ id: chip, bytes }]);
  return chips.lapic?.[0] ?? chips[chip as "pic1" | "pic2" | "ioapic"];
}

/** Fields by their path. Lists of vectors and the unnamed words of a local APIC are one value each. */
function flatten(value: unknown, path: string): [string, string][] {
  if (Array.isArray(value) && value.some((element) => typeof element === "object")) {
    return value.flatMap((element, index) => flatten(element, `${path}[${index}]`));
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value) && !path.endsWith(".reserved")) {
    return Object.entries(value).flatMap(([key, member]) => flatten(member, `${path}.${key}`));
  }
  return [[path, text(value)]];
}

function text(value: unknown): string {
  if (typeof value === "number") return value < 10 ? String(value) : `0x${value.toString(16)}`;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Single quotes for what a shell, and so a script, would take apart. */
function quoted(word: string): string {
  return /^[\w.=[\]-]+$/.test(word) ? word : `'${word}'`;
}
