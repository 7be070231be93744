import { hasBit } from "../../../abi/bits.ts";
import { bitClear, bitSet, is, missing } from "../../../rules/evidence.ts";
import { type Rule, rule } from "../../../rules/rule.ts";
import type { Arrival } from "../explain/context.ts";
import type { Cpu } from "../lapic/logic.ts";
import { IF_BIT, type VcpuState } from "./layout.ts";

/** What arrives at a vCPU whose state is known. */
export interface AtVcpu extends Pick<Arrival, "deliveryMode"> {
  state: VcpuState;
}

const INIT = "SDM vol. 3, 9.4 and 12.4.7.3: INIT resets the local APIC, and queued NMIs and SMIs with it";
const SMM = "SDM vol. 3, 33.3 and 33.8";
const PRIORITY = "SDM vol. 3, 7.9; KVM x86.c kvm_check_and_inject_events";
const NMI = "SDM vol. 3, 7.7.1";
const SHADOW = "SDM vol. 3, 7.8.3; KVM holds NMIs in either shadow too, SMI and INIT in none";
const RUN = "KVM api.rst, KVM_RUN";

const of = ({ state }: AtVcpu, field: string) => `vcpus[${state.vcpu}].${field}`;
const isInit = ({ deliveryMode }: AtVcpu) => deliveryMode === "init";
const isSmiOrInit = (at: AtVcpu) => at.deliveryMode === "smi" || isInit(at);
const isUnmaskable = (at: AtVcpu) => at.deliveryMode === "nmi" || isSmiOrInit(at);

/** What decides it and could not be read. */
function unread(at: AtVcpu): string | undefined {
  if (isSmiOrInit(at)) return undefined;
  if (at.deliveryMode === "nmi") return at.state.nmi.masked === undefined ? "nmi.masked" : undefined;
  return at.state.rflags === undefined ? "rflags" : undefined;
}

/** What is before an interrupt that has come to a vCPU: what SMM itself holds is another SMI, and INIT. */
const BEFORE_IT: readonly Rule<AtVcpu>[] = [
  rule("vcpu-not-started", "blocked", INIT, (at) => {
    const { mp_state } = at.state;
    return mp_state === "uninitialized" && !isInit(at) && [is(of(at, "mp_state"), mp_state)];
  }),
  rule("vcpu-waits-for-sipi", "held", INIT, (at) => {
    const { mp_state } = at.state;
    return !["runnable", "halted"].includes(mp_state) && !isInit(at) && [is(of(at, "mp_state"), mp_state)];
  }),
  rule("vcpu-in-smm", "held", SMM, (at) => {
    return at.state.smi.smm && isSmiOrInit(at) && [is(of(at, "smi.smm"), true)];
  }),
  rule("vcpu-exception-first", "held", PRIORITY, (at) => {
    const { injected, pending } = at.state.exception;
    return (injected || pending) && [is(of(at, `exception.${injected ? "injected" : "pending"}`), true)];
  }),
  rule("vcpu-nmi-first", "held", PRIORITY, (at) => {
    const { injected, pending, masked } = at.state.nmi;
    if (injected) return [is(of(at, "nmi.injected"), true)];
    return pending !== 0 && !masked && [is(of(at, "nmi.pending"), pending)];
  }),
  rule("vcpu-interrupt-first", "held", PRIORITY, (at) => {
    return at.state.interrupt.injected && [is(of(at, "interrupt.injected"), true)];
  }),
  rule("vcpu-nmi-masked", "held", NMI, (at) => {
    return at.deliveryMode === "nmi" && at.state.nmi.masked === true && [is(of(at, "nmi.masked"), true)];
  }),
  rule("vcpu-if-clear", "held", "SDM vol. 3, 7.8.1", (at) => {
    const { rflags } = at.state;
    const unheld = isUnmaskable(at) || rflags === undefined || hasBit(rflags, IF_BIT);
    return !unheld && [bitClear(of(at, "rflags"), IF_BIT)];
  }),
  rule("vcpu-shadow", "held", SHADOW, (at) => {
    const { shadow } = at.state.interrupt;
    return (
      shadow !== undefined && shadow !== 0 && !isSmiOrInit(at) && [is(of(at, "interrupt.shadow"), shadow)]
    );
  }),
];

const ofKnown = ({ code, level, ref, test }: Rule<AtVcpu>): Rule<Arrival> => ({
  code,
  level: { hop: level.hop! },
  ref,
  test: ({ cpu: { state }, deliveryMode }) => state && test({ state, deliveryMode }),
});

const takesIt = ({ cpu: { vcpu, state } }: Arrival) => [
  is(`vcpus[${vcpu}].mp_state`, state!.mp_state),
  ...(state!.rflags === undefined
    ? []
    : [(hasBit(state!.rflags, IF_BIT) ? bitSet : bitClear)(`vcpus[${vcpu}].rflags`, IF_BIT)]),
];

/** Whether the vCPU would take it at once. */
export const VCPU_RULES: readonly Rule<Arrival>[] = [
  rule("vcpu-no-guest", "held", RUN, ({ guest }) => !guest && []),
  rule("vcpu-unknown", "unknown", RUN, ({ cpu }) => {
    return cpu.state === undefined && [missing(`vcpus[${cpu.vcpu}]`)];
  }),
  rule("vcpu-paused", "held", RUN, ({ cpu }) => {
    return cpu.state?.run === false && [is(`vcpus[${cpu.vcpu}].run`, false)];
  }),
  ...BEFORE_IT.map(ofKnown),
  rule("vcpu-unread", "unknown", RUN, ({ cpu: { state }, deliveryMode }) => {
    const at = state && { state, deliveryMode };
    const field = at && unread(at);
    return field !== undefined && [missing(of(at!, field))];
  }),
  rule("vcpu-halted", "open", "SDM vol. 2, HLT", (arrival) => {
    return arrival.cpu.state?.mp_state === "halted" && takesIt(arrival);
  }),
  rule("vcpu-open", "open", PRIORITY, takesIt),
];

/** Whether an interrupt finds a vCPU ready: out of reset, IF set, and nothing of precedence before it. */
export function takesInterrupts(state: VcpuState): boolean {
  const at: AtVcpu = { state, deliveryMode: "fixed" };
  return unread(at) === undefined && BEFORE_IT.every(({ test }) => !test(at));
}

/** Whether a vCPU has interrupts on and is being run, as far as that is known. */
export function interruptible({ state }: Cpu): boolean {
  return state !== undefined && state.run !== false && takesInterrupts(state);
}
