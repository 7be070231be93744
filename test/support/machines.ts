import type { Machine } from "../../src/machine/machine.ts";
import { KvmMachine } from "../../src/sys/kvm-machine.ts";
import { haveKvm } from "./kvm.ts";

/** The machines that behave, or have to behave, as KVM's chips do. */
export const MACHINES: { name: string; make: (vcpus: number) => Machine; skip: boolean }[] = [
  { name: "KVM", make: (vcpus) => new KvmMachine(vcpus), skip: !haveKvm },
];
