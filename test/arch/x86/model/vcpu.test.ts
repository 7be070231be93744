import { describe, expect, it } from "vitest";
import { ModelMachine } from "../../../../src/arch/x86/model/machine.ts";
import { applyPreset } from "../../../../src/arch/x86/presets.ts";
import { decodeVcpu, encodeVcpu } from "../../../../src/arch/x86/vcpu/layout.ts";
import { runningVcpu } from "../../../support/reset.ts";

/** A machine of one halted vCPU, and how it is after messages of these delivery modes. */
function afterModes(...modes: number[]): string {
  const machine = new ModelMachine(1);
  applyPreset(machine, "ioapic");
  machine.loadVcpu({ id: "vcpu[0]", bytes: encodeVcpu(runningVcpu(0, { mp_state: "halted" })) });
  for (const mode of modes) machine.signalMsi({ address: 0xfee0_0000, data: 0x41 | (mode << 8) });
  return decodeVcpu(machine.readChip("vcpu[0]"), 0).mp_state;
}

describe("a halted vCPU that does not run", () => {
  it("is shown as halted whatever vector is pending", () => {
    expect(afterModes()).toBe("halted");
    expect(afterModes(0)).toBe("halted");
  });

  it("is shown as runnable after a message of delivery mode 3, KVM's way to wake one", () => {
    expect(afterModes(3)).toBe("runnable");
  });
});
