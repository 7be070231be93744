import { KvmIrqError } from "../abi/error.ts";
import { SIZEOF } from "../abi/ioctl.ts";
import { viewOf } from "../abi/u64.ts";
import type { Arch, Controller } from "../arch/arch.ts";
import { HOST_ARCH } from "../arch/arches.ts";
import { sizesOf } from "../registers/struct.ts";
import { type ChipImage, IRQCHIP_HEADER, MOST_VCPUS } from "./chip.ts";

/**
 * Raw files: what the ioctls return, one behind the other. A `struct kvm_irqchip` (520 bytes) names its
 * chip itself; the chips of each vCPU (`struct kvm_lapic_state`, 1024 bytes) follow, of vCPU 0, 1 and so on.
 */

/** The bytes that the ioctl for each chip returns, in order. vCPU images are left out. */
export function toRaw(images: readonly ChipImage[], arch: Arch = HOST_ARCH): Uint8Array {
  return Buffer.concat(
    images.flatMap(({ id, bytes }) => {
      const controller = arch.controller(id);
      if (controller === undefined || controller === arch.vcpu) return [];
      if (!("irqchip" in controller.access)) return [bytes];
      const irqchip = new Uint8Array(SIZEOF.kvm_irqchip);
      viewOf(irqchip).setUint32(0, controller.access.irqchip, true);
      irqchip.set(bytes, IRQCHIP_HEADER);
      return [irqchip];
    }),
  );
}

/**
 * Cuts a raw file into chips; the inverse of {@link toRaw}. A lone `struct kvm_ioapic_state` is taken too.
 *
 * @param arch the architecture that the bytes are of.
 * @throws KvmIrqError `bad-input` when the length or a chip's number fits nothing.
 */
export function fromRaw(bytes: Uint8Array, arch: Arch = HOST_ARCH): ChipImage[] {
  const kinds = arch.chipKinds.filter(({ access }) => "irqchip" in access);
  const lone = kinds.find(({ last, layout }) => last && sizesOf(layout).includes(bytes.length));
  if (lone !== undefined) return [{ id: lone.kind, bytes }];
  const each = arch.chipKinds.find(({ access }) => "vcpu" in access);
  // 520, 1040 and 1560 leave different remainders by 1024, so the length alone tells how many of each.
  const irqchips = [...kinds.keys(), kinds.length].find((count) => {
    const rest = bytes.length - count * SIZEOF.kvm_irqchip;
    return rest >= 0 && (each === undefined ? rest === 0 : rest % each.layout.size === 0);
  });
  if (bytes.length === 0 || irqchips === undefined) {
    throw new KvmIrqError("bad-input", `${bytes.length} bytes are no whole number of chips`, {
      hint:
        each === undefined
          ? `a raw file of ${arch.name} is one struct kvm_irqchip of 520 bytes; ${HOST_ARCH.rawLayout}'s are read without --layout`
          : `a raw file has up to ${kinds.length} struct kvm_irqchip of 520 bytes, then struct ${each.layout.name} of ${each.layout.size} bytes`,
    });
  }
  const parts = (from: number, size: number, count: number) =>
    Array.from({ length: count }, (_, n) => bytes.subarray(from + n * size, from + (n + 1) * size));
  const size = each?.layout.size ?? 1;
  const start = irqchips * SIZEOF.kvm_irqchip;
  const vcpus = (bytes.length - start) / size;
  if (vcpus > MOST_VCPUS) {
    throw new KvmIrqError(
      "bad-input",
      `${vcpus} ${each!.title}s are too many: a VM has at most ${MOST_VCPUS} vCPUs`,
    );
  }
  return [
    ...parts(0, SIZEOF.kvm_irqchip, irqchips).map((irqchip) => irqchipImage(irqchip, kinds)),
    ...parts(start, size, vcpus).map((image, vcpu) => ({ id: `${each!.kind}[${vcpu}]`, bytes: image })),
  ];
}

function irqchipImage(irqchip: Uint8Array, kinds: readonly Controller[]): ChipImage {
  const number = viewOf(irqchip).getUint32(0, true);
  const numberOf = ({ access }: Controller) => ("irqchip" in access ? access.irqchip : undefined);
  const found = kinds.find((one) => numberOf(one) === number);
  if (found === undefined) {
    throw new KvmIrqError("bad-input", `unknown chip_id ${number}`, {
      hint: kinds
        .map((one) => `${numberOf(one)} is ${/\d$/.test(one.title) ? "" : "the "}${one.title}`)
        .join(", "),
    });
  }
  return { id: found.kind, bytes: irqchip.subarray(IRQCHIP_HEADER, IRQCHIP_HEADER + found.layout.size) };
}
