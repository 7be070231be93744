import {
  IOCTL as COMMON_IOCTL,
  SIZEOF as COMMON_SIZEOF,
  type IoctlName,
  requestOf,
} from "../../abi/ioctl.ts";
import { IOAPIC } from "./ioapic/layout.ts";
import { LAPIC } from "./lapic/layout.ts";
import { PIC } from "./pic/layout.ts";
import { VCPU_SIZEOF } from "./vcpu/layout.ts";

/** Bytes of the structures that the ioctls take, on x86-64. */
export const SIZEOF = {
  ...COMMON_SIZEOF,
  kvm_pic_state: PIC.size,
  kvm_ioapic_state: IOAPIC.size,
  kvm_lapic_state: LAPIC.size,
  ...VCPU_SIZEOF,
};

/** Every KVM ioctl that this program uses, by its name in the header, with the sizes of x86-64. */
export const IOCTL: Readonly<Record<IoctlName, number>> = {
  ...COMMON_IOCTL,
  KVM_GET_REGS: requestOf("KVM_GET_REGS", SIZEOF.kvm_regs),
  KVM_SET_REGS: requestOf("KVM_SET_REGS", SIZEOF.kvm_regs),
  KVM_GET_SREGS: requestOf("KVM_GET_SREGS", SIZEOF.kvm_sregs),
  KVM_SET_SREGS: requestOf("KVM_SET_SREGS", SIZEOF.kvm_sregs),
  KVM_GET_LAPIC: requestOf("KVM_GET_LAPIC", SIZEOF.kvm_lapic_state),
  KVM_SET_LAPIC: requestOf("KVM_SET_LAPIC", SIZEOF.kvm_lapic_state),
  KVM_GET_MP_STATE: requestOf("KVM_GET_MP_STATE", SIZEOF.kvm_mp_state),
  KVM_SET_MP_STATE: requestOf("KVM_SET_MP_STATE", SIZEOF.kvm_mp_state),
  KVM_GET_VCPU_EVENTS: requestOf("KVM_GET_VCPU_EVENTS", SIZEOF.kvm_vcpu_events),
};
