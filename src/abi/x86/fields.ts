import { SIZEOF } from "../ioctl.ts";
import { isOptionalField, type Path, resolvePath } from "../path.ts";
import {
  DELIVERY_MODES,
  DELIVERY_STATUSES,
  DEST_MODES,
  decodeIoapic,
  IOAPIC_NUM_PINS,
  ioapicStateSize,
  POLARITIES,
  TRIG_MODES,
} from "./ioapic.ts";
import { decodeLapic } from "./lapic.ts";
import { decodePic } from "./pic.ts";
import { decodeVcpu, VCPU_IMAGE } from "./vcpu.ts";

/**
 * Insists that a path names something that there can be. Its indices are left to the VM, which may have more
 * vCPUs or fewer.
 *
 * @throws KvmIrqError `bad-path` for a name that no chip has.
 */
export function checkFieldNames({ text, steps }: Path): void {
  const unsure = steps.findIndex((step) => "key" in step && isOptionalField(step.key));
  const sure = unsure === -1 ? steps : steps.slice(0, unsure);
  resolvePath(everyField(), { text, steps: sure.map((step) => ("key" in step ? step : { from: 0, to: 0 })) });
}

/** One of each: what a snapshot of any VM has the same fields as. */
function everyField(): object {
  const pic = decodePic(new Uint8Array(SIZEOF.kvm_pic_state));
  return {
    pic1: pic,
    pic2: pic,
    ioapic: decodeIoapic(new Uint8Array(ioapicStateSize(IOAPIC_NUM_PINS))),
    lapic: [decodeLapic(new Uint8Array(SIZEOF.kvm_lapic_state), 0)],
    vcpus: [decodeVcpu(new Uint8Array(VCPU_IMAGE.size), 0)],
  };
}

const WORDS: Readonly<Record<string, readonly string[]>> = {
  delivery_mode: DELIVERY_MODES,
  dest_mode: DEST_MODES,
  delivery_status: DELIVERY_STATUSES,
  polarity: POLARITIES,
  trig_mode: TRIG_MODES,
};

/** The words that the field at the end of a path can be; nothing for a field that is no word, or any. */
export function wordsOf(path: string): readonly string[] | undefined {
  return WORDS[path.slice(path.lastIndexOf(".") + 1)];
}
