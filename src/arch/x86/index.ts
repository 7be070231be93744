import { SIZEOF } from "../../abi/ioctl.ts";
import { type ChipId, type ChipImage, isChipId, parseChipId } from "../../vm/chip.ts";
import type { Arch, Chips, VcpuList } from "../arch.ts";
import { decodeIoapic, encodeIoapic, IOAPIC_NUM_PINS, ioapicStateSize } from "./ioapic/layout.ts";
import { decodeLapic, encodeLapic } from "./lapic/layout.ts";
import { decodePic, encodePic } from "./pic/layout.ts";
import { decodeVcpu, VCPU_IMAGE } from "./vcpu/layout.ts";

/** x86-64: two 8259 PICs, an IOAPIC of 24 pins, and a local APIC for each vCPU. */
export const X86_64: Arch = {
  name: "x86_64",
  chipWords: ["pic1", "pic2", "pic", "ioapic", "lapic", "vcpu", "all"],
  chips: (vcpus) => [
    "pic1",
    "pic2",
    "ioapic",
    ...Array.from({ length: vcpus }, (_, n): ChipId => `lapic[${n}]`),
  ],
  chipFilter(word) {
    switch (word) {
      case "all":
        return (id) => parseChipId(id).kind !== "vcpu";
      case "pic":
        return (id) => id === "pic1" || id === "pic2";
      case "lapic":
      case "vcpu":
        return (id) => parseChipId(id).kind === word;
      default:
        return isChipId(word) ? (id) => id === word : undefined;
    }
  },
  gsis: {
    count: IOAPIC_NUM_PINS,
    description: "0-15 reach the PICs and the IOAPIC, 16-23 the IOAPIC alone",
  },
  ioapicPins: IOAPIC_NUM_PINS,
  maxVcpus: 255,
  decode: decodeImages,
  imageSizes: {
    pic1: SIZEOF.kvm_pic_state,
    pic2: SIZEOF.kvm_pic_state,
    ioapic: ioapicStateSize(IOAPIC_NUM_PINS),
    lapic: SIZEOF.kvm_lapic_state,
    vcpu: VCPU_IMAGE.size,
  },
  encode: encodeChips,
};

function decodeImages(images: readonly ChipImage[]): { chips: Chips; vcpus?: VcpuList } {
  const chips: Chips = {};
  const vcpus: VcpuList = [];
  for (const { id, bytes } of images) {
    const { kind, vcpu } = parseChipId(id);
    switch (kind) {
      case "pic1":
      case "pic2":
        chips[kind] = decodePic(bytes);
        break;
      case "ioapic":
        chips.ioapic = decodeIoapic(bytes);
        break;
      case "lapic":
        chips.lapic ??= [];
        chips.lapic.push(decodeLapic(bytes, vcpu));
        break;
      case "vcpu":
        vcpus.push(decodeVcpu(bytes, vcpu));
        break;
    }
  }
  return vcpus.length === 0 ? { chips } : { chips, vcpus };
}

function encodeChips(chips: Chips): ChipImage[] {
  const images: ChipImage[] = [];
  if (chips.pic1) images.push({ id: "pic1", bytes: encodePic(chips.pic1) });
  if (chips.pic2) images.push({ id: "pic2", bytes: encodePic(chips.pic2) });
  // Local APICs before the IOAPIC: what the IOAPIC re-injects when it is set must find them in place.
  for (const lapic of chips.lapic ?? []) {
    images.push({ id: `lapic[${lapic.vcpu}]`, bytes: encodeLapic(lapic) });
  }
  if (chips.ioapic) images.push({ id: "ioapic", bytes: encodeIoapic(chips.ioapic) });
  return images;
}
