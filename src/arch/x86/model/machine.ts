import type { Gsi } from "../../../abi/numbers.ts";
import { checkGsi, checkStateSize, checkVcpus, vcpuAt, vcpuIsReadOnly } from "../../../vm/checks.ts";
import { type ChipId, type ChipImage, type InjectionStatus, parseChipId } from "../../../vm/chip.ts";
import type { Machine } from "../../../vm/machine.ts";
import type { MsiMessage, Routing } from "../../../vm/routing.ts";
import { IOAPIC } from "../ioapic/layout.ts";
import { Ioapic } from "../ioapic/model.ts";
import { ApicBus } from "../lapic/bus.ts";
import { LAPIC } from "../lapic/layout.ts";
import { decodeMsi } from "../msi.ts";
import { PIC } from "../pic/layout.ts";
import { type PicEoi, PicPair } from "../pic/model.ts";
import type { Route } from "../routing.ts";
import { checkRoutes, routesOf } from "../routing.ts";
import { VcpuModel } from "../vcpu/model.ts";
import { type Behaviour, USUAL_BEHAVIOUR } from "./behaviour.ts";

/** Inputs of the master, behind which the slave's are counted on. */
const PIC_PINS = 8;
/** `KVM_MAX_VCPU_IDS` leaves more, but an 8-bit destination reaches no more than these. */
const MOST_VCPUS = 255;

/**
 * A VM of the software model: the chips behaving as KVM's do, on any operating system.
 *
 * Besides what a {@link Machine} does, it can do what ioctls alone can't: {@link acknowledge} and
 * {@link eoi}, the CPU's part. docs/model.md says what it covers.
 */
export class ModelMachine implements Machine {
  readonly backend = "model";
  readonly irqchip = "full";
  readonly vcpus: number;
  readonly #pics = new PicPair();
  readonly #vcpus: readonly VcpuModel[];
  readonly #bus: ApicBus;
  readonly #ioapic: Ioapic;
  #routing: Routing = "default";
  #ways = waysByGsi("default");

  /**
   * @param vcpus how many vCPUs, 0 to 255, numbered from 0; they never run.
   * @param behaviour what sets a kernel apart from the usual ones.
   * @throws KvmIrqError `usage` for another number of vCPUs.
   */
  constructor(vcpus: number, behaviour: Partial<Behaviour> = {}) {
    checkVcpus(vcpus, MOST_VCPUS, "the software model");
    this.vcpus = vcpus;
    const whole = { ...USUAL_BEHAVIOUR, ...behaviour };
    this.#vcpus = Array.from({ length: vcpus }, (_, index) => new VcpuModel(index, whole));
    this.#bus = new ApicBus(this.#vcpus, whole);
    this.#ioapic = new Ioapic(this.#bus);
  }

