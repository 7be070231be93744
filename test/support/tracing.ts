import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kvmModule } from "../../src/kvm/kvm-module.ts";
import { isAlive } from "../../src/os/alive.ts";
import { openTracefs, TraceInstance } from "../../src/tracefs/tracefs.ts";
import { noKvm } from "./kvm.ts";

/** Why KVM's events can't be recorded here; `undefined` where they can. */
export const noTracing: string | undefined = noKvm ?? reason();

function reason(): string | undefined {
  try {
    const tracefs = openTracefs();
    new TraceInstance(tracefs.path).remove();
    tracefs.close();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const MOUNTS = /^kvm-irq-tracefs-(\d+)-/;

/**
 * tracefs as anyone mounts it, to look at what the program under test does and to read events as text. It is gone
 * with this process; what one that was killed left goes with the next.
 */
export class PlainTracefs {
  readonly path: string;
  readonly #onExit = () => this.close();

  constructor() {
    for (const name of readdirSync(tmpdir())) {
      const [, pid] = MOUNTS.exec(name) ?? [];
      if (pid !== undefined && !isAlive(Number(pid))) unmount(join(tmpdir(), name));
    }
    this.path = mkdtempSync(join(tmpdir(), `kvm-irq-tracefs-${process.pid}-`));
    process.once("exit", this.#onExit);
    execFileSync("mount", ["-t", "tracefs", "tracefs", this.path]);
  }

  close(): void {
    process.off("exit", this.#onExit);
    unmount(this.path);
  }
}

/** Also while somebody has a file of it open. */
function unmount(path: string): void {
  spawnSync("umount", ["--lazy", path]);
  rmdirSync(path);
}

const backend = kvmModule();

/** Whether CPUs here run local APICs by themselves: KVM then sees no injection and no edge's EOI. */
export const cpuRunsApics: boolean = backend?.apicv ?? false;

/** Whether KVM tells of each interrupt that it injects; a backend beside VMX and SVM, as kvm_pvm, does not. */
export const tellsInjections: boolean =
  !cpuRunsApics && ["kvm_intel", "kvm_amd"].includes(backend?.name ?? "");

/** How a trace ends an edge interrupt that a guest has taken and ended. */
export const OVER: readonly string[] = cpuRunsApics ? ["complete", "posted"] : ["complete"];
