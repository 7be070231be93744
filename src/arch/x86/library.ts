/**
 * What the library publishes: what all architectures have (src/index.ts), and x86's own. It is the package's entry, for
 * x86 is what VMs here are.
 */

import { readSource as readAny } from "../../operations/take-snapshot.ts";
import type { Reading } from "../../vm/reading.ts";
import { checkSnapshot as checkAny, type SchemaIssue } from "../../vm/schema.ts";
import type { Source } from "../../vm/source.ts";
import type { ArchData } from "../arch.ts";
import { X86_64 } from "./index.ts";
import { IOAPIC, IOAPIC_NUM_PINS } from "./ioapic/layout.ts";
import { LAPIC } from "./lapic/layout.ts";
import { LINES } from "./lines.ts";
import type { Msi } from "./msi.ts";
import { PIC } from "./pic/layout.ts";
import type { PresetName } from "./presets.ts";
import type { Chips, Snapshot } from "./state.ts";
import { VCPU, type VcpuState } from "./vcpu/layout.ts";

export * from "../../index.ts";
export type { ExplainOptions } from "../arch.ts";
export { type RecordOptions, record as recordTrace } from "./events/record.ts";
export { explainAll, explainGsi } from "./explain/explain.ts";
export { findings } from "./explain/findings.ts";
export {
  decodeIoapic,
  decodeRedirectionEntry,
  encodeIoapic,
  encodeRedirectionEntry,
  type IoapicState,
  type RedirectionEntry,
} from "./ioapic/layout.ts";
export { IOCTL, SIZEOF } from "./ioctl.ts";
export { decodeLapic, encodeLapic, type LapicState } from "./lapic/layout.ts";
export { chainsOf } from "./lives/chains.ts";
export type { Chain } from "./lives/life.ts";
export { ModelMachine } from "./model/machine.ts";
export { checkMsi, decodeMsi, encodeMsi, type Msi } from "./msi.ts";
export { decodePic, encodePic, type PicState } from "./pic/layout.ts";
export { applyPreset, type PresetName } from "./presets.ts";
export { DEFAULT_ROUTES } from "./routing.ts";
export type { Chips, Snapshot } from "./state.ts";
export { decodeVcpu, type VcpuState } from "./vcpu/layout.ts";

/** The architecture of VMs here. What it would load, the library has by name. */
export const HOST_ARCH: ArchData<Chips, VcpuState, Msi, PresetName> & {
  gsis: typeof LINES;
  ioapicPins: number;
  imageSizes: Readonly<Record<"pic1" | "pic2" | "ioapic" | "lapic" | "vcpu", number>>;
} = {
  ...X86_64,
  gsis: LINES,
  ioapicPins: IOAPIC_NUM_PINS,
  imageSizes: {
    pic1: PIC.size,
    pic2: PIC.size,
    ioapic: IOAPIC.size,
    lapic: LAPIC.size,
    vcpu: VCPU.size,
  },
};

/** {@link readAny}, its snapshot that of an x86 VM. */
export const readSource = readAny as unknown as (
  source: Source,
  words?: readonly string[],
) => Promise<Reading & { arch: typeof HOST_ARCH; snapshot: Snapshot }>;

/** {@link checkAny}, its snapshot that of an x86 VM. */
export const checkSnapshot = checkAny as (
  value: unknown,
) => { snapshot: Snapshot } | { issues: SchemaIssue[] };

/** {@link readSource}, by the name that it had. @deprecated */
export const readTarget = readSource;
export {
  /** @deprecated by its new name. */
  LocalSource as LocalTarget,
} from "../../sources/local/source.ts";
/** @deprecated by its new name. */
export type { SourceInfo as TargetInfo } from "../../vm/reading.ts";
/** @deprecated by its new name. */
export type { Source as Target } from "../../vm/source.ts";
