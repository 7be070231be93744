import { IOCTL, SIZEOF } from "../../src/arch/x86/ioctl.ts";
import type { PicEoi } from "../../src/arch/x86/pic/model.ts";
import { INPUTS, routesOf } from "../../src/arch/x86/routing.ts";
import { RFLAGS_IF } from "../../src/arch/x86/vcpu/layout.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import type { Vcpu } from "../../src/kvm/vcpu.ts";
import type { Vm } from "../../src/kvm/vm.ts";
import { bindLibc, I32, I64, ioctl, NativeBuffer } from "../../src/os/libc.ts";
import { vcpuAt } from "../../src/vm/checks.ts";
import { type ChipId, type ChipImage, type InjectionStatus, parseChipId } from "../../src/vm/chip.ts";
import type { Machine } from "../../src/vm/machine.ts";
import type { MsiMessage, Routing } from "../../src/vm/routing.ts";

/** What the CPU does with its interrupt controllers: the model has it, and a guest that runs. */
export interface Cpu {
  acknowledge(): number | undefined;
  eoi(): unknown;
  eoiPic(pic: "pic1" | "pic2", eoi: PicEoi): void;
}

const mmap = bindLibc("mmap", [I64, I64, I32, I32, I32, I64], I64);
const munmap = bindLibc("munmap", [I64, I64]);
const memmove = bindLibc("memmove", [I64, I64, I64], I64);
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;

const MEMORY = 0x10000;
/** Where the guest's handlers start, and what they are: `mov al, VECTOR; out TAKEN, al`, 8 bytes each. */
const HANDLERS = 0x2000;
const CODE = 0x1000;
const STACK = 0x8000;
/** Ports that nobody has, so that writing to one ends KVM_RUN. */
const TAKEN = 0x80;
const DONE = 0x81;
const KVM_EXIT_IO = 2;
const APIC_PAGE = 0xfee0_0000n;

/** RFLAGS bit 1, which is always set. */
const RFLAGS_ALWAYS = 2;
const OUT_DONE = [0xe6, DONE];
/** `mov dword [es:0xb0], 0`, es being at the APIC's page: a write to EOI. */
const WRITE_EOI = [0x66, 0x26, 0xc7, 0x06, 0xb0, 0, 0, 0, 0, 0, ...OUT_DONE];
const PIC_COMMAND_PORT = { pic1: 0x20, pic2: 0xa0 } as const;

/** A VM of the real KVM whose vCPU 0 runs a guest, a few instructions at a time, in real mode. */
export class GuestMachine implements Machine, Cpu {
  readonly backend = "kvm";
  readonly irqchip = "full";
  readonly vcpus: number;
  readonly #kvm = Kvm.open();
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[];
  readonly #memory: number;
  readonly #run: number;
  #code = CODE;
  #routing: Routing = "default";
  readonly #scratch = new NativeBuffer(SIZEOF.kvm_sregs);

  constructor(vcpus: number) {
    this.vcpus = vcpus;
    this.#vm = this.#kvm.createVm();
    this.#vm.createIrqchip();
    this.#vcpus = Array.from({ length: vcpus }, (_, id) => this.#vm.createVcpu(id));
    this.#memory = mmap(0, MEMORY, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0).value;
    this.#run = mmap(0, this.#kvm.vcpuMmapSize(), PROT_READ_WRITE, MAP_SHARED, this.#cpu.fd, 0).value;
    this.#setMemoryRegion();
    this.#writeHandlers();
    this.#setSegments();
  }

  get #cpu(): Vcpu {
    return vcpuAt(this.#vcpus, 0);
  }

