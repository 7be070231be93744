import { connect, type Socket } from "node:net";
import { KvmIrqError } from "../../abi/error.ts";
import { operation } from "../../vm/operations.ts";
import { APPLICATION_ERROR, isRefusal, isReply, METHOD_NOT_FOUND } from "./frames.ts";
import {
  decode,
  encode,
  isOperation,
  isResult,
  type Method,
  type ParamsOf,
  PROTOCOL,
  type ResultOf,
} from "./protocol.ts";
import { lookUp, type Registration, sweep, withSocketPath } from "./registry.ts";
import { readFrames, sendFrame } from "./wire.ts";

/** How long a holder may take to answer. Its requests take milliseconds, so it is stopped or worse. */
const ANSWER_TIMEOUT_MS = 10_000;
/** How long it may take once the user has given up: enough for one that lives to lower a line. */
const LAST_ANSWER_MS = 500;

export interface ClientOptions {
  /** How long an answer may take, in milliseconds. */
  timeoutMs?: number;
  /** Aborted when the user has given up. */
  signal?: AbortSignal | undefined;
}

interface Call {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** A connection to a session's holder. Nothing that the holder says is believed before it was checked. */
export class SessionClient {
  readonly registration: Registration;
  readonly #socket: Socket;
  readonly #options: ClientOptions;
  readonly #calls = new Map<number, Call>();
  #lastId = 0;
  #spoken = false;

  private constructor(registration: Registration, socket: Socket, options: ClientOptions) {
    this.registration = registration;
    this.#socket = socket;
    this.#options = options;
    readFrames(socket, {
      onFrame: (frame) => this.#receive(frame),
      onRefuse: (reason) => this.#fail(this.#garbled(`an answer that is ${reason}`)),
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#fail(gone(registration, "has ended")));
  }

  /**
   * Connects to a session.
   *
   * @throws KvmIrqError `no-session` when there is none of that name; `session-gone` when its holder died,
   *   after sweeping up what it left.
   */
  static async open(name: string, options: ClientOptions = {}): Promise<SessionClient> {
    const registration = lookUp(name);
    if (registration === undefined) throw noSession(name);
    return SessionClient.connect(registration, options);
  }

  /** Connects to a registered socket; see {@link SessionClient.open}. */
  static async connect(registration: Registration, options: ClientOptions = {}): Promise<SessionClient> {
    const socket = withSocketPath(registration.path, (path) => connect(path));
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      });
    } catch (error) {
      throw connectError(registration, error as NodeJS.ErrnoException);
    }
    socket.removeAllListeners();
    return new SessionClient(registration, socket, options);
  }

