import { number, packed, structure } from "../../../registers/memory.ts";
import { PIC } from "./layout.ts";

/** `struct kvm_kpic_state` has what `struct kvm_pic_state` has, by the same names (arch/x86/kvm/irq.h). */
function state(index: number) {
  return packed(...Object.keys(PIC.fields).map((name) => `pics[${index}].${name}`));
}

/** Both PICs as KVM keeps them: what KVM_GET_IRQCHIP copies, and who holds their lines up. */
export const PIC_MEMORY = structure("kvm_pic", {
  pic1: state(0),
  pic2: state(1),
  /** The INTR output, as it was last worked out. */
  output: number("output"),
  /** For each line a bit for each source that holds it up. */
  irq_states: packed("irq_states"),
});
