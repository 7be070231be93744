import { haveQemu, mayBuildForRoot } from "./attach.ts";
import { has } from "./commands.ts";
import { noKernelMemory } from "./kernel-memory.ts";
import { noKvm } from "./kvm.ts";
import { haveTmux } from "./terminal.ts";
import { noTracing } from "./tracing.ts";

/** What some tests need and this machine may lack. */
const NEEDS: readonly { tests: string; lacking: string | false | undefined }[] = [
  { tests: "the real KVM", lacking: noKvm },
  { tests: "kernel memory", lacking: noKernelMemory },
  { tests: "recording KVM's events", lacking: noTracing },
  { tests: "attaching to QEMU", lacking: noKvm ?? (!haveQemu && "there is no qemu-system-x86_64") },
  {
    tests: "attaching to a VMM made for it",
    lacking: noKvm ?? (!mayBuildForRoot && "that takes root and a C compiler"),
  },
  { tests: "threads that can't be stopped", lacking: !mayBuildForRoot && "that takes root and a C compiler" },
  { tests: "attacks on the built program", lacking: !has("cc") && "there is no C compiler" },
  { tests: "the live view", lacking: !haveTmux && "there is no tmux" },
];

/** Says once, before the first test, which are going to be skipped and why. */
export default function saySkipped(): void {
  for (const { tests, lacking } of NEEDS) {
    if (lacking) process.stderr.write(`skipped: tests of ${tests}: ${lacking}\n`);
  }
}
