import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeRedirectionEntry, type IoapicState } from "../../src/arch/x86/ioapic/layout.ts";
import type { PicState } from "../../src/arch/x86/pic/layout.ts";

/** A QEMU under KVM that runs its BIOS, and its monitor (QMP): the oracle for what attaching shows. */
export class Qemu {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, folder: string, socket: Socket) {
    this.pid = child.pid!;
    this.#child = child;
    this.#folder = folder;
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async start(...args: string[]): Promise<Qemu> {
    const folder = mkdtempSync(join(tmpdir(), "qemu-"));
    const path = join(folder, "qmp");
    const common = ["-accel", "kvm", "-display", "none", "-nodefaults", "-m", "64"];
    const monitor = ["-qmp", `unix:${path},server=on,wait=off`];
    const child = spawn("qemu-system-x86_64", [...common, ...monitor, ...args], { stdio: "ignore" });
    for (let tries = 0; tries < 200 && !existsSync(path); tries++) await sleep(50);
    const socket = createConnection(path);
    await once(socket, "connect");
    const qemu = new Qemu(child, folder, socket);
    await qemu.#lines.next();
    await qemu.execute("qmp_capabilities");
    return qemu;
  }

  /** A command of QMP. */
  async execute(command: string, args: object = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error("QEMU ended");
      const message = JSON.parse(value) as { return?: unknown; error?: { desc: string } };
      if (message.error !== undefined) throw new Error(message.error.desc);
      if ("return" in message) return message.return;
    }
  }

  /** A command of the human monitor, such as `info pic`. */
  async monitor(line: string): Promise<string> {
    return (await this.execute("human-monitor-command", { "command-line": line })) as string;
  }

  /** What a monitor command prints, and what `ours` gives at a time at which it prints the same before and after. */
  async beside<T>(line: string, ours: () => T | Promise<T>): Promise<[string, T]> {
    for (let tries = 0; tries < 50; tries++) {
      const before = await this.monitor(line);
      const answer = await ours();
      if ((await this.monitor(line)) === before) return [before, answer];
    }
    throw new Error("the guest's chips never kept still");
  }

  async end(): Promise<void> {
    this.#socket.destroy();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGKILL");
      await once(this.#child, "exit");
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The registers that `info pic` prints. QEMU calls the master pic0. */
export interface QemuPics {
  pic1: QemuPic;
  pic2: QemuPic;
  pins: bigint[];
}

export interface QemuPic {
  irr: number;
  imr: number;
  isr: number;
  priority_add: number;
  irq_base: number;
  read_reg_select: number;
  elcr: number;
  special_fully_nested_mode: number;
}

/** The same of chips that this program decoded. */
export function picsOf({
  pic1,
  pic2,
  ioapic,
}: {
  pic1: PicState;
  pic2: PicState;
  ioapic: IoapicState;
}): QemuPics {
  const pins = ioapic.redirtbl.map((entry) => {
    const { low, high } = encodeRedirectionEntry(entry);
    return (BigInt(high) << 32n) | BigInt(low);
  });
  return { pic1: picRegisters(pic1), pic2: picRegisters(pic2), pins };
}

function picRegisters(state: PicState): QemuPic {
  const { irr, imr, isr, priority_add, irq_base, read_reg_select, elcr, special_fully_nested_mode } = state;
  return { irr, imr, isr, priority_add, irq_base, read_reg_select, elcr, special_fully_nested_mode };
}

/** Reads what `info pic` printed. */
export function parseInfoPic(text: string): QemuPics {
  const pic = (name: string): QemuPic => {
    const line = new RegExp(`^${name}: (.*)$`, "m").exec(text)?.[1] ?? "";
    const value = (key: string) => Number.parseInt(new RegExp(`\\b${key}=(\\w+)`).exec(line)?.[1] ?? "", 16);
    return {
      irr: value("irr"),
      imr: value("imr"),
      isr: value("isr"),
      priority_add: value("hprio"),
      irq_base: value("irq_base"),
      read_reg_select: value("rr_sel"),
      elcr: value("elcr"),
      special_fully_nested_mode: value("fnm"),
    };
  };
  const pins = [...text.matchAll(/^\s*pin +\d+ +(0x\w+)/gm)].map(([, entry]) => BigInt(entry!));
  return { pic1: pic("pic0"), pic2: pic("pic1"), pins };
}

/** The registers that `info lapic` prints, by this program's names. */
export function parseInfoLapic(text: string): Record<string, number> {
  const names: Record<string, string> = {
    LVT0: "lvt_lint0",
    LVT1: "lvt_lint1",
    LVTPC: "lvt_perf",
    LVTERR: "lvt_error",
    LVTTHMR: "lvt_thermal",
    LVTT: "lvt_timer",
    SPIV: "svr",
    ICR: "icr",
    ICR2: "icr2",
    ESR: "esr",
  };
  const registers: Record<string, number> = {};
  for (const [, name, value] of text.matchAll(/^(\w+)\s+(0x\w+)/gm)) {
    const own = names[name!];
    if (own !== undefined) registers[own] = Number(value);
  }
  for (const [, name, value] of text.matchAll(/\b(APR|TPR|PPR) (0x\w+)/g)) {
    registers[name!.toLowerCase()] = Number(value);
  }
  return registers;
}
