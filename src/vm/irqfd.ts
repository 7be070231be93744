import type { Gsi } from "../abi/numbers.ts";

/** What can be asked of a VM's irqfds. One GSI has at most one here. */
export type IrqfdAction =
  | {
      do: "bind";
      gsi: Gsi /** For level interrupts: the line drops at EOI, and that is counted. */;
      resample: boolean;
    }
  | { do: "kick"; gsi: Gsi /** Writes to the eventfd. */; count: number }
  | { do: "unbind"; gsi: Gsi }
  | { do: "list" };

/** An eventfd that is bound to a GSI with KVM_IRQFD. */
export interface IrqfdState {
  gsi: Gsi;
  resample: boolean;
  /** Writes to the eventfd so far. */
  kicks: number;
  /** With resample: how often KVM said that the interrupt had its EOI. */
  resampled?: number;
}
