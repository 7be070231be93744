import { hasBit } from "../../../abi/bits.ts";
import { hex } from "../../../text/format.ts";
import type { View } from "../../../text/view.ts";
import { IF_BIT, shadowCause, type VcpuState } from "./layout.ts";

/**
 * What decides whether a vCPU takes an interrupt, on one line.
 *
 * @param foreign whether it is another process's, of which it is worth saying that nobody runs it.
 */
export function renderVcpu(vcpu: VcpuState, { paint }: View, foreign = false): string {
  const { interrupt, exception, nmi, smi } = vcpu;
  const { rip, rflags } = vcpu;
  const words = [
    vcpu.mp_state,
    rip !== undefined && `rip ${hex(rip, 4)}`,
    rflags === undefined
      ? "IF not known"
      : hasBit(rflags, IF_BIT)
        ? paint.green("IF set")
        : paint.yellow("IF clear"),
    !!interrupt.shadow && `shadow of ${shadowCause(interrupt.shadow)}`,
    interrupt.injected && paint.magenta(`interrupt ${hex(interrupt.nr)} injected`),
    (exception.injected || exception.pending) && `exception ${hex(exception.nr)} first`,
    (nmi.injected || (nmi.pending > 0 && !nmi.masked)) && "NMI first",
    nmi.masked && "NMIs masked",
    smi.smm && "in SMM",
    smi.pending && "SMI pending",
    foreign && vcpu.run === false && paint.yellow("not running"),
  ].filter((word) => word !== false);
  return `vCPU ${vcpu.vcpu}    ${words.join(", ")}\n`;
}
