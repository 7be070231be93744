import { EXIT_STATUS } from "../../abi/error.ts";
import { either, exactly, integer, keyOf, object, only, text, word } from "../../vm/shapes.ts";

/** The messages of JSON-RPC 2.0, on either side of the socket: whatever differs is refused before it is used. */

const version = exactly("2.0");

/** A request; one without an id would have no answer, and is none here. */
export interface Request {
  id: number | string;
  method: string;
  params?: unknown;
}

const request = only({ jsonrpc: version, id: either(integer, word), method: word }, { params: () => true });

export function isRequest(frame: unknown): frame is Request {
  return request(frame);
}

/** An answer. The id is null where the request's could not be read. */
export type Reply =
  | { id: number; result: unknown }
  | { id: number | null; error: { code: number; message: string; data?: unknown } };

const success = only({ jsonrpc: version, id: integer, result: () => true });
const failure = only({
  jsonrpc: version,
  id: either(integer, exactly(null)),
  error: object({ code: integer, message: text }),
});

/** Whether a message is an answer: a result or an error, not both. */
export function isReply(frame: unknown): frame is Reply {
  return success(frame) || failure(frame);
}

/** The error's code for a method that there is not: the specification's section 5.1. */
export const METHOD_NOT_FOUND = -32601;
/** An error's code for one of the server's own; its `data` is a `KvmIrqError` as JSON. */
export const APPLICATION_ERROR = -32000;

const refusal = object({ code: keyOf(EXIT_STATUS), message: text }, { hint: text });

/** Whether an error's data is a {@link KvmIrqError} as JSON. */
export function isRefusal(data: unknown): data is object {
  return refusal(data);
}
