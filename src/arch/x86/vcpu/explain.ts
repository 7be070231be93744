import { bitsOf, hasBit } from "../../../abi/bits.ts";
import { type Check, runChecks, type StageDraft, type StageResult } from "../../../rules/explanation.ts";
import type { CpuContext } from "../explain/context.ts";
import type { Cpu } from "../lapic/logic.ts";
import { RFLAGS_IF, shadowCause, type VcpuState } from "./layout.ts";

/** RFLAGS.IF. */
export const IF_BIT = bitsOf(RFLAGS_IF)[0]!;

/** Stage 6: whether the vCPU would take it at once. */
export function vcpuStage(context: CpuContext): StageDraft {
  const { cpu, guest } = context;
  if (!guest) return { name: "vcpu", ...noGuest(cpu.vcpu) };
  if (cpu.state === undefined) return { name: "vcpu", ...notInSnapshot(cpu.vcpu) };
  if (cpu.state.run === false) return { name: "vcpu", ...paused(cpu.state) };
  return runChecks("vcpu", VCPU_CHECKS, { ...context, state: cpu.state }, takesIt(cpu.state));
}

/** Whether an interrupt finds a vCPU ready: out of reset, IF set, and nothing of precedence before it. */
export function takesInterrupts(state: VcpuState): boolean {
  const context = { state, deliveryMode: "fixed" as const };
  return VCPU_CHECKS.every((check) => check(context) === undefined);
}

/** Whether a vCPU has interrupts on and is being run, as far as that is known. */
export function interruptible({ state }: Cpu): boolean {
  return state !== undefined && state.run !== false && takesInterrupts(state);
}

function paused(state: VcpuState): StageResult {
  return held(
    state,
    "vcpu-paused",
    "is paused: no thread is in KVM_RUN for it",
    "run = false",
    `once vCPU ${state.vcpu} is resumed`,
  );
}

type StateContext = Pick<CpuContext, "deliveryMode"> & { state: VcpuState };

function noGuest(vcpu: number): StageResult {
  return {
    state: "held",
    code: "vcpu-no-guest",
    text: `vCPU ${vcpu} never runs: this is a scratch VM without a guest`,
    evidence: "source.kind names a scratch VM",
    until: "once a guest runs",
  };
}

function notInSnapshot(vcpu: number): StageResult {
  return {
    state: "unknown",
    code: "vcpu-unknown",
    text: `whether vCPU ${vcpu} takes it is not known`,
    evidence: `vcpus has no vCPU ${vcpu}`,
    remedy: "attach to the VM's process (`--pid`), or dump again with a version that reads vCPU state",
  };
}

function takesIt(state: VcpuState): StageResult {
  const halted = state.mp_state === "halted";
  return {
    state: "open",
    code: halted ? "vcpu-halted" : "vcpu-open",
    text: `vCPU ${state.vcpu} ${halted ? "is halted, which this ends" : "takes it"}`,
    evidence: `vcpus[${state.vcpu}].mp_state = ${state.mp_state}, rflags bit ${IF_BIT} ${hasBit(state.rflags, IF_BIT) ? "set" : "clear"}`,
  };
}

const VCPU_CHECKS: readonly Check<StateContext>[] = [
  notStarted,
  waitsForSipi,
  inSmm,
  exceptionFirst,
  nmiFirst,
  injectedFirst,
  nmiMasked,
  interruptsOff,
  shadow,
];

const notVectored = (mode: CpuContext["deliveryMode"]) => mode === "nmi" || mode === "smi" || mode === "init";

function held(state: VcpuState, code: string, what: string, evidence: string, until: string): StageResult {
  return {
    state: "held",
    code,
    text: `vCPU ${state.vcpu} ${what}`,
    evidence: `vcpus[${state.vcpu}].${evidence}`,
    until,
  };
}

