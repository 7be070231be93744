import { hex } from "../../../abi/bits.ts";
import type { Vector } from "../../../abi/numbers.ts";
import { type Evidence, is, listLacks } from "../../../rules/evidence.ts";
import { hasVector, type Message } from "../lapic/destination.ts";
import { type Cpu, eoiAtIoapic } from "../lapic/logic.ts";

/** The local APICs that have a level pin's vector and whose EOI clears its remote IRR. */
export function eoisToCome(vector: Vector, cpus: readonly Cpu[]): Cpu[] {
  return cpus.filter((cpu) => eoiAtIoapic(cpu, vector) === "heard");
}

/** Why no EOI comes: of such a delivery mode there is none, nobody has the vector, or the IOAPIC does not hear theirs. */
export interface NoEoi {
  why: "mode" | "nowhere" | "unheard";
  unheard: { cpu: Cpu; eoi: "edge" | "directed" }[];
  facts: Evidence[];
}

/**
 * Why no EOI will clear a level pin's remote IRR.
 *
 * @returns `undefined` when one is to come.
 */
export function noEoiComes(
  { vector, delivery_mode }: Pick<Message, "vector" | "delivery_mode">,
  cpus: readonly Cpu[],
): NoEoi | undefined {
  if (eoisToCome(vector, cpus).length > 0) return undefined;
  const unheard = cpus.flatMap((cpu) => {
    const eoi = eoiAtIoapic(cpu, vector);
    return eoi === undefined || eoi === "heard" ? [] : [{ cpu, eoi }];
  });
  if (unheard.length > 0) {
    const facts = unheard.map(({ cpu: { vcpu, lapic }, eoi }) =>
      eoi === "edge"
        ? listLacks(`lapic[${vcpu}].tmr`, hex(vector))
        : is(`lapic[${vcpu}].svr`, hex(lapic.svr)),
    );
    return { why: "unheard", unheard, facts };
  }
  const facts = cpus.flatMap(({ vcpu }) =>
    ["irr", "isr"].map((list) => listLacks(`lapic[${vcpu}].${list}`, hex(vector))),
  );
  return { why: hasVector(delivery_mode) ? "nowhere" : "mode", unheard, facts };
}
