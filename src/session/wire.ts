import type { Socket } from "node:net";

/** Messages on a holder's socket: JSON-RPC 2.0, one message a line. */

/** The longest line taken, in bytes. A dump of 255 local APICs has 350 KB. */
export const MAX_LINE = 4 * 1024 * 1024;

export interface LineOptions {
  /** How long a line may take to arrive whole, in milliseconds; none by default. */
  lineTimeoutMs?: number;
  onLine(line: string): void;
  /** The peer sent too long a line, or did not finish one in time; nothing more is read. */
  onRefuse(reason: "too long" | "too slow"): void;
}

/** Cuts what comes from a socket into lines. Memory is bounded by {@link MAX_LINE}. */
export function readLines(socket: Socket, { lineTimeoutMs, onLine, onRefuse }: LineOptions): void {
  let parts: Buffer[] = [];
  let size = 0;
  let timer: NodeJS.Timeout | undefined;
  const stopTimer = () => {
    clearTimeout(timer);
    timer = undefined;
  };
  const refuse = (reason: "too long" | "too slow") => {
    stopTimer();
    socket.off("data", onData);
    socket.resume();
    parts = [];
    onRefuse(reason);
  };
  const onData = (chunk: Buffer) => {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      if (size + end - start > MAX_LINE) return refuse("too long");
      const line = Buffer.concat([...parts, chunk.subarray(start, end)]).toString("utf8");
      parts = [];
      size = 0;
      start = end + 1;
      stopTimer();
      if (line.trim() !== "") onLine(line);
    }
    if (start === chunk.length) return;
    parts.push(chunk.subarray(start));
    size += chunk.length - start;
    if (size > MAX_LINE) return refuse("too long");
    if (lineTimeoutMs !== undefined) timer ??= setTimeout(() => refuse("too slow"), lineTimeoutMs);
  };
  socket.on("data", onData);
  socket.once("close", stopTimer);
}

/** Sends one message. */
export function sendLine(socket: Socket, message: unknown): void {
  socket.write(`${JSON.stringify(message)}\n`);
}
