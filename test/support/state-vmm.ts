import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Conversation, compile, endOf } from "./attach.ts";

function childOf(pid: number): number | undefined {
  const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return child === undefined ? undefined : Number(child);
}

/** The VMM of state-vmm.c, which says there what it takes and answers. */
export class StateVmm {
  readonly pid: number;
  readonly vmFd: number;
  /** The process that has the VM, where another one started it. */
  readonly vmm: number;
  readonly #talk: Conversation;

  private constructor(talk: Conversation, vmFd: number) {
    this.#talk = talk;
    this.pid = talk.child.pid!;
    this.vmm = childOf(this.pid) ?? this.pid;
    this.vmFd = vmFd;
  }

  static async start(irqchip: "full" | "split", vcpus: number, ...options: string[]): Promise<StateVmm> {
    return StateVmm.startBy([], irqchip, vcpus, ...options);
  }

  /** @param starter a command that becomes what is behind it, such as `setpriv`. */
  static async startBy(
    starter: readonly string[],
    irqchip: "full" | "split",
    vcpus: number,
    ...options: string[]
  ): Promise<StateVmm> {
    const [program, ...args] = [...starter, compile("state-vmm"), irqchip, `${vcpus}`, ...options];
    const talk = new Conversation(spawn(program!, args, { stdio: ["pipe", "pipe", "inherit"] }));
    const [, vmFd] = /^ready vm_fd=(\d+)$/.exec(await talk.nextLine()) ?? [];
    return new StateVmm(talk, Number(vmFd));
  }

  async ask(command: string): Promise<string> {
    return (await this.#talk.ask(command)).trim();
  }

  /** What its own ioctls give, by chip. */
  async state(): Promise<Map<string, Buffer>> {
    const words = (await this.ask("state")).split(" ").map((word) => word.split("=") as [string, string]);
    return new Map(words.map(([id, bytes]) => [id, Buffer.from(bytes, "hex")]));
  }

  /** @returns the signal that ended it. */
  end(): Promise<NodeJS.Signals | null> {
    return endOf(this.#talk.child);
  }
}