  /**
   * Calls a method of the holder.
   *
   * @throws KvmIrqError what the holder refused with; `session-gone` when it ended meanwhile; `session-busy`
   *   when it does not answer; `session-protocol` when it is of another version, or answers nonsense;
   *   `interrupted` when it does not answer and the user has given up.
   */
  async call<M extends Method>(method: M, params: ParamsOf<M>): Promise<ResultOf<M>> {
    const describes = method === "describe" || method === "peek";
    // Any version's holder can be ended.
    if (!describes && method !== "destroy" && !this.#spoken) await this.call("describe", {});
    const answer = await this.#request(method, encode(method, params));
    if (describes && (answer as { protocol?: unknown } | null)?.protocol !== PROTOCOL) {
      throw otherVersion(this.registration.name);
    }
    this.#spoken ||= describes;
    if (!isResult(method, answer)) throw this.#garbled("nonsense");
    const result = decode(method, answer) as ResultOf<M>;
    const { answers } = isOperation(method) ? operation(method) : {};
    if (answers?.(params as never, result as never) === false) {
      throw this.#garbled("something else than was asked for");
    }
    return result;
  }

  /**
   * Resolves once the holder has closed the connection, which it does when it ends.
   *
   * @param ms how long that may take; no limit by default. @throws KvmIrqError `session-busy` after that.
   */
  async ended(ms?: number): Promise<void> {
    if (this.#socket.closed) return;
    await new Promise<void>((resolve, reject) => {
      const late = () => this.#busy("does not end").then(reject);
      const timer = ms === undefined ? undefined : setTimeout(late, ms);
      this.#socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** The holder's process id by the kernel's word; see {@link peerPid}. */
  async peerPid(): Promise<number | undefined> {
    const fd = (this.#socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1;
    if (fd < 0) return undefined;
    const { peerPid } = await import("../../os/peer.ts");
    return peerPid(fd);
  }

  close(): void {
    this.#socket.destroy();
  }

  async #request(method: string, params: unknown): Promise<unknown> {
    // A request that is made after the end gets no answer and no "close" either.
    if (this.#socket.destroyed) throw gone(this.registration, "has ended");
    const { timeoutMs = ANSWER_TIMEOUT_MS, signal } = this.#options;
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    const giveUp = (error: Error) => this.#settle(id)?.reject(error);
    let timer = setTimeout(() => this.#busy("does not answer").then(giveUp), timeoutMs);
    const hurry = () => {
      clearTimeout(timer);
      timer = setTimeout(() => giveUp(interrupted(this.registration)), LAST_ANSWER_MS);
    };
    if (signal?.aborted) hurry();
    signal?.addEventListener("abort", hurry);
    sendFrame(this.#socket, { jsonrpc: "2.0", id, method, params });
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", hurry);
    }
  }

  #receive(frame: unknown): void {
    if (!isReply(frame)) {
      this.#fail(this.#garbled(frame === undefined ? "what is not JSON" : "what is not JSON-RPC"));
      return;
    }
    if ("result" in frame) this.#settle(frame.id)?.resolve(frame.result);
    else if (frame.id === null) this.#fail(this.#refused(frame.error));
    else this.#settle(frame.id)?.reject(this.#refused(frame.error));
  }

  /** Takes a call off the list. One that nobody waits for is none of ours: a reply that was not asked for. */
  #settle(id: number): Call | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  /** Ends the connection and all calls. */
  #fail(error: Error): void {
    for (const id of [...this.#calls.keys()]) this.#settle(id)?.reject(error);
    this.#socket.destroy();
  }

  #refused({ code, message, data }: { code: number; message: string; data?: unknown }): KvmIrqError {
    if (code === METHOD_NOT_FOUND) return otherVersion(this.registration.name);
    if (code === APPLICATION_ERROR && isRefusal(data)) return KvmIrqError.fromJSON(data);
    return this.#garbled(`an error: ${message}`);
  }

  #garbled(what: string): KvmIrqError {
    const { name } = this.registration;
    return new KvmIrqError("session-protocol", `the holder of session '${name}' answers ${what}`, {
      hint: recreate(name),
      details: { session: name },
    });
  }

  async #busy(what: string): Promise<KvmIrqError> {
    const { name } = this.registration;
    const pid = await this.peerPid().catch(() => undefined);
    const resume = pid ? `\`kill -CONT ${pid}\` resumes it, ` : "";
    return new KvmIrqError(
      "session-busy",
      `the holder of session '${name}'${pid ? ` (pid ${pid})` : ""} ${what}`,
      {
        hint: `it may be stopped: ${resume}\`kvm-irq destroy ${name}\` ends it`,
        details: { session: name, ...(pid && { pid }) },
      },
    );
  }
}

function connectError(registration: Registration, error: NodeJS.ErrnoException): KvmIrqError {
  const { name } = registration;
  switch (error.code) {
    case "ECONNREFUSED":
      sweep(registration);
      return gone(registration, "died");
    case "ENOENT":
      return noSession(name);
    case "EAGAIN":
      return new KvmIrqError(
        "session-busy",
        `session '${name}' takes no more clients: its holder is stopped`,
        { hint: `\`kvm-irq destroy ${name}\` ends it` },
      );
    default:
      return new KvmIrqError("session-busy", `session '${name}' can't be reached: ${error.message}`);
  }
}

/** @param how what is known of its holder's end: one that left its socket died, one that hung up may have been told to. */
function gone({ name, pid }: Registration, how: "died" | "has ended"): KvmIrqError {
  return new KvmIrqError("session-gone", `session '${name}' is gone: its holder (pid ${pid}) ${how}`, {
    hint: `\`kvm-irq create ${name}\` makes a new one; its VM's state is lost`,
    details: { session: name, pid },
  });
}

function interrupted({ name }: Registration): KvmIrqError {
  return new KvmIrqError("interrupted", `interrupted: the holder of session '${name}' does not answer`);
}

function otherVersion(name: string): KvmIrqError {
  return new KvmIrqError("session-protocol", `session '${name}' was made by another version of kvm-irq`, {
    hint: recreate(name),
    details: { session: name },
  });
}

function recreate(name: string): string {
  return `recreate the session: \`kvm-irq create ${name} --replace\``;
}

/** @returns the error for a name that no session has. */
export function noSession(name: string): KvmIrqError {
  return new KvmIrqError("no-session", `there is no session '${name}'`, {
    hint: `\`kvm-irq create${name === "default" ? "" : ` ${name}`}\` makes it, \`kvm-irq list\` shows those there are`,
    details: { session: name },
  });
}
