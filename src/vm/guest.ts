/** What a guest can set up: the PICs, or the IOAPIC and the local APIC. */
export const GUEST_PROGRAMS = {
  pic: "both PICs open, vector 0x20 + GSI",
  ioapic: "every IOAPIC pin open, vector 0x30 + pin, 0-15 edge, 16-23 level, to the local APIC",
} as const;

export type GuestProgram = keyof typeof GUEST_PROGRAMS;

/** A guest that takes interrupts, and how far it has come. */
export interface GuestState {
  program: GuestProgram;
  running: boolean;
  /** Why it runs no more. */
  ended?: string;
  /** How often each vector's handler ran, lowest vector first; those that never did are left out. */
  handled: { vector: number; count: number }[];
}

/** How often handlers ran, all vectors together. */
export function handledInAll({ handled }: GuestState): number {
  return handled.reduce((sum, { count }) => sum + count, 0);
}
