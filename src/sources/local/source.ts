import type { Machine } from "../../vm/machine.ts";
import { carryOut, isAble, type Operation, type Params, type Result } from "../../vm/operations.ts";
import {
  type Identity,
  ownIdentity,
  ownReading,
  ownWish,
  type Reading,
  thisHost,
  type Wanted,
} from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";

/** A machine of this very process, for scripts and the demo. Closing the source ends the machine. */
export class LocalSource implements Source {
  readonly identity: Identity;
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.identity = scratchIdentity(machine);
  }

  can(operation: Operation): boolean {
    return isAble(this.#machine, operation);
  }

  async read(wanted: Wanted): Promise<Reading> {
    const read = carryOut("readChips", this.#machine, ownWish(wanted), this.identity);
    return ownReading(this.identity, read, wanted);
  }

  async perform<N extends Operation>(operation: N, params: Params<N>): Promise<Result<N>> {
    return carryOut(operation, this.#machine, params, this.identity);
  }

  async close(): Promise<void> {
    this.#machine.close();
  }
}

/** What there is to say of a machine of this process, made or still to be made. */
export function scratchIdentity(
  machine: Pick<Machine, "backend" | "vcpus" | "irqchip" | "apiVersion">,
): Identity {
  const { backend, vcpus, irqchip, apiVersion } = machine;
  return ownIdentity({
    vcpus,
    irqchip,
    source: { kind: "scratch", backend, pid: process.pid },
    host: thisHost(apiVersion),
    label: backend === "kvm" ? "a scratch VM" : "a scratch VM of the software model",
  });
}
