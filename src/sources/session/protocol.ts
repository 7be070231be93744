import type { PresetName } from "../../arch/x86/presets.ts";
import type { ChipId, ChipImage, InjectionStatus, LineStep } from "../../vm/chip.ts";
import type { GuestProgram, GuestState } from "../../vm/guest.ts";
import type { IrqfdAction, IrqfdState } from "../../vm/irqfd.ts";
import type { Backend, Irqchip } from "../../vm/machine.ts";
import type { MsiMessage, Routing } from "../../vm/routing.ts";
import type { SnapshotHost } from "../../vm/snapshot.ts";
import type { SavedState, Start } from "../../vm/start.ts";

/** The number of this protocol: whatever an older client or holder would misunderstand raises it. */
export const PROTOCOL = 2;

/** What `create` asks a holder to be. Goes to the holder's process on its stdin, in JSON. */
export interface HolderConfig {
  name: string;
  backend: Backend;
  vcpus: number;
  start: PresetName | WireState;
  /** What runs on vCPU 0. */
  guest?: GuestProgram;
  irqchip?: Irqchip;
  /** End after this long without a client. */
  ttlMs?: number;
  /** Take the name from the session that has it, once this one is as it should be. */
  replace?: boolean;
}

/** A living session, as `list --json` shows it. */
export interface SessionInfo {
  name: string;
  /** {@link PROTOCOL} of the holder. */
  protocol: number;
  backend: Backend;
  pid: number;
  vcpus: number;
  /** The state that it started in by name, or the file that the state came from. */
  preset?: PresetName;
  from?: string;
  created_at: string;
  ttl_ms?: number;
  host: SnapshotHost;
  irqchip: Irqchip;
  routing: Routing;
  guest?: GuestState;
}

/** The methods of a holder: what each takes and gives. Bytes travel as base64. */
export interface HolderMethods {
  describe: { params: Record<string, never>; result: SessionInfo };
  /** The same for one who passes by: it does not put off the end that `ttlMs` sets. */
  peek: { params: Record<string, never>; result: SessionInfo };
  readChips: { params: { ids: readonly ChipId[] }; result: { images: WireImage[] } };
  writeChips: { params: { images: WireImage[]; expected: WireImage[] }; result: Record<string, never> };
  setIrqLines: {
    params: { steps: readonly LineStep[]; transient: boolean };
    result: { statuses: InjectionStatus[] };
  };
  signalMsis: { params: { messages: readonly MsiMessage[] }; result: { statuses: InjectionStatus[] } };
  setRouting: { params: { routing: Routing }; result: Record<string, never> };
  irqfd: { params: { action: IrqfdAction }; result: { irqfds: IrqfdState[] } };
  destroy: { params: Record<string, never>; result: Record<string, never> };
}

export interface WireImage {
  id: ChipId;
  base64: string;
}

/** A saved state on its way to a holder. */
export type WireState = Omit<SavedState, "images"> & { images: WireImage[] };

/** JSON-RPC's code for an error of the server's own; its `data` is a `KvmIrqError` as JSON. */
export const APPLICATION_ERROR = -32000;

export function toWire({ id, bytes }: ChipImage): WireImage {
  return { id, base64: Buffer.from(bytes).toString("base64") };
}

export function fromWire({ id, base64 }: WireImage): ChipImage {
  return { id, bytes: Buffer.from(base64, "base64") };
}

export function startToWire(start: Start): PresetName | WireState {
  return typeof start === "string" ? start : { ...start, images: start.images.map(toWire) };
}

export function startFromWire(start: PresetName | WireState): Start {
  return typeof start === "string" ? start : { ...start, images: start.images.map(fromWire) };
}

/** The file name of the holder's program, by which a holder is known in a process list. */
export const HOLDER_PROGRAM = "kvm-irq-holder";

/** The descriptor of the pipe on which a holder tells `create` that it is ready, or why it can't be. */
export const READY_FD = 3;

/** What comes through the pipe, as one line of JSON. */
export type ReadyMessage = { ready: SessionInfo } | { exists: true } | { error: object };
