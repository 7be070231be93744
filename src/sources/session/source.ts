import type { ChipId, ChipImage, InjectionStatus, LineStep } from "../../vm/chip.ts";
import type { IrqfdAction, IrqfdState } from "../../vm/irqfd.ts";
import type { MsiMessage, Routing } from "../../vm/routing.ts";
import type { LineOptions, Target, TargetInfo } from "../../vm/source.ts";
import { machineChips, ownRuns } from "../local/source.ts";
import { SessionClient } from "./client.ts";
import { fromWire, toWire } from "./protocol.ts";

/** A session's VM, through its holder. */
export class SessionTarget implements Target {
  readonly #client: SessionClient;

  constructor(client: SessionClient) {
    this.#client = client;
  }

  /** @param signal aborted when the user gives up. @throws KvmIrqError `no-session`, `session-gone`. */
  static async open(name: string, signal?: AbortSignal): Promise<SessionTarget> {
    return new SessionTarget(await SessionClient.open(name, { signal }));
  }

  async describe(): Promise<TargetInfo> {
    const { name, backend, pid, vcpus, host, irqchip, routing, guest } = await this.#client.call(
      "describe",
      {},
    );
    return {
      source: { kind: "session", name, backend, pid },
      host,
      chips: machineChips(vcpus, irqchip),
      vcpus,
      irqchip,
      routing,
      runs: ownRuns(vcpus, guest),
      ...(guest === undefined ? {} : { guest }),
      label: `session '${name}'`,
    };
  }

  async readChips(ids: readonly ChipId[]): Promise<ChipImage[]> {
    return (await this.#client.call("readChips", { ids })).images.map(fromWire);
  }

  async writeChips(images: readonly ChipImage[], expected: readonly ChipImage[] = []): Promise<void> {
    await this.#client.call("writeChips", { images: images.map(toWire), expected: expected.map(toWire) });
  }

  async setIrqLines(steps: readonly LineStep[], options: LineOptions = {}): Promise<InjectionStatus[]> {
    const { transient = false } = options;
    return (await this.#client.call("setIrqLines", { steps, transient })).statuses;
  }

  async signalMsis(messages: readonly MsiMessage[]): Promise<InjectionStatus[]> {
    return (await this.#client.call("signalMsis", { messages })).statuses;
  }

  async setRouting(routing: Routing): Promise<void> {
    await this.#client.call("setRouting", { routing });
  }

  async irqfd(action: IrqfdAction): Promise<IrqfdState[]> {
    return (await this.#client.call("irqfd", { action })).irqfds;
  }

  ended(): Promise<void> {
    return this.#client.ended();
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}
