import { errnoName } from "../abi/errno.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { IoctlName } from "../abi/ioctl.ts";

/**
 * What an errno means for an ioctl, from Documentation/virt/kvm/api.rst and from what kernels answered.
 * `*` is for every ioctl of that kind of fd.
 */
const MEANINGS: Partial<Record<IoctlName, Record<string, string>>> = {
  KVM_CREATE_VM: {
    ENOMEM: "the kernel has no memory for another VM",
    EBUSY: "the CPU's virtualization is in use by another hypervisor",
    EMFILE: "this process has too many open files",
  },
  KVM_CREATE_IRQCHIP: {
    EEXIST: "this VM has an irqchip already",
    EINVAL: "the irqchip must be made before the first vCPU",
    ENOTTY: "this kernel has no in-kernel irqchip for this architecture",
  },
  KVM_ENABLE_CAP: {
    EEXIST: "this VM has an irqchip already",
    EINVAL: "it comes too late, after the first vCPU, or the capability is not known",
  },
  KVM_CREATE_VCPU: {
    EEXIST: "this VM has a vCPU of that number",
    EINVAL: "the vCPU number is beyond what this kernel allows",
    ENOMEM: "the kernel has no memory for another vCPU",
  },
  KVM_IRQ_LINE: { ENXIO: "this VM has no in-kernel irqchip", EINVAL: "the GSI or level is not valid" },
  KVM_IRQ_LINE_STATUS: { ENXIO: "this VM has no in-kernel irqchip", EINVAL: "the GSI or level is not valid" },
  KVM_GET_IRQCHIP: {
    ENXIO: "this VM has no in-kernel irqchip (or a split one)",
    EINVAL: "there is no chip of that number",
  },
  KVM_SET_IRQCHIP: {
    ENXIO: "this VM has no in-kernel irqchip (or a split one)",
    EINVAL: "there is no chip of that number",
  },
  KVM_GET_LAPIC: { EINVAL: "this vCPU has no in-kernel local APIC" },
  KVM_SET_LAPIC: { EINVAL: "this vCPU has no in-kernel local APIC, or its id does not fit the APIC's mode" },
  KVM_IRQFD: {
    EBUSY: "the eventfd is bound already",
    EINVAL: "the GSI or eventfd is not valid, or resampling needs an IOAPIC, and a split irqchip has none",
  },
  KVM_SET_GSI_ROUTING: { EINVAL: "an entry is not valid, or there are too many" },
  KVM_SIGNAL_MSI: { EINVAL: "this VM has no in-kernel local APICs, or the message is not valid" },
  KVM_SET_USER_MEMORY_REGION: {
    EEXIST: "the region overlaps another",
    EINVAL: "the region is not page-aligned",
  },
};

/** Errnos that mean the same whatever the ioctl. */
const GENERAL: Record<string, string> = {
  EIO: "the VM belongs to another address space: only the process that made it can use it",
  EBADF: "the file descriptor is closed",
  EFAULT: "the kernel could not reach the argument",
  ENOTTY: "this kernel does not know the ioctl, or the fd is of another kind",
  EINTR: "a signal came first",
};

/** An ioctl or syscall that the kernel refused, with the ioctl's name, errno and what that means for it. */
export class KvmError extends KvmIrqError {
  /** The ioctl's name in the header. */
  readonly ioctl: string;
  /** The errno, a positive number. */
  readonly errno: number;
  /** What this errno says of this ioctl. */
  readonly meaning: string | undefined;

  constructor(ioctl: string, errno: number) {
    const name = errnoName(errno);
    const meaning = MEANINGS[ioctl as IoctlName]?.[name] ?? GENERAL[name];
    super("kernel-refused", `${ioctl} failed with ${name}${meaning === undefined ? "" : `: ${meaning}`}`, {
      hint: "`kvm-irq doctor` shows what this host's KVM can do",
      details: { ioctl, errno, errno_name: name },
    });
    this.name = "KvmError";
    this.ioctl = ioctl;
    this.errno = errno;
    this.meaning = meaning;
  }
}
