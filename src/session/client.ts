import { connect, type Socket } from "node:net";
import { JSONRPCClient, JSONRPCErrorException } from "json-rpc-2.0";
import { KvmIrqError } from "../abi/error.ts";
import { APPLICATION_ERROR, type HolderMethods } from "./protocol.ts";
import { lookUp, type Registration, sweep } from "./registry.ts";
import { readLines, sendLine } from "./wire.ts";

/** How long a holder may take to answer. Its requests take milliseconds, so it is stopped or worse. */
const ANSWER_TIMEOUT_MS = 10_000;

/** A connection to a session's holder. */
export class SessionClient {
  readonly registration: Registration;
  readonly #socket: Socket;
  readonly #rpc: JSONRPCClient;
  readonly #timeoutMs: number;

  private constructor(registration: Registration, socket: Socket, timeoutMs: number) {
    this.registration = registration;
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.#rpc = new JSONRPCClient((request) => sendLine(socket, request));
    readLines(socket, {
      onLine: (line) => this.#rpc.receive(JSON.parse(line)),
      onRefuse: () => socket.destroy(),
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#rpc.rejectAllPendingRequests("closed"));
  }

  /**
   * Connects to a session.
   *
   * @throws KvmIrqError `no-session` when there is none of that name; `session-gone` when its holder died,
   *   after sweeping up what it left.
   */
  static async open(name: string, timeoutMs: number = ANSWER_TIMEOUT_MS): Promise<SessionClient> {
    const registration = lookUp(name);
    if (registration === undefined) throw noSession(name);
    return SessionClient.connect(registration, timeoutMs);
  }

  /** Connects to a registered socket; see {@link SessionClient.open}. */
  static async connect(
    registration: Registration,
    timeoutMs: number = ANSWER_TIMEOUT_MS,
  ): Promise<SessionClient> {
    const socket = connect(registration.path);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      });
    } catch (error) {
      throw connectError(registration, error as NodeJS.ErrnoException);
    }
    socket.removeAllListeners();
    return new SessionClient(registration, socket, timeoutMs);
  }

  /**
   * Calls a method of the holder.
   *
   * @throws KvmIrqError what the holder refused with; `session-gone` when it ended meanwhile;
   *   `session-busy` when it does not answer.
   */
  async call<M extends keyof HolderMethods>(
    method: M,
    params: HolderMethods[M]["params"],
  ): Promise<HolderMethods[M]["result"]> {
    // A request that is made after the end gets no answer and no "close" either.
    if (this.#socket.destroyed) throw gone(this.registration, "has ended");
    const { name, pid } = this.registration;
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(
          new KvmIrqError("session-busy", `the holder of session '${name}' (pid ${pid}) does not answer`, {
            hint: `it may be stopped: \`kill -CONT ${pid}\` lets it go on, \`kvm-irq destroy ${name}\` ends it`,
          }),
        );
      }, this.#timeoutMs);
    });
    try {
      return (await Promise.race([this.#rpc.request(method, params), silence])) as HolderMethods[M]["result"];
    } catch (error) {
      throw this.#translate(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Resolves once the holder has closed the connection, which it does when it ends. */
  async ended(): Promise<void> {
    if (this.#socket.closed) return;
    await new Promise<void>((resolve) => this.#socket.once("close", resolve));
  }

  close(): void {
    this.#socket.destroy();
  }

  #translate(error: unknown): unknown {
    if (error instanceof KvmIrqError) return error;
    if (error instanceof JSONRPCErrorException && error.code === APPLICATION_ERROR) {
      return KvmIrqError.fromJSON(error.data);
    }
    // The RPC library rejects what is under way when the socket closes, with an exception of its own.
    if (this.#socket.destroyed || !(error instanceof JSONRPCErrorException))
      return gone(this.registration, "has ended");
    return new KvmIrqError("internal", `the holder refused the request: ${error.message}`);
  }
}

function connectError(registration: Registration, error: NodeJS.ErrnoException): KvmIrqError {
  switch (error.code) {
    case "ECONNREFUSED":
      sweep(registration);
      return gone(registration, "died");
    case "ENOENT":
      return noSession(registration.name);
    default:
      return new KvmIrqError(
        "session-busy",
        `session '${registration.name}' can't be reached: ${error.message}`,
      );
  }
}

/** @param how what is known of its holder's end: one that left its socket died, one that hung up may have been told to. */
function gone({ name, pid }: Registration, how: "died" | "has ended"): KvmIrqError {
  return new KvmIrqError("session-gone", `session '${name}' is gone: its holder (pid ${pid}) ${how}`, {
    hint: `\`kvm-irq create ${name}\` makes a new one; its VM's state is lost`,
    details: { session: name, pid },
  });
}

function noSession(name: string): KvmIrqError {
  return new KvmIrqError("no-session", `there is no session '${name}'`, {
    hint: `\`kvm-irq create${name === "default" ? "" : ` ${name}`}\` makes it, \`kvm-irq list\` shows those there are`,
    details: { session: name },
  });
}
