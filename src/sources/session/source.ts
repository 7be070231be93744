import { isAble, type Operation, type Params, type Result, unsupported } from "../../vm/operations.ts";
import { type Identity, ownReading, ownWish, type Reading, type Wanted } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";
import { SessionClient } from "./client.ts";
import { type SessionInfo, sessionIdentity } from "./protocol.ts";

/** A session's VM, through its holder. */
export class SessionSource implements Source {
  readonly identity: Identity;
  readonly #client: SessionClient;
  readonly #info: SessionInfo;

  private constructor(client: SessionClient, info: SessionInfo) {
    this.#client = client;
    this.#info = info;
    this.identity = sessionIdentity(info);
  }

  /** @param signal aborted when the user gives up. @throws KvmIrqError `no-session`, `session-gone`. */
  static async open(name: string, signal?: AbortSignal): Promise<SessionSource> {
    const client = await SessionClient.open(name, { signal });
    try {
      return new SessionSource(client, await client.call("describe", {}));
    } catch (error) {
      client.close();
      throw error;
    }
  }

  can(operation: Operation): boolean {
    const { backend, guest } = this.#info;
    return isAble({ setRouting: true, guest, irqfd: backend === "kvm" || undefined }, operation);
  }

  async read(wanted: Wanted): Promise<Reading> {
    return ownReading(this.identity, await this.#client.call("readChips", ownWish(wanted)), wanted);
  }

  async perform<N extends Operation>(operation: N, params: Params<N>): Promise<Result<N>> {
    if (!this.can(operation)) throw unsupported(operation, this.identity);
    return this.#client.call(operation, params as never) as Promise<Result<N>>;
  }

  ended(): Promise<void> {
    return this.#client.ended();
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}
