/** ioctl numbers of `<linux/kvm.h>`, put together as `<asm-generic/ioctl.h>` does. Sizes are part of the number. */

/** `_IOC_WRITE` and `_IOC_READ` of `<asm-generic/ioctl.h>`: the caller writes, reads. */
const WRITE = 1;
const READ = 2;
const KVMIO = 0xae;

function kvmIoctl(direction: number, number: number, size: number): number {
  return direction * 2 ** 30 + size * 2 ** 16 + KVMIO * 2 ** 8 + number;
}
const io = (number: number) => kvmIoctl(0, number, 0);
const ior = (number: number, size: number) => kvmIoctl(READ, number, size);
const iow = (number: number, size: number) => kvmIoctl(WRITE, number, size);
const iowr = (number: number, size: number) => kvmIoctl(READ | WRITE, number, size);

/** Bytes of the structures that the ioctls take, on all 64-bit architectures; those of chips and vCPUs their layouts have. */
export const SIZEOF = {
  kvm_irqchip: 520,
  kvm_irq_level: 8,
  kvm_irq_routing: 8,
  kvm_irq_routing_entry: 48,
  kvm_irqfd: 32,
  kvm_msi: 32,
  kvm_enable_cap: 104,
  kvm_userspace_memory_region: 32,
  kvm_pit_config: 64,
  kvm_device_attr: 24,
  kvm_msrs: 8,
} as const;

/** KVM ioctls that this program uses, by their names in the header. */
export const IOCTL = {
  KVM_GET_API_VERSION: io(0x00),
  KVM_CREATE_VM: io(0x01),
  KVM_CHECK_EXTENSION: io(0x03),
  KVM_GET_VCPU_MMAP_SIZE: io(0x04),
  KVM_CREATE_VCPU: io(0x41),
  KVM_SET_USER_MEMORY_REGION: iow(0x46, SIZEOF.kvm_userspace_memory_region),
  KVM_SET_TSS_ADDR: io(0x47),
  KVM_SET_IDENTITY_MAP_ADDR: iow(0x48, 8),
  KVM_CREATE_IRQCHIP: io(0x60),
  KVM_IRQ_LINE: iow(0x61, SIZEOF.kvm_irq_level),
  KVM_GET_IRQCHIP: iowr(0x62, SIZEOF.kvm_irqchip),
  /** Carries the direction bits of a read although the kernel reads from the caller: that is the ABI. */
  KVM_SET_IRQCHIP: ior(0x63, SIZEOF.kvm_irqchip),
  KVM_IRQ_LINE_STATUS: iowr(0x67, SIZEOF.kvm_irq_level),
  KVM_SET_GSI_ROUTING: iow(0x6a, SIZEOF.kvm_irq_routing),
  KVM_IRQFD: iow(0x76, SIZEOF.kvm_irqfd),
  KVM_CREATE_PIT2: iow(0x77, SIZEOF.kvm_pit_config),
  KVM_RUN: io(0x80),
  KVM_GET_MSRS: iowr(0x88, SIZEOF.kvm_msrs),
  KVM_ENABLE_CAP: iow(0xa3, SIZEOF.kvm_enable_cap),
  KVM_SIGNAL_MSI: iow(0xa5, SIZEOF.kvm_msi),
  KVM_GET_STATS_FD: io(0xce),
  KVM_SET_DEVICE_ATTR: iow(0xe1, SIZEOF.kvm_device_attr),
  KVM_GET_DEVICE_ATTR: iow(0xe2, SIZEOF.kvm_device_attr),
} as const;

/** Those whose structure the architecture has in its layouts: without its size, which is part of the number. */
export const LAYOUT_IOCTL = {
  KVM_GET_REGS: ior(0x81, 0),
  KVM_SET_REGS: iow(0x82, 0),
  KVM_GET_SREGS: ior(0x83, 0),
  KVM_SET_SREGS: iow(0x84, 0),
  KVM_GET_LAPIC: ior(0x8e, 0),
  KVM_SET_LAPIC: iow(0x8f, 0),
  KVM_GET_MP_STATE: ior(0x98, 0),
  KVM_SET_MP_STATE: iow(0x99, 0),
  KVM_GET_VCPU_EVENTS: ior(0x9f, 0),
} as const;

export type IoctlName = keyof typeof IOCTL | keyof typeof LAYOUT_IOCTL;

const NUMBERS: Readonly<Record<IoctlName, number>> = { ...IOCTL, ...LAYOUT_IOCTL };

/**
 * An ioctl's number for a structure of some size: that is part of the number, so that a kernel can have two of one
 * name.
 *
 * @param size bytes of the structure; the usual number when not given.
 * @throws RangeError for one of {@link LAYOUT_IOCTL} without a size.
 */
export function requestOf(name: IoctlName, size?: number): number {
  const usual = NUMBERS[name];
  if (size === undefined && name in LAYOUT_IOCTL) throw new RangeError(`${name} has no size of its own`);
  if (size === undefined) return usual;
  return Math.floor(usual / 2 ** 30) * 2 ** 30 + size * 2 ** 16 + (usual % 2 ** 16);
}

/** Capability numbers for `KVM_CHECK_EXTENSION`. */
export const CAP = {
  KVM_CAP_IRQCHIP: 0,
  KVM_CAP_NR_VCPUS: 9,
  KVM_CAP_IRQ_ROUTING: 25,
  KVM_CAP_IRQ_INJECT_STATUS: 26,
  KVM_CAP_IRQFD: 32,
  KVM_CAP_MAX_VCPUS: 66,
  KVM_CAP_SIGNAL_MSI: 77,
  KVM_CAP_IRQFD_RESAMPLE: 82,
  KVM_CAP_CHECK_EXTENSION_VM: 105,
  KVM_CAP_SPLIT_IRQCHIP: 121,
  KVM_CAP_X2APIC_API: 129,
  KVM_CAP_BINARY_STATS_FD: 203,
} as const;

export type CapName = keyof typeof CAP;

/** The only version there ever was: `KVM_API_VERSION` of the header. */
export const KVM_API_VERSION = 12;
