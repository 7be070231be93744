import { KvmIrqError } from "../../abi/error.ts";
import type { Arch } from "../arch.ts";
import { decodeIoapic, encodeIoapic, IOAPIC_NUM_PINS_IA64, ioapicStateSize } from "../x86/ioapic/layout.ts";

/**
 * ia64, which left Linux's KVM in 3.19: an IOSAPIC with the layout of x86's IOAPIC and 48 pins. There is
 * no host to run it on; it is here to read bytes that were saved.
 */
export const IA64: Arch = {
  name: "ia64",
  chipWords: ["ioapic", "all"],
  chips: () => ["ioapic"],
  chipFilter: (word) => (word === "ioapic" || word === "all" ? (id) => id === "ioapic" : undefined),
  gsis: { count: IOAPIC_NUM_PINS_IA64, description: "0-47 reach the IOSAPIC" },
  ioapicPins: IOAPIC_NUM_PINS_IA64,
  maxVcpus: 0,
  decode: (images) => {
    const ioapic = images.find(({ id }) => id === "ioapic");
    return {
      chips: ioapic === undefined ? {} : { ioapic: decodeIoapic(ioapic.bytes, IOAPIC_NUM_PINS_IA64) },
    };
  },
  imageSizes: { pic1: 0, pic2: 0, ioapic: ioapicStateSize(IOAPIC_NUM_PINS_IA64), lapic: 0, vcpu: 0 },
  encode({ ioapic }) {
    if (ioapic === undefined) throw new KvmIrqError("bad-input", "ia64 has an IOAPIC and nothing else");
    return [{ id: "ioapic", bytes: encodeIoapic(ioapic) }];
  },
};
