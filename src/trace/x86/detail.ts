import { numberArg, type TraceEvent } from "../event.ts";
import { apicOf, isIoapicAck, messageOf, redirectionOf, vectorOf, vectorText } from "./args.ts";
import { vectorlessModeOf } from "./vectorless.ts";

/**
 * What an event says, in few words: "gsi 4 level 1", "pin 4 vector 0x34 edge masked, fixed to physical 0".
 *
 * An event that is not one of KVM's interrupt events is given field by field.
 */
export function detailOf(event: TraceEvent): string {
  switch (event.event) {
    case "kvm_set_irq":
      return `gsi ${numberArg(event, "gsi")} level ${numberArg(event, "level")}`;
    case "kvm_pic_set_irq": {
      const pin = numberArg(event, "pin");
      const isSet = (field: string) => ((numberArg(event, field) >> pin) & 1) === 1;
      const chip = `pic${numberArg(event, "chip") + 1} pin ${pin}`;
      return words(chip, isSet("elcr") ? "level" : "edge", isSet("imr") && "masked", coalesced(event));
    }
    case "kvm_ioapic_set_irq":
    case "kvm_ioapic_delayed_eoi_inj": {
      const { vector, delivery_mode, dest_mode, dest_id, trig_mode, mask } = redirectionOf(event);
      const pin = event.args["pin"] === undefined ? "" : `pin ${event.args["pin"]} `;
      const how = words(trig_mode, mask && "masked", coalesced(event));
      return `${pin}vector ${vectorText(vector)} ${how}, ${delivery_mode} to ${dest_mode} ${dest_id}`;
    }
    case "kvm_msi_set_irq": {
      const { address, data } = messageOf(event);
      return `vector ${vectorText(vectorOf(event)!)} address ${hex(address)} data ${hex(BigInt(data))}${modeText(event)}`;
    }
    case "kvm_apic_accept_irq":
    case "kvm_apicv_accept_irq":
      return `apic ${apicOf(event)} vector ${vectorText(vectorOf(event)!)} ${numberArg(event, "tm") === 0 ? "edge" : "level"}${modeText(event)}`;
    case "kvm_inj_virq":
      return words(`vector ${vectorText(vectorOf(event)!)}`, flag(event, "soft"), flag(event, "reinjected"));
    case "kvm_eoi":
    case "kvm_pv_eoi":
      return `apic ${apicOf(event)} ${vectorOf(event) === -1 ? "nothing in service" : `vector ${vectorText(vectorOf(event)!)}`}`;
    case "kvm_ack_irq": {
      const pin = numberArg(event, "pin");
      return isIoapicAck(event)
        ? `ioapic pin ${pin}`
        : `pic${numberArg(event, "irqchip") + 1} pin ${pin & 7}`;
    }
    default:
      return Object.entries(event.args)
        .map(([name, value]) => `${name}=${value}`)
        .join(" ");
  }
}

function words(...parts: (string | false)[]): string {
  return parts.filter((part) => part !== false).join(" ");
}

function modeText(event: TraceEvent): string {
  const mode = vectorlessModeOf(event);
  return mode === null ? "" : `, ${mode}`;
}

function flag(event: TraceEvent, name: string): string | false {
  return numberArg(event, name) !== 0 && name;
}

function coalesced(event: TraceEvent): string | false {
  return flag(event, "coalesced");
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
