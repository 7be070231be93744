import { hasBit } from "../../../abi/bits.ts";
import { parseChipId } from "../../../vm/chip.ts";
import type { Model } from "../../arch.ts";
import { APIC_BASE_X2APIC_BIT, decodeVcpu } from "../vcpu/layout.ts";
import { ModelMachine } from "./machine.ts";

export const model: Model = {
  make: (vcpus) => new ModelMachine(vcpus),
  misreads(images) {
    const x2apic = images.some(({ id, bytes }) => {
      const { kind, vcpu } = parseChipId(id);
      return kind === "vcpu" && hasBit(decodeVcpu(bytes, vcpu).apic_base, APIC_BASE_X2APIC_BIT);
    });
    return x2apic
      ? "has local APICs in x2APIC mode, which the software model takes for xAPICs: where it sends interrupts may be wrong"
      : undefined;
  },
};
