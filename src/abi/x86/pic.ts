import { viewOf } from "../u64.ts";

/**
 * `struct kvm_pic_state` of `<asm/kvm.h>`: 16 bytes, one a field, in this order.
 *
 * `last_irr` holds the line levels, for edge detection; in `elcr` a bit set makes that input
 * level-triggered, and `elcr_mask` says which of its bits software can write.
 */
export const PIC_FIELDS = [
  "last_irr",
  "irr",
  "imr",
  "isr",
  "priority_add",
  "irq_base",
  "read_reg_select",
  "poll",
  "special_mask",
  "init_state",
  "auto_eoi",
  "rotate_on_auto_eoi",
  "special_fully_nested_mode",
  "init4",
  "elcr",
  "elcr_mask",
] as const;

export type PicField = (typeof PIC_FIELDS)[number];

/** An 8259, each field a byte (0 to 255). */
export type PicState = Record<PicField, number>;

/**
 * Decodes a `struct kvm_pic_state`.
 *
 * @param bytes at least 16 bytes; what follows is not looked at.
 * @throws RangeError for fewer, as all decoders.
 */
export function decodePic(bytes: Uint8Array): PicState {
  const view = viewOf(bytes);
  const state = {} as PicState;
  PIC_FIELDS.forEach((field, offset) => {
    state[field] = view.getUint8(offset);
  });
  return state;
}

/** Encodes a `struct kvm_pic_state`: 16 bytes, the exact inverse of {@link decodePic}. */
export function encodePic(state: PicState): Uint8Array {
  return Uint8Array.from(PIC_FIELDS, (field) => state[field]);
}
