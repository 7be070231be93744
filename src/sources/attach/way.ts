import type { Way } from "../way.ts";

/** `--pid`: a VM inside another process. */
export const PROCESS: Way<{ pid?: number | undefined; vmFd?: number | undefined }> = {
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
  },
  asksToChange: true,
  async open({ pid, vmFd }) {
    return (await import("./source.ts")).openProcess({ pid: pid!, vmFd });
  },
};