  readChip(id: ChipId): Uint8Array {
    const { kind, vcpu } = parseChipId(id);
    switch (kind) {
      case "pic1":
      case "pic2":
        return this.#pics.read(kind);
      case "ioapic":
        return this.#ioapic.read();
      case "lapic":
        return vcpuAt(this.#vcpus, vcpu).lapic.read();
      case "vcpu":
        return this.#readVcpu(vcpu);
      default:
        throw new RangeError(`there is no chip ${id}`);
    }
  }

  writeChip({ id, bytes }: ChipImage): void {
    const { kind, vcpu } = parseChipId(id);
    switch (kind) {
      case "pic1":
      case "pic2":
        checkStateSize(kind, PIC.size, bytes);
        this.#pics.write(kind, bytes);
        this.#pics.cascade();
        break;
      case "ioapic":
        checkStateSize(kind, IOAPIC.size, bytes);
        this.#ioapic.write(bytes);
        // KVM_SET_IRQCHIP ends with a look at the PICs, whichever chip it set.
        this.#pics.cascade();
        break;
      case "lapic":
        this.#writeLapic(vcpuAt(this.#vcpus, vcpu), bytes);
        break;
      case "vcpu":
        throw vcpuIsReadOnly();
    }
  }

  loadVcpu({ id, bytes }: ChipImage): void {
    vcpuAt(this.#vcpus, parseChipId(id).vcpu).load(bytes);
  }

  setIrqLine(gsi: Gsi, level: 0 | 1): InjectionStatus {
    checkGsi(gsi);
    let status = -1;
    for (const way of this.#ways.get(gsi) ?? []) status = sumOfStatuses(status, this.#drive(way, level));
    return status;
  }

  #drive(way: Route, level: 0 | 1): number {
    if ("msi" in way) return level === 1 ? this.#bus.send(decodeMsi(way.msi)).status : -1;
    if (!("chip" in way)) return -1;
    if (way.chip === "ioapic") return this.#ioapic.setPin(way.pin, level);
    return this.#pics.setInput(way.chip === "pic1" ? way.pin : PIC_PINS + way.pin, level);
  }

  get routing(): Routing {
    return this.#routing;
  }

  setRouting(routing: Routing): void {
    checkRoutes(routesOf(routing));
    this.#routing = routing;
    this.#ways = waysByGsi(routing);
  }

  signalMsi(message: MsiMessage): InjectionStatus {
    return this.#bus.send(decodeMsi(message)).status;
  }

  /**
   * The CPU's interrupt acknowledge: takes the highest interrupt that waits for a vCPU into service, the
   * PICs' before the local APIC's, as KVM does when the guest can take one (RFLAGS.IF is not looked at).
   *
   * @param vcpu whose.
   * @returns the vector; `undefined` when nothing that waits is above what is in service.
   * @throws KvmIrqError `bad-chip` when there is no such vCPU.
   */
  acknowledge(vcpu = 0): number | undefined {
    const { lapic } = vcpuAt(this.#vcpus, vcpu);
    if (!lapic.takesExtint || !this.#pics.intr) return lapic.acknowledge();
    lapic.run();
    return this.#pics.acknowledge();
  }

  /**
   * A write to a local APIC's EOI register: ends its highest interrupt in service. Of a level-triggered one
   * (by TMR) the IOAPIC hears, unless SVR asks for directed EOI: its remote IRR clears, and a line that is
   * still up is delivered again.
   *
   * @returns the vector that ended; `undefined` when none was in service.
   * @throws KvmIrqError `bad-chip` when there is no such vCPU.
   */
  eoi(vcpu = 0): number | undefined {
    const ended = vcpuAt(this.#vcpus, vcpu).lapic.eoi();
    if (ended === undefined) return undefined;
    this.#ioapic.eoi(vcpu, ended.vector, ended.broadcast);
    return ended.vector;
  }

  /**
   * A write to a PIC's OCW2: the end of an interrupt that came through it. A slave's needs both chips'.
   *
   * @param vcpu which one writes. It runs for that, which its local APIC shows; a VM without vCPUs has none that could.
   */
  eoiPic(pic: "pic1" | "pic2", eoi: PicEoi = { command: "non-specific" }, vcpu = 0): void {
    this.#pics.eoi(pic, eoi);
    this.#vcpus[vcpu]?.lapic.run();
  }

  /** The model's vCPUs never run. */
  get guest(): undefined {
    return undefined;
  }

  /** Nothing to give back: a model is memory alone. */
  close(): void {}

  #readVcpu(index: number): Uint8Array {
    const { image, reset } = vcpuAt(this.#vcpus, index).read();
    if (reset) this.#bus.remap();
    return image;
  }

  #writeLapic(vcpu: VcpuModel, bytes: Uint8Array): void {
    checkStateSize("lapic", LAPIC.size, bytes);
    vcpu.lapic.write(bytes);
    this.#bus.remap();
    this.#ioapic.lapicWritten(vcpu);
  }
}

function waysByGsi(routing: Routing): Map<number, Route[]> {
  const ways = new Map<number, Route[]>();
  for (const route of routesOf(routing)) ways.set(route.gsi, [...(ways.get(route.gsi) ?? []), route]);
  return ways;
}

/** Both chips' answers added up, the negative ones left out; negative when both are. */
function sumOfStatuses(first: number, second: number): number {
  if (first < 0) return second;
  return second < 0 ? first : first + second;
}
