import { hex, vcpuNames } from "../../../abi/bits.ts";
import { runChecks, type StageDraft } from "../../../rules/explanation.ts";
import type { MsiRoute } from "../../../vm/routing.ts";
import { destinationOf } from "../lapic/destination.ts";
import { cpusOf } from "../lapic/logic.ts";
import { decodeMsi } from "../msi.ts";
import type { Snapshot } from "../state.ts";
import { addressees, destinationText, MESSAGE_CHECKS, type MessageContext, messageOf } from "./message.ts";

/** What the checks of an MSI route look at. */
export function msiContext(snapshot: Snapshot, { gsi, msi }: MsiRoute): MessageContext {
  const entry = decodeMsi(msi);
  const cpus = cpusOf(snapshot);
  return {
    from: "msi",
    sender: `the MSI of GSI ${gsi}`,
    entry,
    evidence: {
      delivery_mode: `data ${hex(msi.data)}: delivery mode ${entry.delivery_mode} (bits 8-10)`,
      dest_id: `address ${hex(msi.address)}: destination ${hex(entry.dest_id)} (bits 12-19)`,
    },
    cpus,
    destination: destinationOf(entry, cpus ?? []),
  };
}

/** Whether the message of a route reaches a local APIC, and which. */
export function msiStage(context: MessageContext): StageDraft {
  const { entry, evidence, sender } = context;
  return runChecks("msi", MESSAGE_CHECKS, context, {
    state: "open",
    code: "msi-open",
    text: `${sender} brings ${messageOf(entry)} to ${vcpuNames(addressees(context).map(({ vcpu }) => vcpu))}`,
    evidence: `${evidence.dest_id}, ${destinationText(entry)}`,
  });
}
