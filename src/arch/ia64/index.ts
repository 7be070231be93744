import type { Controller } from "../arch.ts";
import { codecOf } from "../codec.ts";
import { ioapicOf } from "../ioapic-layout.ts";

/** `KVM_IOAPIC_NUM_PINS` of ia64. */
const PINS = 48;
const CHIPS: readonly Controller[] = [
  { kind: "ioapic", title: "IOAPIC", access: { irqchip: 2 }, layout: ioapicOf(PINS), last: true },
];

/**
 * ia64, which left Linux's KVM in 3.19: an IOSAPIC with the layout of x86's IOAPIC and 48 pins. There is
 * no host to run it on; it is here to read bytes that were saved.
 */
export const IA64 = {
  name: "ia64",
  chipKinds: CHIPS,
  maxVcpus: 0,
  onlyDecoded: true,
  rawLayout: "ia64",
  facts: {},
  ...codecOf(CHIPS),
};
