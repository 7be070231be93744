import { ModelMachine } from "../../src/arch/x86/model/machine.ts";
import { KvmMachine } from "../../src/kvm/kvm-machine.ts";
import type { Machine } from "../../src/vm/machine.ts";
import { keepsLapicService } from "./behaviour.ts";
import { type Cpu, GuestMachine } from "./guest.ts";
import { haveKvm } from "./kvm.ts";

interface MachineKind<Kind extends Machine> {
  name: string;
  make: (vcpus: number) => Kind;
  skip: boolean;
}

/** The machines that behave, or have to behave, as KVM's chips do. */
export const MACHINES: readonly MachineKind<Machine>[] = [
  { name: "KVM", make: (vcpus) => new KvmMachine(vcpus), skip: !haveKvm },
  { name: "the model", make: (vcpus) => new ModelMachine(vcpus), skip: false },
];

interface RunningMachineKind extends MachineKind<Machine & Cpu> {
  /** Whether what a local APIC has in service stays there until the guest ends it. */
  keepsService: () => boolean;
}

/** Those whose vCPU 0 takes and ends interrupts. */
export const RUNNING_MACHINES: readonly RunningMachineKind[] = [
  {
    name: "KVM with a guest",
    make: (vcpus) => new GuestMachine(vcpus),
    skip: !haveKvm,
    keepsService: keepsLapicService,
  },
  { name: "the model", make: (vcpus) => new ModelMachine(vcpus), skip: false, keepsService: () => true },
];
