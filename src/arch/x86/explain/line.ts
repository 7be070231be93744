import { advice, changing } from "../../../abi/advice.ts";
import { hasBit } from "../../../abi/bits.ts";
import type { Check, StageDraft, StageResult } from "../../../rules/explanation.ts";
import { runChecks } from "../../../rules/explanation.ts";
import type { IoapicContext, PicContext } from "./context.ts";

/** Stage 1 on the PIC way: the input's level, and whether it still has an edge to give. */
export function picLineStage(context: PicContext): StageDraft {
  return runChecks("line", PIC_LINE_CHECKS, context, {
    state: "open",
    code: "line-low",
    text: `${context.chip} pin ${context.pin} is low`,
    evidence: `${context.chip}.last_irr = ${context.pic.last_irr} (bit ${context.pin} clear)`,
  });
}

const PIC_LINE_CHECKS: readonly Check<PicContext>[] = [
  ({ chip, pin, level, high }) =>
    level && high
      ? {
          state: "open",
          code: "line-high",
          text: `${chip} pin ${pin} is high, and level-triggered`,
          evidence: `${chip}.last_irr bit ${pin} set, ${chip}.elcr bit ${pin} set`,
        }
      : undefined,
  ({ chip, pin, high, latched }) =>
    latched
      ? {
          state: "pending",
          code: high ? "line-edge-latched" : "line-low-after-edge",
          text: `an edge of ${chip} pin ${pin} is latched already${high ? "" : ", and the line low again"}`,
          evidence: `${chip}.irr bit ${pin} set, ${chip}.last_irr bit ${pin} ${high ? "set" : "clear"}`,
        }
      : undefined,
  ({ gsi, chip, pin, high }) =>
    high
      ? consumed(
          gsi,
          `${chip} pin ${pin} is high already and its edge was taken`,
          `${chip}.last_irr bit ${pin} set, ${chip}.irr bit ${pin} clear`,
        )
      : undefined,
];

function consumed(gsi: number, text: string, evidence: string): StageResult {
  return {
    state: "blocked",
    code: "line-edge-consumed",
    text,
    evidence,
    remedy: advice`release the line (${changing("release", `${gsi}`)}); the next rise is an edge again`,
  };
}

/** Stage 1 on the IOAPIC way. The chip shows a level only until it is delivered; the PIC's input helps out. */
export function ioapicLineStage(context: IoapicContext): StageDraft {
  return runChecks("line", IOAPIC_LINE_CHECKS, context, {
    state: "open",
    code: "line-low",
    text: `IOAPIC pin ${context.pin} is low${context.entry.trig_mode === "edge" ? ", or an edge of it was delivered" : ""}`,
    evidence: `ioapic.irr bit ${context.pin} clear`,
  });
}

const IOAPIC_LINE_CHECKS: readonly Check<IoapicContext>[] = [
  ({ ioapic, pin, entry }) =>
    entry.trig_mode === "level" && hasBit(ioapic.irr, pin)
      ? {
          state: "open",
          code: "line-high",
          text: `IOAPIC pin ${pin} is high, and level-triggered`,
          evidence: `ioapic.irr bit ${pin} set, ioapic.redirtbl[${pin}].trig_mode = level`,
        }
      : undefined,
  ({ ioapic, pin, entry }) =>
    entry.trig_mode === "edge" && hasBit(ioapic.irr, pin)
      ? {
          state: "pending",
          code: "line-edge-latched",
          text: `IOAPIC pin ${pin} is high, and IRR has an edge of it`,
          evidence: `ioapic.irr bit ${pin} set, ioapic.redirtbl[${pin}].trig_mode = edge`,
        }
      : undefined,
  // KVM_SET_IRQCHIP makes KVM forget which edges it delivered, and no state shows whether it did.
  ({ gsi, ioapic, pin, entry, picInput }) =>
    entry.trig_mode === "edge" && !entry.mask && !hasBit(ioapic.irr, pin) && picInput?.high
      ? consumed(
          gsi,
          `the line of IOAPIC pin ${pin} is high already and its edge was taken (unless KVM_SET_IRQCHIP set the IOAPIC since)`,
          `${picInput.evidence}, ioapic.irr bit ${pin} clear`,
        )
      : undefined,
];
