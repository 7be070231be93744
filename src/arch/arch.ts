import type { VmAddress } from "../abi/advice.ts";
import type { IoctlName } from "../abi/ioctl.ts";
import type { Gsi, Pin } from "../abi/numbers.ts";
import type { Chain } from "../lives/chain.ts";
import type { Joiner } from "../lives/joiner.ts";
import type { MemoryField, Structure } from "../registers/memory.ts";
import type { Layout } from "../registers/struct.ts";
import type { Explanation } from "../rules/explanation.ts";
import type { Finding } from "../rules/finding.ts";
import type { View } from "../text/view.ts";
import type { TraceEvent, TraceSummary } from "../tracefs/event.ts";
import type { RecordOptions } from "../tracefs/record.ts";
import type { ChipId, ChipImage, Chips, VcpuState } from "../vm/chip.ts";
import type { FactKind, Facts, Unknown } from "../vm/facts.ts";
import type { GuestProgram } from "../vm/guest.ts";
import type { Machine } from "../vm/machine.ts";
import type { MsiMessage, NamedRouting, PinRoute, RoutingRules } from "../vm/routing.ts";
import type { KernelIrqchip, Snapshot } from "../vm/snapshot.ts";

/**
 * The contract of an architecture: what everybody else asks instead of knowing its chips, lines and ranges.
 * What is data or small is there at once; what only some commands need is loaded by the functions that give a
 * promise. What they load gets its architecture handed in, or is it: it never imports the registry.
 */

/** How KVM gives and takes the bytes of a controller. */
export type Access =
  /** KVM_GET_IRQCHIP and KVM_SET_IRQCHIP, under this number of `struct kvm_irqchip`. */
  | { irqchip: number }
  /** ioctls of a vCPU; the structures of several lie one behind the other. Without `set` they are there to read. */
  | { vcpu: readonly VcpuPart[] }
  /**
   * KVM_GET_DEVICE_ATTR and KVM_SET_DEVICE_ATTR of one of the VM's devices, register by register: those of the
   * layout, which is a bank of them (registers/bank.ts).
   */
  | DeviceAccess;

/** Registers of a device that stand in one group. */
export interface DeviceAccess {
  /** The device, as its descriptor is called: `kvm-arm-vgic-v3`. */
  device: string;
  group: number;
  /** What the registers' numbers are added to, of a chip that each vCPU has: where its number or affinity goes. */
  base?(vcpu: number): bigint;
}

/** A structure of a vCPU's and the ioctls that give and take it. */
export interface VcpuPart {
  get: IoctlName;
  set?: IoctlName;
  size: number;
  /** Further sizes that kernels have, tried in turn where one does not know the number with {@link size}. */
  others?: readonly number[];
}

/** Something that is read and written as one piece: a chip, or the state of a vCPU. */
export interface Controller {
  /** Its name: that of its id, and the word of `--chip`. */
  readonly kind: string;
  /** What a sentence calls one. */
  readonly title: string;
  /** Where decoded state has it: under its kind, else under this name. */
  readonly key?: string;
  /** A word of `--chip` that stands for several. */
  readonly group?: string;
  readonly access: Access;
  readonly layout: Layout;
  /** Restored after all others, which have to be in place by then. */
  readonly last?: true;
}

/** What of an architecture is there at once. */
export interface ArchData<
  C extends Chips = Chips,
  V extends VcpuState = VcpuState,
  M = object,
  P extends string = string,
> extends ArchCodec<C, V> {
  readonly name: string;
  /** The word of `--layout` for its raw bytes. */
  readonly rawLayout: string;
  /** There are no VMs of it any more: saved bytes are decoded, and what stops an interrupt is not explained. */
  readonly onlyDecoded?: boolean;
  /** Its chips, in the order in which they are shown. */
  readonly chipKinds: readonly Controller[];
  /** What of a vCPU, besides its chips, decides whether it takes an interrupt. */
  readonly vcpu?: Controller;
  /** The most vCPUs that the chips can address. */
  readonly maxVcpus: number;
  /** What can be known of a VM beside its chips, by name, in the order in which it is shown. */
  readonly facts: Readonly<Record<string, FactKind>>;
  readonly lines: Lines;
  readonly routing: RoutingRules;
  readonly msi: MsiFormat<M>;
  /** States to start a VM from. */
  readonly presets: {
    readonly words: Readonly<Record<P, string>>;
    /** Puts a fresh VM into one. */
    apply(machine: Pick<Machine, "vcpus" | "readChip" | "writeChip">, preset: P): void;
  };
}

/** An architecture. */
export interface Arch<
  C extends Chips = Chips,
  V extends VcpuState = VcpuState,
  M = object,
  P extends string = string,
