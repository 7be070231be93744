import { RFLAGS_IF, SHADOW_MOV_SS, type VcpuState } from "../abi/x86/vcpu.ts";
import { bitsOf, hasBit } from "./bits.ts";
import type { CpuContext } from "./explain-context.ts";
import { type Check, runChecks, type Stage, type StageResult } from "./explanation.ts";

const IF_BIT = bitsOf(RFLAGS_IF)[0]!;

/** Stage 6: whether the vCPU would take it at once. */
export function vcpuStage(context: CpuContext): Stage {
  const { cpu, guest } = context;
  if (!guest) return { name: "vcpu", ...noGuest(cpu.vcpu) };
  if (cpu.state === undefined) return { name: "vcpu", ...notInSnapshot(cpu.vcpu) };
  return runChecks("vcpu", VCPU_CHECKS, { ...context, state: cpu.state }, takesIt(cpu.state));
}

/** Whether an interrupt finds a vCPU ready: out of reset, IF set, and nothing of precedence before it. */
export function takesInterrupts(state: VcpuState): boolean {
  const context = { state, deliveryMode: "fixed" as const };
  return VCPU_CHECKS.every((check) => check(context) === undefined);
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

function waitsForSipi({ state }: StateContext) {
  if (state.mp_state === "runnable" || state.mp_state === "halted") return undefined;
  return held(
    state,
    "vcpu-waits-for-sipi",
    "was not started yet: it waits for INIT and SIPI",
    `mp_state = ${state.mp_state}`,
    `once vCPU ${state.vcpu} is started with INIT and SIPI`,
  );
}

function inSmm({ state }: StateContext) {
  if (!state.smi.smm) return undefined;
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

function shadow({ state, deliveryMode }: StateContext) {
  const by = state.interrupt.shadow & SHADOW_MOV_SS ? "MOV SS" : "STI";
  const counts = notVectored(deliveryMode) ? state.interrupt.shadow & SHADOW_MOV_SS : state.interrupt.shadow;
  if (!counts) return undefined;
  return held(
    state,
    "vcpu-shadow",
    `is in the interrupt shadow of ${by}`,
    `interrupt.shadow = ${state.interrupt.shadow}`,
    `once vCPU ${state.vcpu} has executed one more instruction`,
  );
}
