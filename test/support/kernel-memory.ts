import { KernelMemory } from "../../src/os/bpf.ts";
import { readNamespace } from "../../src/os/proc.ts";

/** `PROC_PID_INIT_INO` of <linux/proc_ns.h>. */
const FIRST_PID_NAMESPACE = "pid:[4026531836]";

/** Why kernel memory can't be read here; `undefined` where it can. */
export const noKernelMemory: string | undefined = reason();

function reason(): string | undefined {
  try {
    new KernelMemory().close();
    const isFirst = readNamespace("pid") === FIRST_PID_NAMESPACE;
    return isFirst ? undefined : "its pids are not those of this PID namespace";
  } catch (error) {
    return (error as Error).message;
  }
}
