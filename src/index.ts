/**
 * kvm-irq as a library: the KVM ioctls of the interrupt controllers, codecs for what they carry, the
 * snapshot format, the chips in software, VMs inside other processes, what explains their state, and
 * traces of what happened to it.
 */

export type { Chips } from "./abi/arch.ts";
export { HOST_ARCH } from "./abi/arches.ts";
export type { ChipId, ChipImage, InjectionStatus, LineStep } from "./abi/chip.ts";
export { type ErrorCode, EXIT_STATUS, KvmIrqError } from "./abi/error.ts";
export { CAP, type CapName, IOCTL, type IoctlName, SIZEOF } from "./abi/ioctl.ts";
export { checkSnapshot, type SchemaIssue } from "./abi/schema.ts";
export { makeSnapshot, type Snapshot } from "./abi/snapshot.ts";
export {
  decodeIoapic,
  decodeRedirectionEntry,
  encodeIoapic,
  encodeRedirectionEntry,
  type IoapicState,
  type RedirectionEntry,
} from "./abi/x86/ioapic.ts";
export { decodeLapic, encodeLapic, type LapicState } from "./abi/x86/lapic.ts";
export { checkMsi, decodeMsi, encodeMsi, type Msi, type MsiMessage } from "./abi/x86/msi.ts";
export { decodePic, encodePic, type PicState } from "./abi/x86/pic.ts";
export { DEFAULT_ROUTES, type MsiRoute, type PinRoute, type Route, type Routing } from "./abi/x86/routing.ts";
export { decodeVcpu, type VcpuState } from "./abi/x86/vcpu.ts";
export type { Difference } from "./diagnose/diff.ts";
export { type DiffOptions, diffSnapshots } from "./diagnose/diff-snapshots.ts";
export { type ExplainOptions, explainAll, explainGsi } from "./diagnose/explain.ts";
export type { Explanation, Stage, Way } from "./diagnose/explanation.ts";
export type { Finding } from "./diagnose/finding.ts";
export { findings } from "./diagnose/findings.ts";
export type { Backend, Machine } from "./machine/machine.ts";
export { applyPreset, type PresetName } from "./machine/presets.ts";
export { ModelMachine } from "./model/machine.ts";
export { Kvm } from "./sys/kvm.ts";
export { KvmError } from "./sys/kvm-error.ts";
export { KvmMachine } from "./sys/kvm-machine.ts";
export { Vcpu } from "./sys/vcpu.ts";
export { Vm } from "./sys/vm.ts";
export { LocalTarget } from "./target/local.ts";
export { openProcess, type ProcessOptions } from "./target/process.ts";
export { findVms, type VmProcess } from "./target/processes.ts";
export { readTarget } from "./target/take-snapshot.ts";
export type { Target, TargetInfo } from "./target/target.ts";
export type { TraceEvent, TraceHeader, TraceSummary } from "./trace/event.ts";
export { readTrace, type Trace } from "./trace/ndjson.ts";
export { type RecordOptions, record as recordTrace } from "./trace/record.ts";
export type { Chain } from "./trace/x86/chain.ts";
export { chainsOf } from "./trace/x86/chains.ts";
export { type ChainStatistics, statisticsOf } from "./trace/x86/statistics.ts";
