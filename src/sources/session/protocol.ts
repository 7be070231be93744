import { HOST_ARCH } from "../../arch/arches.ts";
import type { ChipId, ChipImage } from "../../vm/chip.ts";
import type { GuestProgram, GuestState } from "../../vm/guest.ts";
import { type Backend, IRQCHIPS, type Irqchip } from "../../vm/machine.ts";
import { OPERATIONS, type OperationName, operation, type Params, type Result } from "../../vm/operations.ts";
import { type Identity, ownIdentity } from "../../vm/reading.ts";
import type { Routing } from "../../vm/routing.ts";
import {
  count,
  empty,
  exactly,
  type Guard,
  guest,
  integer,
  keyOf,
  object,
  routing,
  text,
  upTo,
} from "../../vm/shapes.ts";
import type { SnapshotHost } from "../../vm/snapshot.ts";
import type { PresetName, SavedState, Start } from "../../vm/start.ts";

/** The number of this protocol: whatever an older client or holder would misunderstand raises it. */
export const PROTOCOL = 4;

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

/** The VM of a session. */
export function sessionIdentity({ name, backend, pid, vcpus, host, irqchip }: SessionInfo): Identity {
  const source = { kind: "session", name, backend, pid };
  return ownIdentity({ source, host, vcpus, irqchip, label: `session '${name}'` });
}

const info = object(
  {
    name: text,
    protocol: integer,
    backend: exactly("kvm", "model"),
    pid: count,
    vcpus: upTo(HOST_ARCH.maxVcpus),
    created_at: (value) => !Number.isNaN(Date.parse(String(value))),
    host: object({ kernel: text, arch: exactly(HOST_ARCH.name) }, { kvm_api_version: integer }),
    irqchip: keyOf(IRQCHIPS),
    routing,
  },
  { preset: keyOf(HOST_ARCH.presets.words), from: text, ttl_ms: Number.isFinite, guest },
);

/** What a holder is asked about itself. */
const OF_HOLDERS = {
  describe: info,
  /** The same for one who passes by: it does not put off the end that `ttlMs` sets. */
  peek: info,
  destroy: empty,
};

/** The methods of a holder: operations on its VM, and what it is asked about itself. */
export type Method = OperationName | keyof typeof OF_HOLDERS;
export type ParamsOf<M extends Method> = M extends OperationName ? Params<M> : Record<string, never>;
export type ResultOf<M extends Method> = M extends OperationName
  ? Result<M>
  : M extends "destroy"
    ? object
    : SessionInfo;

export function isOperation(method: string): method is OperationName {
  return Object.hasOwn(OPERATIONS, method);
}

export function isMethod(method: string): method is Method {
  return isOperation(method) || Object.hasOwn(OF_HOLDERS, method);
}

/** Whether a value is what a method takes, as it travels. */
export function isParams(method: Method, value: unknown): value is object {
  return (isOperation(method) ? operation(method).params : empty)(value);
}

/** Whether a value is what a method gives, as it travels. */
export function isResult(method: Method, value: unknown): value is object {
  const guard: Guard = isOperation(method) ? operation(method).result : OF_HOLDERS[method];
  return guard(value);
}

/** What a method takes or gives, as it travels. */
export function encode(method: Method, message: object): object {
  return convertImages(method, message, toWire);
}

/** The inverse of {@link encode}, for what was checked. */
export function decode(method: Method, message: object): object {
  return convertImages(method, message, fromWire);
}

function convertImages<From>(method: Method, message: object, convert: (image: From) => unknown): object {
  const fields = (isOperation(method) && operation(method).images) || [];
  const lists = Object.entries(message).filter(([name]) => fields.includes(name));
  return Object.assign(
    {},
    message,
    Object.fromEntries(lists.map(([name, list]) => [name, list.map(convert)])),
  );
}

interface WireImage {
  id: ChipId;
  base64: string;
}

/** A saved state on its way to a holder. */
export type WireState = Omit<SavedState, "images"> & { images: WireImage[] };

function toWire({ id, bytes }: ChipImage): WireImage {
  return { id, base64: Buffer.from(bytes).toString("base64") };
}

function fromWire({ id, base64 }: WireImage): ChipImage {
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