  readChip(id: ChipId): Uint8Array {
    const { kind, vcpu } = parseChipId(id);
    if (kind === "lapic") return vcpuAt(this.#vcpus, vcpu).getLapic();
    const size = kind === "ioapic" ? SIZEOF.kvm_ioapic_state : SIZEOF.kvm_pic_state;
    return this.#vm.getIrqchip(INPUTS[kind as keyof typeof INPUTS].irqchip).slice(8, 8 + size);
  }

  writeChip({ id, bytes }: ChipImage): void {
    const { kind, vcpu } = parseChipId(id);
    if (kind === "lapic") vcpuAt(this.#vcpus, vcpu).setLapic(bytes);
    else this.#vm.setIrqchip(INPUTS[kind as keyof typeof INPUTS].irqchip, bytes);
  }

  get routing(): Routing {
    return this.#routing;
  }

  setRouting(routing: Routing): void {
    this.#vm.setRouting(routesOf(routing));
    this.#routing = routing;
  }

  /** Nobody asks this one. */
  irqfd(): never {
    throw new Error("no irqfds");
  }

  /** This guest runs a few instructions at a time, and keeps no counts. */
  get guest(): undefined {
    return undefined;
  }

  setIrqLine(gsi: number, level: 0 | 1): InjectionStatus {
    return this.#vm.setIrqLine(gsi, level);
  }

  signalMsi(message: MsiMessage): InjectionStatus {
    return this.#vm.signalMsi(message);
  }

  acknowledge(): number | undefined {
    const { port, al } = this.#runCode(OUT_DONE, RFLAGS_IF);
    return port === TAKEN ? al : undefined;
  }

  eoi(): void {
    this.#runCode(WRITE_EOI);
  }

  eoiPic(pic: "pic1" | "pic2", eoi: PicEoi): void {
    const rotate = eoi.rotate ? 0x80 : 0;
    const ocw2 = eoi.command === "specific" ? 0x60 | eoi.level : 0x20;
    this.#runCode([0xb0, rotate | ocw2, 0xe6, PIC_COMMAND_PORT[pic], ...OUT_DONE]);
  }

  close(): void {
    munmap(this.#run, this.#kvm.vcpuMmapSize());
    for (const vcpu of this.#vcpus) vcpu.close();
    this.#vm.close();
    this.#kvm.close();
    munmap(this.#memory, MEMORY);
  }

  /** Runs code from its start until it, or the handler of an interrupt, writes to a port. */
  #runCode(code: readonly number[], rflags = 0): { port: number; al: number } {
    // KVM_RUN would skip an `out` that it finds where the last one was.
    this.#code = this.#code === CODE ? CODE + 0x100 : CODE;
    this.#write(this.#code, code);
    const regs = this.#cpu.getRegs();
    const view = new DataView(regs.buffer);
    view.setBigUint64(48, BigInt(STACK), true); // rsp
    view.setBigUint64(128, BigInt(this.#code), true); // rip
    view.setBigUint64(136, BigInt(rflags | RFLAGS_ALWAYS), true);
    this.#vcpuIoctl("KVM_SET_REGS", regs);
    const { value, errno } = ioctl(this.#cpu.fd, IOCTL.KVM_RUN, 0);
    memmove(this.#scratch.address, this.#run, 64);
    const reason = this.#scratch.view.getUint32(8, true);
    if (value < 0 || reason !== KVM_EXIT_IO)
      throw new Error(`KVM_RUN: errno ${errno}, exit reason ${reason}`);
    return { port: this.#scratch.view.getUint16(34, true), al: this.#cpu.getRegs()[0]! };
  }

  #setMemoryRegion(): void {
    const region = new NativeBuffer(SIZEOF.kvm_userspace_memory_region);
    region.view.setBigUint64(16, BigInt(MEMORY), true);
    region.view.setBigUint64(24, BigInt(this.#memory), true);
    check(ioctl(this.#vm.fd, IOCTL.KVM_SET_USER_MEMORY_REGION, region.address));
  }

  #writeHandlers(): void {
    for (let vector = 0; vector < 256; vector++) {
      const handler = HANDLERS + vector * 8;
      this.#write(vector * 4, [handler & 0xff, handler >> 8, 0, 0]);
      this.#write(handler, [0xb0, vector, 0xe6, TAKEN]);
    }
  }

  /** cs at 0, es at the APIC's page. */
  #setSegments(): void {
    const sregs = this.#cpu.getSregs();
    const view = new DataView(sregs.buffer);
    view.setBigUint64(0, 0n, true);
    view.setUint16(12, 0, true);
    view.setBigUint64(48, APIC_PAGE, true);
    this.#vcpuIoctl("KVM_SET_SREGS", sregs);
  }

  #vcpuIoctl(name: "KVM_SET_REGS" | "KVM_SET_SREGS", bytes: Uint8Array): void {
    this.#scratch.bytes.set(bytes);
    check(ioctl(this.#cpu.fd, IOCTL[name], this.#scratch.address));
  }

  #write(address: number, bytes: readonly number[]): void {
    this.#scratch.bytes.set(bytes);
    memmove(this.#memory + address, this.#scratch.address, bytes.length);
  }
}

function check({ value, errno }: { value: number; errno: number }): void {
  if (value < 0) throw new Error(`errno ${errno}`);
}
