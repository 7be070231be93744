import { isUtf8 } from "node:buffer";
import type { Socket } from "node:net";

/** Messages on a holder's socket: JSON-RPC 2.0, one message per line, in UTF-8, no batches. */

/**
 * The longest message, in bytes. The longest ones in use, 255 local APICs beside what they must hold before and
 * all chips and vCPUs of such a VM, have 700 KB.
 */
export const MAX_FRAME = 1024 * 1024;

export interface FrameOptions {
  /** How long a message may take to arrive whole, in milliseconds; no limit by default. */
  frameTimeoutMs?: number;
  /** How long the peer may leave what it was sent unread, in milliseconds; no limit by default. */
  drainTimeoutMs?: number;
  /** @param frame what the JSON says; `undefined` for what is not JSON in UTF-8. */
  onFrame(frame: unknown): void;
  /** The peer sent too long a message, or took too long; nothing more is read. */
  onRefuse(reason: "too long" | "too slow"): void;
}

/**
 * Cuts what comes from a socket into messages. Memory is bounded by {@link MAX_FRAME}: nothing more is read
 * while the peer leaves what it was sent unread.
 */
export function readFrames(socket: Socket, options: FrameOptions): void {
  const { frameTimeoutMs, drainTimeoutMs, onFrame, onRefuse } = options;
  /** The beginning of a message, in one piece: many small pieces would cost many times their bytes. */
  let kept = Buffer.alloc(0);
  let size = 0;
  let timer: NodeJS.Timeout | undefined;
  const stopTimer = () => {
    clearTimeout(timer);
    timer = undefined;
  };
  const startTimer = (ms: number | undefined) => {
    if (ms !== undefined) timer ??= setTimeout(() => refuse("too slow"), ms);
  };
  const refuse = (reason: "too long" | "too slow") => {
    stopTimer();
    socket.off("data", onData);
    socket.resume();
    onRefuse(reason);
  };
  const keep = (piece: Buffer) => {
    if (size + piece.length > kept.length) {
      kept = Buffer.concat([kept.subarray(0, size)], Math.min(MAX_FRAME, 2 * (size + piece.length)));
    }
    size += piece.copy(kept, size);
  };
  const takeKept = (last: Buffer) => {
    if (size === 0) return last;
    keep(last);
    const line = kept.subarray(0, size);
    kept = Buffer.alloc(0);
    size = 0;
    return line;
  };
  const waitForDrain = (rest: Buffer) => {
    socket.pause();
    if (rest.length > 0) socket.unshift(rest);
    startTimer(drainTimeoutMs);
    socket.once("drain", () => {
      stopTimer();
      socket.resume();
    });
  };
  const onData = (chunk: Buffer) => {
    for (let start = 0; start < chunk.length; ) {
      const end = chunk.indexOf(10, start);
      const piece = chunk.subarray(start, end === -1 ? chunk.length : end);
      if (size + piece.length > MAX_FRAME) return refuse("too long");
      if (end === -1) {
        keep(piece);
        return startTimer(frameTimeoutMs);
      }
      stopTimer();
      start = end + 1;
      const line = takeKept(piece);
      if (line.length > 0) onFrame(parseJson(line));
      if (socket.destroyed) return;
      if (socket.writableNeedDrain) return waitForDrain(chunk.subarray(start));
    }
  };
  socket.on("data", onData);
  socket.once("close", stopTimer);
}

function parseJson(line: Buffer): unknown {
  if (!isUtf8(line)) return undefined;
  try {
    return JSON.parse(line.toString("utf8"));
  } catch {
    return undefined;
  }
}

/** Sends one message. */
export function sendFrame(socket: Socket, message: unknown): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}
