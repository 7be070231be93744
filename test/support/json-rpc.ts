import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";

/** A client of a holder that sends whatever it likes. */
export class RawClient {
  readonly socket: Socket;
  #part = "";
  /** What has been answered so far, line by line, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into what came out, whatever it is
  readonly answers: any[] = [];

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on("error", () => {});
    this.socket.on("data", (chunk) => {
      const lines = `${this.#part}${chunk}`.split("\n");
      this.#part = lines.pop() ?? "";
      this.answers.push(...lines.map((line) => JSON.parse(line)));
    });
  }

  /** Sends, and waits until there is one more answer, or the end. @returns it. */
  // biome-ignore lint/suspicious/noExplicitAny: see above
  async ask(sent: string | Buffer): Promise<any> {
    const { length } = this.answers;
    this.socket.write(sent);
    while (this.answers.length === length && !this.socket.closed) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return this.answers[length];
  }

  close(): void {
    this.socket.destroy();
  }
}

/** One request as a line. */
export function request(method: string, params: unknown = {}, id: unknown = 1): string {
  return `${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`;
}

/** A process that listens where a holder should and answers as it likes; nothing when `answer` gives nothing. */
export async function fakeHolder(
  path: string,
  answer: (request: { id: number; method: string }) => unknown,
): Promise<Server> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      for (const line of chunk.toString().split("\n").slice(0, -1)) {
        const said = answer(JSON.parse(line));
        if (said === undefined) continue;
        const raw = typeof said === "string" || Buffer.isBuffer(said);
        socket.write(raw ? said : `${JSON.stringify(said)}\n`);
      }
    });
  }).listen(path);
  await once(server, "listening");
  return server;
}
