/**
 * kvm-irq as a library: the KVM ioctls of the interrupt controllers, codecs for what they carry, the
 * snapshot format, the chips in software, VMs inside other processes, what explains their state, and
 * traces of what happened to it.
 */

export { type ErrorCode, EXIT_STATUS, KvmIrqError } from "./abi/error.ts";
export { CAP, type CapName, type IoctlName } from "./abi/ioctl.ts";
export { readTrace, type Trace } from "./exports/ndjson.ts";
export { Kvm } from "./kvm/kvm.ts";
export { KvmError } from "./kvm/kvm-error.ts";
export { KvmMachine } from "./kvm/kvm-machine.ts";
export { Vcpu } from "./kvm/vcpu.ts";
export { Vm } from "./kvm/vm.ts";
export { type ChainStatistics, statisticsOf } from "./lives/statistics.ts";
export type { Difference } from "./rules/diff.ts";
export { type DiffOptions, diffSnapshots } from "./rules/diff-snapshots.ts";
export type { Explanation, Stage, Way } from "./rules/explanation.ts";
export type { Finding } from "./rules/finding.ts";
export { findVms, type VmProcess } from "./sources/attach/processes.ts";
export { openProcess, type ProcessOptions } from "./sources/attach/source.ts";
export { LocalSource } from "./sources/local/source.ts";
export type { TraceEvent, TraceHeader, TraceSummary } from "./tracefs/event.ts";
export type { ChipId, ChipImage, InjectionStatus, LineStep } from "./vm/chip.ts";
export type { Backend, Machine } from "./vm/machine.ts";
export type { SourceInfo } from "./vm/reading.ts";
export type { MsiMessage, MsiRoute, PinRoute, Route, Routing } from "./vm/routing.ts";
export type { SchemaIssue } from "./vm/schema.ts";
export { makeSnapshot } from "./vm/snapshot.ts";
export type { Source } from "./vm/source.ts";
