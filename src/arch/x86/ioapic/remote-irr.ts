import { hex, listed } from "../../../abi/bits.ts";
import { hasVector } from "../explain/message.ts";
import type { Message } from "../lapic/destination.ts";
import { type Cpu, eoiAtIoapic } from "../lapic/logic.ts";

/** The local APICs that have a level pin's vector and whose EOI clears its remote IRR: "in service at vCPU 0". */
export function eoisToCome(vector: number, cpus: readonly Cpu[]): string[] {
  return cpus.filter((cpu) => eoiAtIoapic(cpu, vector) === "heard").map((cpu) => placeOf(cpu, vector));
}

/** Why no EOI comes: a clause about the vector, and the fields that say so. */
export interface NoEoi {
  which: string;
  evidence: string;
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
  if (unheard.length === 0 && !hasVector(delivery_mode)) {
    return {
      which: `but sends with delivery mode ${delivery_mode}, which gets none`,
      evidence: `its delivery_mode = ${delivery_mode}, vector ${hex(vector)} in no lapic[n].irr or .isr`,
    };
  }
  if (unheard.length === 0) {
    return {
      which: "which no local APIC has pending or in service",
      evidence: `vector ${hex(vector)} in no lapic[n].irr or .isr`,
    };
  }
  const places = unheard.map(({ cpu, eoi }) => `${placeOf(cpu, vector)} ${HOW[eoi]}`);
  return {
    which: `which is ${listed(places)}: that EOI does not reach the IOAPIC`,
    evidence: unheard.map(({ cpu, eoi }) => evidenceOf(cpu, vector, eoi)).join(", "),
  };
}

const HOW = { edge: "as an edge (TMR bit clear)", directed: "with directed EOI (svr bit 12)" };

function placeOf({ vcpu, lapic }: Cpu, vector: number): string {
  return `${lapic.isr.includes(vector) ? "in service" : "pending"} at vCPU ${vcpu}`;
}

function evidenceOf({ vcpu, lapic }: Cpu, vector: number, eoi: keyof typeof HOW): string {
  return eoi === "edge"
    ? `lapic[${vcpu}].tmr lacks ${hex(vector)}`
    : `lapic[${vcpu}].svr = ${hex(lapic.svr)}`;
}
