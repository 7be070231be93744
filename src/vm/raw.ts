import { KvmIrqError } from "../abi/error.ts";
import { SIZEOF } from "../abi/ioctl.ts";
import { viewOf } from "../abi/u64.ts";
import { IOAPIC_NUM_PINS, IOAPIC_NUM_PINS_IA64, ioapicStateSize } from "../arch/x86/ioapic/layout.ts";
import {
  type ChipImage,
  IRQCHIP_HEADER,
  IRQCHIP_NUMBER,
  MOST_VCPUS,
  parseChipId,
  STATE_SIZE,
} from "./chip.ts";

/**
 * Raw files: what the ioctls return, one behind the other. A `struct kvm_irqchip` (520 bytes) names its
 * chip itself; local APICs (`struct kvm_lapic_state`, 1024 bytes) follow, of vCPU 0, 1 and so on.
 */

const MAX_IRQCHIPS = 3;

export type RawLayout = "x86" | "ia64";

/** The bytes that the ioctl for each chip returns, in order. vCPU images are left out. */
export function toRaw(images: readonly ChipImage[]): Uint8Array {
  return Buffer.concat(
    images.flatMap(({ id, bytes }) => {
      const { kind } = parseChipId(id);
      if (kind === "vcpu") return [];
      if (kind === "lapic") return [bytes];
      const irqchip = new Uint8Array(SIZEOF.kvm_irqchip);
      viewOf(irqchip).setUint32(0, IRQCHIP_NUMBER[kind]!, true);
      irqchip.set(bytes, IRQCHIP_HEADER);
      return [irqchip];
    }),
  );
}

/**
 * Cuts a raw file into chips; the inverse of {@link toRaw}. A lone `struct kvm_ioapic_state` is taken too.
 *
 * @param layout `ia64` for the 48-pin IOAPIC of that architecture.
 * @throws KvmIrqError `bad-input` when the length or a chip's number fits nothing.
 */
export function fromRaw(bytes: Uint8Array, layout: RawLayout = "x86"): ChipImage[] {
  const ioapicSize = ioapicStateSize(layout === "ia64" ? IOAPIC_NUM_PINS_IA64 : IOAPIC_NUM_PINS);
  if (bytes.length === ioapicSize) return [{ id: "ioapic", bytes }];
  // 520, 1040 and 1560 leave different remainders by 1024, so the length alone tells how many of each.
  const irqchips = [0, 1, 2, MAX_IRQCHIPS].find(
    (count) =>
      bytes.length >= count * SIZEOF.kvm_irqchip &&
      (bytes.length - count * SIZEOF.kvm_irqchip) % SIZEOF.kvm_lapic_state === 0,
  );
  if (bytes.length === 0 || irqchips === undefined) {
    throw new KvmIrqError("bad-input", `${bytes.length} bytes are no whole number of chips`, {
      hint: "a raw file has up to three struct kvm_irqchip of 520 bytes, then struct kvm_lapic_state of 1024 bytes",
    });
  }
  const lapicBytes = bytes.subarray(irqchips * SIZEOF.kvm_irqchip);
  const vcpus = lapicBytes.length / SIZEOF.kvm_lapic_state;
  if (vcpus > MOST_VCPUS) {
    throw new KvmIrqError(
      "bad-input",
      `${vcpus} local APICs are too many: a VM has at most ${MOST_VCPUS} vCPUs`,
    );
  }
  const images: ChipImage[] = [];
  for (let n = 0; n < irqchips; n++) {
    images.push(
      irqchipImage(bytes.subarray(n * SIZEOF.kvm_irqchip, (n + 1) * SIZEOF.kvm_irqchip), ioapicSize),
    );
  }
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    const start = vcpu * SIZEOF.kvm_lapic_state;
    images.push({ id: `lapic[${vcpu}]`, bytes: lapicBytes.subarray(start, start + SIZEOF.kvm_lapic_state) });
  }
  return images;
}

function irqchipImage(irqchip: Uint8Array, ioapicSize: number): ChipImage {
  const number = viewOf(irqchip).getUint32(0, true);
  const id = Object.entries(IRQCHIP_NUMBER).find(([, known]) => known === number)?.[0] as
    | "pic1"
    | "pic2"
    | "ioapic"
    | undefined;
  if (id === undefined) {
    throw new KvmIrqError("bad-input", `chip_id ${number} is none of KVM's chips`, {
      hint: "0 is PIC1, 1 is PIC2, 2 is the IOAPIC",
    });
  }
  const size = id === "ioapic" ? ioapicSize : STATE_SIZE[id];
  return { id, bytes: irqchip.subarray(IRQCHIP_HEADER, IRQCHIP_HEADER + size) };
}
