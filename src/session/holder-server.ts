import { createServer, type Server, type Socket } from "node:net";
import { JSONRPCErrorException, JSONRPCServer } from "json-rpc-2.0";
import { asKnown } from "../abi/system-error.ts";
import { type Machine, setIrqLines } from "../machine/machine.ts";
import { holderMethods, type TransientLines } from "./holder-methods.ts";
import { APPLICATION_ERROR, type SessionInfo } from "./protocol.ts";
import { readLines, sendLine } from "./wire.ts";

/** How long a client may take to send one request whole. */
const LINE_TIMEOUT_MS = 10_000;
/** JSON-RPC's "invalid request". */
const INVALID_REQUEST = -32600;

export interface ServerEvents {
  /** A client called. */
  onCall(): void;
  /** A client asked for the end, and has its answer. */
  onDestroy(): void;
}

/**
 * Serves a machine over JSON-RPC. A client that sends garbage, too much or too slowly gets an error and,
 * for the latter two, a closed socket; one that goes away has its transient lines lowered.
 */
export function createHolderServer(machine: Machine, info: SessionInfo, events: ServerEvents): Server {
  const rpc = new JSONRPCServer<{ lines: TransientLines }>({ errorListener: () => {} });
  const methods = holderMethods(machine, info, () => setImmediate(events.onDestroy));
  for (const [name, method] of Object.entries(methods)) {
    rpc.addMethod(name, (params, { lines }) => {
      events.onCall();
      try {
        return method(params, lines);
      } catch (error) {
        throw rpcError(error, info);
      }
    });
  }
  return createServer((socket) => serve(socket, rpc, machine));
}

function serve(socket: Socket, rpc: JSONRPCServer<{ lines: TransientLines }>, machine: Machine): void {
  const lines: TransientLines = new Set();
  socket.on("error", () => socket.destroy());
  socket.on("close", () =>
    setIrqLines(
      machine,
      [...lines].map((gsi) => ({ gsi, level: 0 })),
    ),
  );
  readLines(socket, {
    lineTimeoutMs: LINE_TIMEOUT_MS,
    onLine(line) {
      rpc.receiveJSON(line, { lines }).then((response) => {
        if (response !== null && socket.writable) sendLine(socket, response);
      });
    },
    onRefuse(reason) {
      const message = `a request that is ${reason}`;
      sendLine(socket, { jsonrpc: "2.0", id: null, error: { code: INVALID_REQUEST, message } });
      socket.destroySoon();
    },
  });
}

function rpcError(error: unknown, { name }: SessionInfo): JSONRPCErrorException {
  const known = asKnown(error).at({ options: ["-s", name] });
  return new JSONRPCErrorException(known.message, APPLICATION_ERROR, known.toJSON());
}
