import { errnoName } from "../abi/errno.ts";
import { KvmIrqError } from "../abi/error.ts";
import { CAP, type CapName, KVM_API_VERSION } from "../abi/ioctl.ts";
import { open } from "../os/libc.ts";
import { accessRemedyHere } from "./device-access.ts";
import { KvmFd } from "./fd.ts";
import { KvmError } from "./kvm-error.ts";
import { Vm } from "./vm.ts";

export const KVM_DEVICE = "/dev/kvm";
const O_RDWR = 2;

/**
 * `/dev/kvm`: what the host can do, and where VMs come from.
 *
 * @example
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * vm.createIrqchip();
 * vm.setIrqLine(4, 1);
 */
export class Kvm extends KvmFd {
  /**
   * Opens `/dev/kvm` and checks its API version.
   *
   * @throws KvmIrqError `kvm-unavailable` when there is no device, it is another one, or its API is not version 12,
   *   `kvm-permission` when this user may not open it.
   */
  static open(path: string = KVM_DEVICE): Kvm {
    const { value, errno } = open(path, O_RDWR);
    if (value < 0) throw openError(path, errno);
    const kvm = new Kvm(value);
    try {
      const version = kvm.#versionOf(path);
      if (version === KVM_API_VERSION) return kvm;
      throw new KvmIrqError("kvm-unavailable", `${path} speaks KVM API ${version}, not ${KVM_API_VERSION}`, {
        hint: "this kernel is older than Linux 2.6.22; use a newer one",
      });
    } catch (error) {
      kvm.close();
      throw error;
    }
  }

  /** What else may have that path (in a container, say) does not know the ioctl. */
  #versionOf(path: string): number {
    try {
      return this.apiVersion();
    } catch (error) {
      if (!(error instanceof KvmError)) throw error;
      throw new KvmIrqError(
        "kvm-unavailable",
        `${path} is not KVM's device: it knows no KVM_GET_API_VERSION`,
        {
          hint: "put the host's /dev/kvm in its place; or use the software model: `--backend model`",
          details: error.details,
        },
      );
    }
  }

  /** KVM_GET_API_VERSION: 12 on every kernel since 2.6.22. */
  apiVersion(): number {
    return this.ioctl("KVM_GET_API_VERSION");
  }

  /** KVM_CHECK_EXTENSION: 0 when the kernel lacks the capability, 1 or more when it has it. */
  checkExtension(cap: CapName): number {
    return this.ioctl("KVM_CHECK_EXTENSION", CAP[cap]);
  }

  /** KVM_GET_VCPU_MMAP_SIZE: bytes of a vCPU's shared `struct kvm_run` area. */
  vcpuMmapSize(): number {
    return this.ioctl("KVM_GET_VCPU_MMAP_SIZE");
  }

  /**
   * KVM_CREATE_VM: a VM without memory, vCPUs or interrupt controllers.
   *
   * @throws KvmError ENOMEM, EMFILE, EBUSY.
   */
  createVm(): Vm {
    return new Vm(this.ioctl("KVM_CREATE_VM"), this);
  }

  /**
   * Insists on a capability.
   *
   * @throws KvmIrqError `kvm-capability` when the kernel lacks it.
   */
  requireExtension(cap: CapName): void {
    if (this.checkExtension(cap) > 0) return;
    throw new KvmIrqError("kvm-capability", `this kernel's KVM lacks ${cap}`, {
      hint: "`kvm-irq doctor` lists what each capability is needed for",
      details: { capability: cap },
    });
  }
}

function openError(path: string, errno: number): KvmIrqError {
  const name = errnoName(errno);
  const details = { path, errno, errno_name: name };
  switch (name) {
    case "EACCES":
      return new KvmIrqError("kvm-permission", `no permission to open ${path}`, {
        hint: accessRemedyHere(path),
        details,
      });
    case "EPERM":
      return new KvmIrqError("kvm-permission", `no permission to open ${path}`, {
        hint: "it is not its mode: a container keeps devices from its processes; pass `--device /dev/kvm`",
        details,
      });
    case "ENOENT":
      return new KvmIrqError("kvm-unavailable", `there is no ${path} on this machine`, {
        hint: "load kvm_intel or kvm_amd, and enable virtualization in the firmware; in a container pass `--device /dev/kvm`; or use the software model: `--backend model`",
        details,
      });
    default:
      return new KvmIrqError("kvm-unavailable", `${path} can't be opened: ${name}`, {
        hint: "the kernel module may not be loaded (`modprobe kvm_intel` or `kvm_amd`); or use the software model: `--backend model`",
        details,
      });
  }
}