> extends ArchData<C, V, M, P> {
  /** What its manual says about a state. */
  diagnosis(): Promise<Diagnosis<C>>;
  /** How its chips are shown. */
  panels(): Promise<Panels>;
  /** What KVM's tracepoints tell of its interrupts. */
  events(): Promise<Events>;
  /** Its chips in the memory of the kernel that has them; absent where that is not known. */
  memory?(): Promise<KernelMemory>;
  /** Its chips in software; absent where there are none. */
  model?(): Promise<Model>;
  /** What a scratch VM's vCPU 0 can run; absent where there is nothing. */
  guest?(): Promise<GuestCode>;
}

/** A small program that takes interrupts, counts them by vector, and ends them. */
export interface GuestCode {
  readonly image: Uint8Array;
  /** Its memory from 0 on, where it starts, counts (a 32-bit word a vector), and says that it is ready. */
  readonly layout: { size: number; start: number; counts: number; ready: number };
  /** For KVM_SET_TSS_ADDR. */
  readonly tss: number;
  /** What KVM_SET_REGS and KVM_SET_SREGS are to get. @param sregs as KVM_GET_SREGS gives them at reset. */
  registers(program: GuestProgram, sregs: Uint8Array): { regs: Uint8Array; sregs: Uint8Array };
}

/** Bytes to decoded state and back, as the declarations of {@link Controller}s have it. */
export interface ArchCodec<C extends Chips = Chips, V extends VcpuState = VcpuState> {
  /** The words that `--chip` takes. */
  readonly chipWords: readonly string[];
  /** The chips of a VM with so many vCPUs, in the order in which they are shown. */
  chips(vcpus: number): ChipId[];
  /** Whether a word of `--chip`, or a chip's own id, stands for a chip; `undefined` for a word that names none. */
  chipFilter(word: string): ((id: ChipId) => boolean) | undefined;
  /** What stands behind an id; `undefined` for an id of nothing that there is. */
  controller(id: ChipId): Controller | undefined;
  /** Decodes chip images and vCPU images. */
  decode(images: readonly ChipImage[]): { chips: C; vcpus?: V[] };
  /** Encodes chips, in the order in which they are to be written back. */
  encode(chips: C): ChipImage[];
  /** Encodes the state of a vCPU. */
  encodeVcpu(state: V): ChipImage;
}

/** The lines that a device can raise. */
export interface Lines {
  /** GSIs that the default routing takes somewhere: 0 to `count - 1`. */
  readonly count: number;
  readonly description: string;
  /**
   * The GSIs that a word names: one, or a range.
   *
   * @throws KvmIrqError `bad-gsi`.
   */
  parse(word: string): Gsi[];
}

/** A field of a message as an option of a command line. A number where it has a range, a flag without a value. */
export interface MsiField {
  /** As commander takes it: `--dest <id>`. */
  flags: string;
  description: string;
  choices?: readonly string[];
  /** The most that it can be. */
  most?: number;
}

/** What the bits of a message mean. */
export interface MsiFormat<M> {
  /** What addresses and data there are, as help says it. */
  readonly words: Readonly<Record<"address" | "data", string>>;
  /** The fields that a message can be composed of. */
  readonly fields: readonly MsiField[];
  /**
   * Composes a message. @param given the values of {@link fields}, by the names that commander gives options.
   *
   * @returns nothing where one is missing that has no default.
   */
  compose(given: Readonly<Record<string, unknown>>): MsiMessage | undefined;
  /** @throws KvmIrqError `bad-msi` for a message that goes to no interrupt controller. */
  check(message: MsiMessage): void;
  decode(message: MsiMessage): M;
  encode(fields: M): MsiMessage;
  /** A message on one line. */
  describe(message: MsiMessage): string;
}

/** What explaining and finding may know beside the state. */
export interface ExplainOptions {
  /** Where GSIs go. When not given: as {@link possibleRoutings} has it. */
  routing?: NamedRouting | undefined;
  /** Whether a guest may run. When not given: no for a session's or scratch VM, else yes. */
  guest?: boolean | undefined;
  /** The VM, as the commands of remedies are to name it. When not given, they are lines of a script. */
  address?: VmAddress | undefined;
}

/** What the manual says about a state. */
export interface Diagnosis<C extends Chips = Chips> {
  explain(snapshot: Snapshot<C>, gsi: Gsi, options?: ExplainOptions): Explanation;
  explainAll(snapshot: Snapshot<C>, options?: ExplainOptions): Explanation[];
  findings(snapshot: Snapshot<C>, previous?: Snapshot<C>, options?: ExplainOptions): Finding[];
  /** The GSIs whose line rose between two readings, as far as the chips tell. */
  risen(before: C, after: C, routes: readonly PinRoute[]): Gsi[];
  /** Whether a guest may run on a snapshot's vCPUs. */
  mayRun(snapshot: Snapshot<C>, options: ExplainOptions): boolean;
  /** Whether a VM's vCPUs have a guest, and none of them is being run. */
  isPaused(snapshot: Snapshot<C>, options: ExplainOptions): boolean;
}

