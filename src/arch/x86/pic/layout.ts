import { bitwise, type RecordOf, u8 } from "../../../registers/field.ts";
import { struct } from "../../../registers/struct.ts";

/** `struct kvm_pic_state` of `<asm/kvm.h>`: an 8259, a byte a field. */
export const PIC = struct("kvm_pic_state", 16, {
  /** The line levels, for edge detection. */
  last_irr: bitwise(u8(0)),
  irr: bitwise(u8(1)),
  imr: bitwise(u8(2)),
  isr: bitwise(u8(3)),
  priority_add: u8(4),
  irq_base: u8(5),
  read_reg_select: u8(6),
  poll: u8(7),
  special_mask: u8(8),
  init_state: u8(9),
  auto_eoi: u8(10),
  rotate_on_auto_eoi: u8(11),
  special_fully_nested_mode: u8(12),
  init4: u8(13),
  /** A bit set makes that input level-triggered. */
  elcr: bitwise(u8(14)),
  /** Which bits of `elcr` software can write. */
  elcr_mask: bitwise(u8(15)),
});

/** The input of the master that the slave's output is wired to. */
export const CASCADE_PIN = 2;

/** An 8259, each field a byte (0 to 255). */
export type PicState = RecordOf<typeof PIC.fields>;
export type PicField = keyof PicState;

/** Decodes a `struct kvm_pic_state`; see {@link PIC}. @throws RangeError for fewer than 16 bytes. */
export const decodePic = PIC.decode;
/** Encodes a `struct kvm_pic_state`: 16 bytes, the exact inverse of {@link decodePic}. */
export const encodePic = PIC.encode;
