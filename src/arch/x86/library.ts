/**
 * What the library publishes: what all architectures have (src/index.ts), and x86's own. It is the package's entry, for
 * x86 is what VMs here are.
 */

import { type Decoded, readSource as readAny } from "../../operations/take-snapshot.ts";
import { checkSnapshot as checkAny, type SchemaIssue } from "../../vm/schema.ts";
import type { Source } from "../../vm/source.ts";
import type { Snapshot } from "./state.ts";

export * from "../../index.ts";
export type { ExplainOptions } from "../arch.ts";
export { HOST_ARCH } from "../arches.ts";
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

/** {@link readAny}, its snapshot that of an x86 VM. */
export const readSource = readAny as (
  source: Source,
  words?: readonly string[],
) => Promise<Omit<Decoded, "snapshot"> & { snapshot: Snapshot }>;

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