/** What a panel of the live view needs to know of the last reading beside the state itself. */
export interface Marks {
  view: View;
  /** Highlights text when a field changed; without colours a star does. Paths as in a difference. */
  mark(text: string, ...paths: string[]): string;
  /** Whether a field, or anything below it, changed. */
  changed(path: string): boolean;
  /** The GSIs that go to a pin, as text. */
  gsis(chip: string, pin: Pin): string;
  /** The rises that were seen of the GSIs that go to a pin, highlighted when there is a new one. */
  edges(chip: string, pin: Pin): string;
}

/** How chips are shown. */
export interface Panels {
  /** A dump's sections: a chip or a vCPU each. @param gsis the GSIs that go to a pin, as text. */
  sections(snapshot: Snapshot, gsis: Marks["gsis"], view: View): string[];
  /** Its own facts, a section each, as far as a snapshot has them. */
  facts(snapshot: Snapshot, view: View): string[];
  /** What the live view can show, in the order of its keys. */
  readonly tabs: readonly string[];
  /** The chips of a tab in so many lines; none where the snapshot lacks them. */
  live(tab: string, chips: Chips, room: number, marks: Marks): string[] | undefined;
}

/** Which interrupts a trace is about: those of these lines and those of these vectors; all of them without any. */
export interface Scope {
  gsis: readonly number[];
  vectors: readonly number[];
}

/** Events, and the line that each is about; without lines all of them belong to the scope. */
export interface Learned {
  events: readonly TraceEvent[];
  lines?: readonly (number | undefined)[];
}

/** Sorts out events that are not about the interrupts asked for, learning on the way which vectors their lines have. */
export interface EventFilter {
  /** Whether there is nothing to sort out. */
  readonly takesAll: boolean;
  /** Learns from events in the order of time, those of earlier calls included. */
  learn(events: readonly TraceEvent[]): Learned;
  /** Those that belong to the scope, as far as has been learned until now. */
  pick(learned: Learned): readonly TraceEvent[];
}

/** What KVM's tracepoints tell of interrupts. */
export interface Events {
  /** Records those that belong to a scope: `record` of `tracefs/`, which knows no interrupt. */
  record(
    options: RecordOptions & { scope: Scope },
    onEvent: (event: TraceEvent) => void,
  ): Promise<TraceSummary>;
  filter(scope: Scope): EventFilter;
  /** @param onChain gets each chain once it is over. What is kept does not grow with the trace. */
  joiner(onChain: (chain: Chain) => void): Joiner;
  /** What an event says, in few words. */
  detail(event: TraceEvent): string;
  /** The line that an event raises or lowers, if it does. */
  lineOf(event: TraceEvent): { gsi: Gsi; level: number } | undefined;
}

/** What reading the memory of this host's kernel rests on. */
export interface KernelHost {
  /** The values of an enum by name; `undefined` for one that this kernel lacks. */
  enumOf(name: string): ReadonlyMap<string, number> | undefined;
  /** Whether a structure has a field. */
  has(type: string, path: string): boolean;
  /** The module that drives the CPU: one of {@link KernelMemory.vendors}; `undefined` where that can't be told. */
  vendor: string | undefined;
  /** CLOCK_MONOTONIC when it was read. */
  nowNs: bigint;
}

/** What was read of a VM. */
export interface VmMemory {
  /** What {@link KernelMemory.vm} is. */
  arch: unknown;
  /** By vCPU number: what {@link KernelMemory.vcpu} is, what the module keeps, and `kvm_vcpu.mode`. */
  vcpus: ReadonlyMap<number, { arch: unknown; vendor: unknown; mode: number }>;
}

/** The controllers in the memory of the kernel that has them. */
export interface KernelMemory {
  /** `struct kvm_arch`. */
  readonly vm: Structure;
  /** `struct kvm_vcpu_arch`. */
  readonly vcpu: Structure;
  /** What modules that drive a CPU keep around a `struct kvm_vcpu`, by the module's name. */
  readonly vendors: Readonly<Record<string, MemoryField>>;
  irqchip(vm: VmMemory): KernelIrqchip | undefined;
  /**
   * The input that a route of `KVM_IRQ_ROUTING_IRQCHIP` leads to, by the chip's number in `struct kvm_irqchip`.
   *
   * @returns nothing for a chip that is not known.
   */
  input(irqchip: number, pin: number): { chip: string; pin: number } | undefined;
  /** Its own facts by their names, and why it has not all of those that were asked for. */
  facts(names: readonly string[], vm: VmMemory, host: KernelHost): { facts: Facts; unknown: Unknown };
  /**
   * The bytes that ioctls would give of a chip or a vCPU.
   *
   * @returns nothing for what the VM does not have. `unread`: the paths of decoded fields that the memory does not
   *   tell.
   */
  image(
    id: ChipId,
    vm: VmMemory,
    host: KernelHost,
  ): { bytes: Uint8Array; unread?: readonly string[] } | undefined;
}

/** The chips in software. */
export interface Model {
  make(vcpus: number): Machine;
  /** What of saved state the model takes for something else. */
  misreads(images: readonly ChipImage[]): string | undefined;
}
