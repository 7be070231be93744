import { viewOf } from "../../../abi/u64.ts";
import { behind, moving, type NodeOf, number, structure, wide } from "../../../registers/memory.ts";
import { LAPIC, LAPIC_REGISTERS, LAPIC_VECTOR_REGISTERS, STRIDE } from "./layout.ts";

/** A local APIC as KVM keeps it (arch/x86/kvm/lapic.h): the register page, and what stands beside it. */
export const LAPIC_MEMORY = structure("kvm_lapic", {
  regs: behind("regs", LAPIC.size),
  divide_count: number("divide_count"),
  /** INIT and SIPI that wait: bits 0 and 1. */
  pending_events: number("pending_events"),
  /** The bits of the timer's LVT entry that are its mode. */
  timer_mode: number("lapic_timer.timer_mode"),
  timer_period: wide("lapic_timer.period"),
  /** When the timer fires, in nanoseconds of CLOCK_MONOTONIC. */
  timer_expires: moving(wide("lapic_timer.target_expiration")),
  timer_pending: number("lapic_timer.pending.counter"),
  tscdeadline: moving(wide("lapic_timer.tscdeadline")),
  /** Whether the host's timer is started for it (HRTIMER_STATE_ENQUEUED), and when that fires. */
  hrtimer_state: moving(number("lapic_timer.timer.state")),
  hrtimer_expires: moving(wide("lapic_timer.timer.node.expires")),
  hv_timer: moving(number("lapic_timer.hv_timer_in_use")),
  /** In `struct kvm_vcpu_arch` before 6.1. */
  apicv_active: number("apicv_active"),
});
export type LapicMemory = NodeOf<typeof LAPIC_MEMORY>;

/** `APIC_LVT_TIMER_TSCDEADLINE` of arch/x86/include/asm/apicdef.h. */
export const TSC_DEADLINE = 2 << 17;

/** What decides how KVM_GET_LAPIC shows the page. */
export interface Shown {
  x2apic: boolean;
  /** KVM_X2APIC_API_USE_32BIT_IDS. */
  wideIds: boolean;
  /** Whether the page has the command register as one of 64 bits, of which KVM_GET_LAPIC makes two. */
  wideIcr: boolean;
  vcpuId: number;
  /** Nanoseconds of a cycle of the timer's clock. */
  cycleNs: bigint;
  /** CLOCK_MONOTONIC at the time of the reading. */
  nowNs: bigint;
}

/** What KVM_GET_LAPIC gives (kvm_apic_get_state and kvm_apic_state_fixup, arch/x86/kvm/lapic.c). */
export function lapicImage(lapic: LapicMemory, shown: Shown): Uint8Array | undefined {
  if (lapic.regs === undefined) return undefined;
  const bytes = Uint8Array.from(lapic.regs);
  const view = viewOf(bytes);
  view.setUint32(LAPIC_REGISTERS.timer_current, currentCount(lapic, shown), true);
  if (!shown.x2apic) return bytes;
  if (!shown.wideIds) view.setUint32(LAPIC_REGISTERS.id, (shown.vcpuId << 24) >>> 0, true);
  const { icr, icr2 } = LAPIC_REGISTERS;
  if (shown.wideIcr) view.setUint32(icr2, view.getUint32(icr + 4, true), true);
  return bytes;
}

/** KVM_GET_LAPIC takes what was posted into the IRR first (sync_pir_to_irr). @param pir a bit for each vector. */
export function postedInto(image: Uint8Array, pir: Uint8Array): Uint8Array {
  for (const [index, byte] of pir.entries()) {
    const at = LAPIC_VECTOR_REGISTERS.irr + (index >> 2) * STRIDE + (index & 3);
    image[at] = image[at]! | byte;
  }
  return image;
}

/** What is left of the timer's count (Intel SDM vol. 3, 12.5.4). */
function currentCount(lapic: LapicMemory, { nowNs, cycleNs }: Shown): number {
  const { regs, timer_mode, timer_period = 0n, timer_expires = 0n, divide_count = 0 } = lapic;
  const initial = viewOf(regs!).getUint32(LAPIC_REGISTERS.timer_initial, true);
  if (timer_mode === TSC_DEADLINE || initial === 0 || timer_period === 0n || divide_count === 0) return 0;
  const left = BigInt.asIntN(64, timer_expires - nowNs);
  if (left <= 0n) return 0;
  return Number(BigInt.asUintN(32, (left % timer_period) / (cycleNs * BigInt(divide_count))));
}
