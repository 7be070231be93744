import { KvmIrqError } from "../../abi/error.ts";
import type { Way } from "../way.ts";

/** What `--via` takes. */
const VIAS = ["auto", "kernel", "ptrace"] as const;

type Choice = {
  pid?: number | undefined;
  vmFd?: number | undefined;
  via?: (typeof VIAS)[number] | undefined;
};

/** `--pid`: a VM inside another process. */
export const PROCESS: Way<Choice> = {
  options: {
    pid: {
      flags: "--pid <pid>",
      description: "the target: a VM inside this process (QEMU, Firecracker, ...)",
      range: [1, 2 ** 22],
    },
    vmFd: {
      flags: "--vm-fd <n>",
      description: "which VM, for a process with several",
      range: [0, 2 ** 20],
    },
    via: {
      flags: "--via <way>",
      description:
        "how to read it: kernel (its memory, stops nobody), ptrace (stops a thread), or auto (default: kernel where possible)",
      choices: VIAS,
    },
  },
  asksToChange: true,
  check({ via }, writes) {
    if (!writes || via !== "kernel") return;
    throw new KvmIrqError("usage", "--via kernel only reads", {
      hint: "leave it out: a VM is changed by ptrace",
    });
  },
  // What changes a VM takes no --via kernel.
  address: ({ pid, vmFd, via }) => ({
    options: [
      ...["--pid", `${pid}`],
      ...(vmFd === undefined ? [] : ["--vm-fd", `${vmFd}`]),
      ...(via === "ptrace" ? ["--via", via] : []),
    ],
    confirm: true,
  }),
  async open({ pid, vmFd, via = "auto" }) {
    return (await import("./source.ts")).openBy(via, { pid: pid!, vmFd });
  },
};