/** INIT resets the local APIC, and queued NMIs and SMIs with it (Intel SDM vol. 3, 12.4.7.3). */
function notStarted({ state, deliveryMode }: StateContext): StageResult | undefined {
  if (state.mp_state !== "uninitialized" || deliveryMode === "init") return undefined;
  return {
    state: "blocked",
    code: "vcpu-not-started",
    text: `vCPU ${state.vcpu} was not started yet, and the INIT that starts it discards what came before`,
    evidence: `vcpus[${state.vcpu}].mp_state = uninitialized`,
    remedy: `start vCPU ${state.vcpu} with INIT and SIPI first`,
  };
}

function waitsForSipi({ state, deliveryMode }: StateContext) {
  const { vcpu, mp_state } = state;
  if (mp_state === "runnable" || mp_state === "halted" || deliveryMode === "init") return undefined;
  const sipi = mp_state === "init_received";
  return held(
    state,
    "vcpu-waits-for-sipi",
    sipi ? "was not started yet: it waits for SIPI" : `is in MP state ${mp_state}`,
    `mp_state = ${mp_state}`,
    sipi ? `once vCPU ${vcpu} is started with SIPI` : `once vCPU ${vcpu} runs`,
  );
}

/** What SMM itself holds: another SMI, and INIT. For the rest RFLAGS.IF and the masking of NMIs decide. */
function inSmm({ state, deliveryMode }: StateContext) {
  if (!state.smi.smm || (deliveryMode !== "smi" && deliveryMode !== "init")) return undefined;
  return held(
    state,
    "vcpu-in-smm",
    "is in system management mode",
    "smi.smm = true",
    `once vCPU ${state.vcpu} leaves SMM`,
  );
}

function exceptionFirst({ state }: StateContext) {
  if (!state.exception.injected && !state.exception.pending) return undefined;
  return held(
    state,
    "vcpu-exception-first",
    `has exception ${state.exception.nr} to take first`,
    `exception.${state.exception.injected ? "injected" : "pending"} = true`,
    `once vCPU ${state.vcpu} has taken exception ${state.exception.nr}`,
  );
}

function nmiFirst({ state }: StateContext) {
  if (!state.nmi.injected && (state.nmi.pending === 0 || state.nmi.masked)) return undefined;
  return held(
    state,
    "vcpu-nmi-first",
    "has an NMI to take first",
    state.nmi.injected ? "nmi.injected = true" : `nmi.pending = ${state.nmi.pending}`,
    `once vCPU ${state.vcpu} has taken its NMI`,
  );
}

function injectedFirst({ state }: StateContext) {
  if (!state.interrupt.injected) return undefined;
  return held(
    state,
    "vcpu-interrupt-first",
    `is about to take vector 0x${state.interrupt.nr.toString(16)}`,
    "interrupt.injected = true",
    `once vCPU ${state.vcpu} has taken vector 0x${state.interrupt.nr.toString(16)}`,
  );
}

function nmiMasked({ state, deliveryMode }: StateContext) {
  if (deliveryMode !== "nmi" || !state.nmi.masked) return undefined;
  return held(
    state,
    "vcpu-nmi-masked",
    "is in an NMI handler",
    "nmi.masked = true",
    `once vCPU ${state.vcpu} executes IRET`,
  );
}

function interruptsOff({ state, deliveryMode }: StateContext) {
  if (notVectored(deliveryMode) || hasBit(state.rflags, IF_BIT)) return undefined;
  const halted = state.mp_state === "halted" ? ", and is halted: only an NMI, SMI or INIT wakes it" : "";
  return held(
    state,
    "vcpu-if-clear",
    `has interrupts off (RFLAGS.IF clear)${halted}`,
    `rflags bit ${IF_BIT} clear`,
    "once RFLAGS.IF is set",
  );
}

/** KVM holds NMIs in either shadow too; SMI and INIT in none. */
function shadow({ state, deliveryMode }: StateContext) {
  if (state.interrupt.shadow === 0 || deliveryMode === "smi" || deliveryMode === "init") return undefined;
  return held(
    state,
    "vcpu-shadow",
    `is in the interrupt shadow of ${shadowCause(state.interrupt.shadow)}`,
    `interrupt.shadow = ${state.interrupt.shadow}`,
    `once vCPU ${state.vcpu} has executed one more instruction`,
  );
}
