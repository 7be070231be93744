import { createServer, type Server, type Socket } from "node:net";
import { KvmIrqError } from "../../abi/error.ts";
import { asKnown } from "../../os/system-error.ts";
import { type Machine, setIrqLines } from "../../vm/machine.ts";
import { carryOut } from "../../vm/operations.ts";
import { APPLICATION_ERROR, isRequest, METHOD_NOT_FOUND } from "./frames.ts";
import {
  decode,
  encode,
  isMethod,
  isOperation,
  isParams,
  type Method,
  type SessionInfo,
  sessionIdentity,
} from "./protocol.ts";
import { readFrames, sendFrame } from "./wire.ts";

/** How long a client may take to send one request whole. */
const FRAME_TIMEOUT_MS = 10_000;
/** How long a client may leave answers unread: one that Ctrl-Z stopped may go on. */
const DRAIN_TIMEOUT_MS = 60_000;
/** How long a client that is turned away may take to read why. */
const LAST_WORD_MS = 1_000;
/**
 * The most clients at a time, each of which may have a request of a megabyte half sent. One more takes the place
 * of one that has sent no request yet.
 */
export const MAX_CLIENTS = 128;

/** Codes of the JSON-RPC 2.0 specification, section 5.1. */
const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;

export interface ServerEvents {
  /** A client that does more than to pass by has called, the first of those that are connected. */
  onUse(): void;
  /** The last such client has gone. */
  onIdle(): void;
  /** A client asked for the end, and has its answer. */
  onDestroy(): void;
}

/**
 * Serves a machine over JSON-RPC. A client that sends garbage gets an error; one that sends too much or too
 * slowly, or does not take its answers, gets an error and a closed socket; one that goes away has its
 * transient lines lowered.
 */
export function createHolderServer(machine: Machine, info: SessionInfo, events: ServerEvents): Server {
  const perform = performer(machine, info, () => setImmediate(events.onDestroy));
  const clients = new Set<Socket>();
  /** Those whose first request is not there yet. */
  const strangers = new Set<Socket>();
  const users = new Set<Socket>();
  const use = (socket: Socket) => {
    if (users.size === 0) events.onUse();
    users.add(socket);
  };
  return createServer((socket) => {
    socket.on("error", () => socket.destroy());
    if (clients.size >= MAX_CLIENTS) {
      const busy = `session '${info.name}' has ${MAX_CLIENTS} clients, which is the most`;
      const [stranger = socket] = strangers;
      turnAway(stranger, failure(null, new KvmIrqError("session-busy", busy), info.name));
      if (stranger === socket) return;
      strangers.delete(stranger);
      clients.delete(stranger);
    }
    clients.add(socket);
    strangers.add(socket);
    socket.on("close", () => {
      strangers.delete(socket);
      clients.delete(socket);
      if (users.delete(socket) && users.size === 0) events.onIdle();
    });
    serve(
      socket,
      {
        name: info.name,
        perform,
        lines: new Set(),
        onRequest: () => strangers.delete(socket),
        onUse: () => use(socket),
      },
      machine,
    );
  });
}

/** Carries out a request. @param lines those that its client holds high for the moment. */
type Perform = (method: Method, params: unknown, lines: Set<number>) => object;

/**
 * What a holder does for each request. All of it is synchronous, so requests are carried out one at a time and
 * never interleave.
 *
 * @param onDestroy called once the answer to `destroy` is on its way.
 */
function performer(machine: Machine, info: SessionInfo, onDestroy: () => void): Perform {
  const identity = sessionIdentity(info);
  return (method, params = {}, lines) => {
    if (!isParams(method, params)) {
      throw new KvmIrqError("bad-input", `these are no parameters of ${method}`);
    }
    if (isOperation(method)) {
      const given = carryOut(method, machine, decode(method, params) as never, identity, lines);
      return encode(method, given);
    }
    if (method === "destroy") {
      onDestroy();
      return {};
    }
    const { guest, routing } = machine;
    return { ...info, routing, ...(guest === undefined ? {} : { guest }) };
  };
}

/** What the answers to one client depend on. */
interface Service {
  name: string;
  perform: Perform;
  lines: Set<number>;
  /** It sent a request. */
  onRequest(): void;
  onUse(): void;
}

function serve(socket: Socket, service: Service, machine: Machine): void {
  socket.on("close", () =>
    setIrqLines(
      machine,
      [...service.lines].map((gsi) => ({ gsi, level: 0 })),
    ),
  );
  readFrames(socket, {
    frameTimeoutMs: FRAME_TIMEOUT_MS,
    drainTimeoutMs: DRAIN_TIMEOUT_MS,
    onFrame: (frame) => sendFrame(socket, answer(frame, service)),
    onRefuse: (reason) => turnAway(socket, refusal(null, INVALID_REQUEST, `a request that is ${reason}`)),
  });
}

type Id = number | string | null;

/** The answer to one message. @returns an error for whatever it is not good for; never throws. */
function answer(frame: unknown, { name, perform, lines, onRequest, onUse }: Service): object {
  if (frame === undefined) return refusal(null, PARSE_ERROR, "not JSON");
  if (!isRequest(frame))
    return refusal(null, INVALID_REQUEST, "not a request of JSON-RPC 2.0, one alone and with an id");
  const { id, method, params } = frame;
  onRequest();
  if (!isMethod(method)) return refusal(id, METHOD_NOT_FOUND, "there is no such method");
  if (method !== "peek") onUse();
  try {
    return { jsonrpc: "2.0", id, result: perform(method, params, lines) };
  } catch (error) {
    return failure(id, error, name);
  }
}

function failure(id: Id, error: unknown, name: string): object {
  const known = asKnown(error).at({ options: ["-s", name] });
  return refusal(id, APPLICATION_ERROR, known.message, known.toJSON());
}

function refusal(id: Id, code: number, message: string, data?: object): object {
  return { jsonrpc: "2.0", id, error: { code, message, ...(data && { data }) } };
}

/** Says why and hangs up, even on a client that reads nothing. */
function turnAway(socket: Socket, why: object): void {
  sendFrame(socket, why);
  socket.destroySoon();
  const timer = setTimeout(() => socket.destroy(), LAST_WORD_MS);
  socket.once("close", () => clearTimeout(timer));
}
