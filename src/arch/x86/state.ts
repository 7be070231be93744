import type { Snapshot as AnySnapshot } from "../../vm/snapshot.ts";
import type { Facts } from "./facts.ts";
import type { IoapicState } from "./ioapic/layout.ts";
import type { LapicState } from "./lapic/layout.ts";
import type { PicState } from "./pic/layout.ts";
import type { VcpuState } from "./vcpu/layout.ts";

/** The decoded chips of a VM, or those of them that were asked for. */
export type Chips = {
  pic1?: PicState;
  pic2?: PicState;
  ioapic?: IoapicState;
  lapic?: LapicState[];
};

/** A snapshot of an x86 VM. */
export type Snapshot = AnySnapshot<Chips, VcpuState> & Facts;
