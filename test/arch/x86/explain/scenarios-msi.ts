import type { MsiMessage } from "../../../../src/vm/routing.ts";
import type { Scenario } from "./scenario.ts";

const GSI = 30;
/** GSI 30 sends a message. */
const sends = (address: number, data: number): { gsi: number; msi: MsiMessage }[] => [
  { gsi: GSI, msi: { address, data } },
];

/** GSIs that send MSIs. */
export const MSI_SCENARIOS: readonly Scenario[] = [
  {
    name: "a route to an MSI",
    gsi: GSI,
    sentence: "GSI 30 would reach vCPU 1 as vector 0x41 through an MSI",
    vcpus: 2,
    base: "ioapic",
    routing: sends(0xfee0_1000, 0x41),
  },
  {
    name: "an MSI of a vector that is pending already",
    gsi: GSI,
    sentence: "GSI 30 would reach vCPU 0 as vector 0x41 through an MSI",
    base: "ioapic",
    change: ({ lapic }) => lapic[0]!.irr.push(0x41),
    routing: sends(0xfee0_0000, 0x41),
  },
  {
    name: "an MSI with the redirection hint, of which the vector picks the CPU",
    gsi: GSI,
    sentence: "GSI 30 would reach vCPU 1 as vector 0x41 through an MSI",
    vcpus: 2,
    base: "ioapic",
    routing: sends(0xfeef_f008, 0x41),
  },
  {
    name: "an MSI to nobody",
    gsi: GSI,
    sentence: "GSI 30 is blocked: physical destination 0x09 of the MSI of GSI 30 matches no local APIC",
    base: "ioapic",
    routing: sends(0xfee0_9000, 0x41),
  },
  {
    name: "an MSI of delivery mode ExtINT",
    gsi: GSI,
    sentence:
      "GSI 30 is blocked: the MSI of GSI 30 has delivery mode extint, which brings no interrupt under KVM",
    base: "ioapic",
    routing: sends(0xfee0_0000, 0x741),
  },
  {
    name: "an MSI of delivery mode SMI",
    gsi: GSI,
    sentence:
      "GSI 30 can't be followed: the MSI of GSI 30 sends an SMI, which only a kernel with CONFIG_KVM_SMM delivers",
    base: "ioapic",
    routing: sends(0xfee0_0000, 0x241),
  },
  {
    name: "a lowest-priority MSI that falls on nobody",
    gsi: GSI,
    sentence:
      "GSI 30 is blocked: lowest priority of the MSI of GSI 30 falls on a bit of logical destination 0x03 that no enabled local APIC has",
    base: "ioapic",
    change: ({ lapic }) => {
      lapic[0]!.ldr = 0x0100_0000;
    },
    routing: sends(0xfee0_3004, 0x141),
  },
];
