import { KvmIrqError } from "../abi/error.ts";
import { IOCTL } from "../abi/ioctl.ts";
import type { GuestCode } from "../arch/arch.ts";
import { bindLibc, I32, I64, ioctlOffThread, NativeBuffer } from "../os/libc.ts";
import { listThreads, readThread } from "../os/proc.ts";
import type { GuestProgram, GuestState } from "../vm/guest.ts";
import { exitReason } from "./exit-reason.ts";
import type { Kvm } from "./kvm.ts";
import type { Vcpu } from "./vcpu.ts";
import type { Vm } from "./vm.ts";

const PAGE = 4096;
const VECTORS = 256;

const mmap = bindLibc("mmap", [I64, I64, I32, I32, I32, I64], I64);
const munmap = bindLibc("munmap", [I64, I64]);
const memmove = bindLibc("memmove", [I64, I64, I64], I64);
const syscall = bindLibc("syscall", [I64, I64, I64, I64], I64);
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const NR_TGKILL = 234;
const SIGUSR2 = 12;
const EINTR = 4;

/** Offsets in `struct kvm_run` of `<linux/kvm.h>`. */
const RUN = { immediate_exit: 1, exit_reason: 8 } as const;

/**
 * vCPU 0 running a small program that takes interrupts, counts them by vector, and ends them.
 *
 * KVM_RUN is called on a thread of libuv's pool, and called again from the event loop whenever it returns.
 * While it runs, every other ioctl of the vCPU would wait for it: {@link pause} makes it return, and the
 * guest goes on at the event loop's next turn.
 */
export class Guest {
  readonly program: GuestProgram;
  readonly #vcpu: Vcpu;
  readonly #layout: GuestCode["layout"];
  readonly #memory: NativeBuffer;
  /** Where the guest's address 0 is in the buffer: the kernel wants whole pages. */
  readonly #base: number;
  readonly #runSize: number;
  readonly #run: number;
  readonly #word = new NativeBuffer(4);
  #inRun = false;
  #paused = false;
  #closing = false;
  #ended: string | undefined;

  /** Loads the program. @param vcpu 0, not yet run. @throws KvmError. */
  constructor(kvm: Kvm, vm: Vm, vcpu: Vcpu, program: GuestProgram, code: GuestCode) {
    this.program = program;
    this.#vcpu = vcpu;
    this.#layout = code.layout;
    this.#memory = new NativeBuffer(code.layout.size + PAGE);
    this.#base = (PAGE - (this.#memory.address % PAGE)) % PAGE;
    this.#memory.bytes.set(code.image, this.#base + code.layout.start);
    vm.setUserMemoryRegion({
      slot: 0,
      guest: 0,
      size: this.#layout.size,
      host: this.#memory.address + this.#base,
    });
    const { regs, sregs } = code.registers(program, vcpu.getSregs());
    vcpu.setSregs(sregs);
    vcpu.setRegs(regs);
    this.#runSize = kvm.vcpuMmapSize();
    this.#run = mmap(0, this.#runSize, PROT_READ_WRITE, MAP_SHARED, vcpu.fd, 0).value;
    if (this.#run === -1) throw new KvmIrqError("kernel-refused", "the vCPU's kvm_run area can't be mapped");
  }

  /**
   * Starts the guest, and waits until it has set up its chips.
   *
   * @throws KvmIrqError `kernel-refused` when it ends before, or takes longer than `timeoutMs`.
   */
  async start(timeoutMs: number): Promise<void> {
    process.on("SIGUSR2", onSignal);
    void this.#runUntilClosed();
    const deadline = performance.now() + timeoutMs;
    while (this.#read32(this.#layout.ready) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (this.#ended === undefined && performance.now() < deadline) continue;
      throw new KvmIrqError(
        "kernel-refused",
        `the guest did not get ready: ${this.#ended ?? "it still runs"}`,
      );
    }
  }

  get state(): GuestState {
    const handled: GuestState["handled"] = [];
    for (let vector = 0; vector < VECTORS; vector++) {
      const count = this.#read32(this.#layout.counts + vector * 4);
      if (count > 0) handled.push({ vector, count });
    }
    return {
      program: this.program,
      running: this.#ended === undefined,
      ...(this.#ended === undefined ? {} : { ended: this.#ended }),
      handled,
    };
  }

  /** Makes KVM_RUN return, so that the vCPU's other ioctls don't wait. It is called again by the event loop. */
  pause(): void {
    if (!this.#inRun || this.#paused) return;
    this.#paused = true;
    this.#setImmediateExit(1);
    for (const tid of listThreads(process.pid) ?? []) {
      if (tid !== process.pid && this.#mayBeInRun(tid)) syscall(NR_TGKILL, process.pid, tid, SIGUSR2);
    }
  }

  /** Stops the guest for good. Its memory goes once KVM_RUN has returned. */
  close(): void {
    this.#closing = true;
    if (this.#inRun) this.pause();
    else this.#release();
  }

  async #runUntilClosed(): Promise<void> {
    while (!this.#closing && this.#ended === undefined) {
      this.#paused = false;
      this.#setImmediateExit(0);
      this.#inRun = true;
      const { value, errno } = await ioctlOffThread(this.#vcpu.fd, IOCTL.KVM_RUN, 0);
      this.#inRun = false;
      if (value < 0 && errno !== EINTR) this.#ended = `KVM_RUN failed with errno ${errno}`;
      else if (value >= 0) this.#ended = `KVM_RUN returned with ${exitReason(this.#exitReason())}`;
    }
    if (this.#closing) this.#release();
  }

  /** A thread of which it can't be told what it does, and one that sleeps in this vCPU's KVM_RUN. */
  #mayBeInRun(tid: number): boolean {
    const thread = readThread(process.pid, tid);
    if (thread === undefined) return false;
    if (thread.syscall === undefined) return true;
    return thread.syscall.arguments[0] === this.#vcpu.fd && thread.syscall.arguments[1] === IOCTL.KVM_RUN;
  }

  #release(): void {
    munmap(this.#run, this.#runSize);
    this.#vcpu.close();
    process.off("SIGUSR2", onSignal);
  }

  #read32(address: number): number {
    return this.#memory.view.getUint32(this.#base + address, true);
  }

  #exitReason(): number {
    memmove(this.#word.address, this.#run + RUN.exit_reason, 4);
    return this.#word.view.getUint32(0, true);
  }

  #setImmediateExit(value: 0 | 1): void {
    this.#word.bytes[0] = value;
    memmove(this.#run + RUN.immediate_exit, this.#word.address, 1);
  }
}

/** What the signal does is interrupt KVM_RUN; without a handler it would end the process. */
function onSignal(): void {}
