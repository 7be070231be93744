/**
 * Numbers that are easily taken for one another. A plain number is any of them; one that is known to be of one kind is
 * none of the others, so that a pin can't be handed on as a GSI. At run time they are numbers.
 */

declare const kind: unique symbol;
type NumberOf<Kind extends string> = number & { readonly [kind]?: Kind };

/** A global system interrupt: what KVM_IRQ_LINE raises, and routes begin with. */
export type Gsi = NumberOf<"gsi">;
/** An input of a chip, counted from 0. */
export type Pin = NumberOf<"pin">;
/** What a CPU is interrupted with: 0 to 255. */
export type Vector = NumberOf<"vector">;
/** What a local APIC is addressed by, in physical mode. */
export type ApicId = NumberOf<"apic id">;
