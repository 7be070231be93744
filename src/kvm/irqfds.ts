import { readFileSync, readSync, writeSync } from "node:fs";
import { advice, changing, looking } from "../abi/advice.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { Gsi } from "../abi/numbers.ts";
import { ownEventfd } from "../os/eventfd.ts";
import { bindLibc, close, I32 } from "../os/libc.ts";
import type { Eventfd, IrqfdFact } from "../vm/facts.ts";
import type { IrqfdAction, IrqfdState } from "../vm/irqfd.ts";
import type { Route } from "../vm/routing.ts";
import type { Vm } from "./vm.ts";

const eventfd = bindLibc("eventfd", [I32, I32]);
const EFD_CLOEXEC_NONBLOCK = 0o2004000;

interface Irqfd extends IrqfdState {
  fd: number;
  resampleFd: number | undefined;
}

/** The eventfds of this process that are bound to GSIs of a VM. */
export class Irqfds {
  readonly #vm: Vm;
  readonly #byGsi = new Map<number, Irqfd>();

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /**
   * Carries out an action.
   *
   * @returns every irqfd there is then, lowest GSI first.
   * @throws KvmIrqError `bad-gsi` for a GSI that has an irqfd already, or has none; KvmError.
   */
  run(action: IrqfdAction): IrqfdState[] {
    switch (action.do) {
      case "bind":
        this.#bind(action.gsi, action.resample);
        break;
      case "kick":
        this.#kick(this.#bound(action.gsi), action.count);
        break;
      case "unbind":
        this.#unbind(this.#bound(action.gsi));
        break;
      case "list":
        break;
    }
    return [...this.#byGsi.values()].sort((a, b) => a.gsi - b.gsi).map(stateOf);
  }

  /** What kernel memory would tell of them, lowest GSI first. @param routes the VM's routing. */
  facts(routes: readonly Route[]): IrqfdFact[] {
    return [...this.#byGsi.values()]
      .sort((a, b) => a.gsi - b.gsi)
      .map(({ gsi, fd, resampleFd }) => {
        const [entry = null, ...others] = routes.filter((route) => route.gsi === gsi);
        return {
          gsi,
          eventfd: eventfdFact(fd),
          ...(resampleFd === undefined ? {} : { resample: eventfdFact(resampleFd) }),
          entry: others.length === 0 ? entry : null,
          producer: false,
        };
      });
  }

  close(): void {
    for (const irqfd of this.#byGsi.values()) closeBoth(irqfd);
    this.#byGsi.clear();
  }

  #bind(gsi: Gsi, resample: boolean): void {
    if (this.#byGsi.has(gsi)) {
      throw new KvmIrqError("bad-gsi", `GSI ${gsi} has an irqfd already`, {
        hint: advice`${changing("irqfd", "unbind", `${gsi}`)} takes it away`,
      });
    }
    const irqfd: Irqfd = { gsi, resample, kicks: 0, fd: makeEventfd(), resampleFd: undefined };
    try {
      if (resample) {
        irqfd.resampleFd = makeEventfd();
        irqfd.resampled = 0;
      }
      this.#vm.irqfd(irqfd.fd, gsi, { resampleFd: irqfd.resampleFd });
    } catch (error) {
      closeBoth(irqfd);
      throw error;
    }
    this.#byGsi.set(gsi, irqfd);
  }

  #kick(irqfd: Irqfd, count: number): void {
    const one = Buffer.from(BigUint64Array.of(1n).buffer);
    for (let n = 0; n < count; n++) writeSync(irqfd.fd, one);
    irqfd.kicks += count;
  }

  #unbind(irqfd: Irqfd): void {
    this.#vm.irqfd(irqfd.fd, irqfd.gsi, { deassign: true });
    this.#byGsi.delete(irqfd.gsi);
    closeBoth(irqfd);
  }

  #bound(gsi: Gsi): Irqfd {
    const irqfd = this.#byGsi.get(gsi);
    if (irqfd !== undefined) return irqfd;
    throw new KvmIrqError("bad-gsi", `GSI ${gsi} has no irqfd`, {
      hint: advice`${changing("irqfd", "bind", `${gsi}`)} makes one, ${looking("irqfd", "list")} shows those there are`,
    });
  }
}

function makeEventfd(): number {
  const { value, errno } = eventfd(0, EFD_CLOEXEC_NONBLOCK);
  if (value >= 0) return value;
  throw new KvmIrqError("kernel-refused", `no eventfd can be made (errno ${errno})`, { details: { errno } });
}

function eventfdFact(fd: number): Eventfd {
  return { ...ownEventfd(fd), holders: [{ pid: process.pid, comm: ownComm(), fd, is: "vmm" }] };
}

function ownComm(): string {
  return readFileSync("/proc/self/comm", "utf8").trimEnd();
}

function closeBoth({ fd, resampleFd }: Irqfd): void {
  close(fd);
  if (resampleFd !== undefined) close(resampleFd);
}

function stateOf(irqfd: Irqfd): IrqfdState {
  const { gsi, resample, kicks, resampleFd } = irqfd;
  if (resampleFd === undefined) return { gsi, resample, kicks };
  irqfd.resampled = (irqfd.resampled ?? 0) + drain(resampleFd);
  return { gsi, resample, kicks, resampled: irqfd.resampled };
}

/** What an eventfd has counted since it was last read. */
function drain(fd: number): number {
  const counter = new BigUint64Array(1);
  try {
    readSync(fd, new Uint8Array(counter.buffer));
    return Number(counter[0]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
    throw error;
  }
}
