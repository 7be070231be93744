import { evidenceText, type WordsByCode } from "../../../text/words.ts";
import type { Arrival } from "../explain/context.ts";
import { shadowCause } from "./layout.ts";

const vcpu = ({ cpu }: Arrival) => `vCPU ${cpu.vcpu}`;
const state = ({ cpu }: Arrival) => cpu.state!;
const waitsForSipi = (arrival: Arrival) => state(arrival).mp_state === "init_received";
const vector = (arrival: Arrival) => `vector 0x${state(arrival).interrupt.nr.toString(16)}`;

export const VCPU_WORDS: WordsByCode<Arrival> = {
  "vcpu-no-guest": {
    text: (at) => `${vcpu(at)} never runs: this is a scratch VM without a guest`,
    evidence: "source.kind names a scratch VM",
    until: "once a guest runs",
  },
  "vcpu-unknown": {
    text: (at) => `whether ${vcpu(at)} takes it is not known`,
    evidence: (at) => `vcpus has no ${vcpu(at)}`,
    remedy: "attach to the VM's process (`--pid`), or dump again with a version that reads vCPU state",
  },
  "vcpu-unread": {
    text: (at) => `whether ${vcpu(at)} takes it is not known: what decides it was in the CPU just then`,
    remedy: "run it again with `--via ptrace`, which stops a thread to look",
  },
  "vcpu-paused": {
    text: (at) =>
      `${vcpu(at)} looks paused: for some 20 ms no thread was in KVM_RUN for it, or at work on an exit`,
    until: (at) => `once ${vcpu(at)} is resumed`,
  },
  "vcpu-not-started": {
    text: (at) => `${vcpu(at)} was not started yet, and the INIT that starts it discards what came before`,
    remedy: (at) => `start ${vcpu(at)} with INIT and SIPI first`,
  },
  "vcpu-waits-for-sipi": {
    text: (at) =>
      `${vcpu(at)} ${waitsForSipi(at) ? "was not started yet: it waits for SIPI" : `is in MP state ${state(at).mp_state}`}`,
    until: (at) => `once ${vcpu(at)} ${waitsForSipi(at) ? "is started with SIPI" : "runs"}`,
  },
  "vcpu-in-smm": {
    text: (at) => `${vcpu(at)} is in system management mode`,
    until: (at) => `once ${vcpu(at)} leaves SMM`,
  },
  "vcpu-exception-first": {
    text: (at) => `${vcpu(at)} has exception ${state(at).exception.nr} to take first`,
    until: (at) => `once ${vcpu(at)} has taken exception ${state(at).exception.nr}`,
  },
  "vcpu-nmi-first": {
    text: (at) => `${vcpu(at)} has an NMI to take first`,
    until: (at) => `once ${vcpu(at)} has taken its NMI`,
  },
  "vcpu-interrupt-first": {
    text: (at) => `${vcpu(at)} is about to take ${vector(at)}`,
    until: (at) => `once ${vcpu(at)} has taken ${vector(at)}`,
  },
  "vcpu-nmi-masked": {
    text: (at) => `${vcpu(at)} is in an NMI handler`,
    until: (at) => `once ${vcpu(at)} executes IRET`,
  },
  "vcpu-if-clear": {
    text: (at) =>
      `${vcpu(at)} has interrupts off (RFLAGS.IF clear)${state(at).mp_state === "halted" ? ", and is halted: only an NMI, SMI or INIT wakes it" : ""}`,
    until: "once RFLAGS.IF is set",
  },
  "vcpu-shadow": {
    text: (at) => `${vcpu(at)} is in the interrupt shadow of ${shadowCause(state(at).interrupt.shadow!)}`,
    until: (at) => `once ${vcpu(at)} has executed one more instruction`,
  },
  "vcpu-halted": {
    text: (at) => `${vcpu(at)} is halted, which this ends`,
    evidence: (_, facts) => evidenceText(facts, { brief: true }),
  },
  "vcpu-open": {
    text: (at) => `${vcpu(at)} takes it`,
    evidence: (_, facts) => evidenceText(facts, { brief: true }),
  },
};
