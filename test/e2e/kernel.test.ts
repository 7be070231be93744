import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Kvm } from "../../src/kvm/kvm.ts";
import type { Vm } from "../../src/kvm/vm.ts";
import { User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";

describe.skipIf(!haveKvm)("on the real kernel (skipped without /dev/kvm)", () => {
  let kvm: Kvm;
  let vm: Vm;
  beforeAll(() => {
    kvm = Kvm.open();
    vm = kvm.createVm();
  });
  afterAll(() => {
    vm?.close();
    kvm?.close();
  });

  it("a VM without an irqchip refuses with ENXIO, and a KvmError says what that means", () => {
    expect(() => vm.setIrqLine(4, 1)).toThrow(
      expect.objectContaining({
        ioctl: "KVM_IRQ_LINE_STATUS",
        errno: 6,
        meaning: "this VM has no in-kernel irqchip",
      }),
    );
    expect(() => vm.getIrqchip(0)).toThrow("KVM_GET_IRQCHIP failed with ENXIO");
  });

  it("the answers to 1, 1, 0 on a VM without vCPUs are those of the chips at reset", () => {
    vm.createIrqchip();
    const answers = (gsi: number) => [vm.setIrqLine(gsi, 1), vm.setIrqLine(gsi, 1), vm.setIrqLine(gsi, 0)];
    for (let gsi = 0; gsi < 16; gsi++) expect(answers(gsi), `GSI ${gsi}`).toEqual([1, 1, 2]);
    for (let gsi = 16; gsi < 24; gsi++) expect(answers(gsi), `GSI ${gsi}`).toEqual([-1, 0, 1]);
    for (const gsi of [24, 100, 2 ** 32 - 1]) expect(answers(gsi), `GSI ${gsi}`).toEqual([-1, -1, -1]);
    expect(() => vm.setIrqLine(-1, 1)).toThrow(expect.objectContaining({ code: "bad-gsi" }));
  });

  it("a second irqchip is EEXIST, one after a vCPU EINVAL, chip 3 EINVAL", () => {
    expect(() => vm.createIrqchip()).toThrow("EEXIST");
    expect(() => vm.getIrqchip(3)).toThrow("EINVAL");
    using other = kvm.createVm();
    using _vcpu = other.createVcpu(0);
    expect(() => other.createIrqchip()).toThrow("EINVAL");
  });

  it("KVM_IRQ_LINE tells no status", () => {
    expect(vm.irqLine(4, 1)).toBeNull();
    expect(vm.irqLine(4, 0)).toBeNull();
  });

  it("SET then GET is exact for the PICs, reserved bytes too", () => {
    vm.setIrqchip(1, new Uint8Array(16));
    for (let round = 0; round < 200; round++) {
      const image = Uint8Array.from({ length: 16 }, () => Math.floor(Math.random() * 256));
      // The slave at rest: its output drives input 2 of the master, and so bits of the master's state.
      vm.setIrqchip(0, image);
      expect(vm.getIrqchip(0).slice(8, 24), `round ${round}`).toEqual(image);
    }
    for (let round = 0; round < 200; round++) {
      const image = Uint8Array.from({ length: 16 }, () => Math.floor(Math.random() * 256));
      vm.setIrqchip(1, image);
      expect(vm.getIrqchip(1).slice(8, 24), `round ${round}`).toEqual(image);
    }
  });

  it("dump --format raw has the bytes that a plain ioctl returns", () => {
    const user = new User();
    user.ok(["create", "raw", "--preset", "ioapic"]);
    user.ok(["-s", "raw", "pulse", "3", "20"]);
    // The same steps on a VM of this process.
    using twin = kvm.createVm();
    twin.createIrqchip();
    using vcpu = twin.createVcpu(0);
    for (const chip of [0, 1]) {
      const state = twin.getIrqchip(chip).slice(8, 24);
      state[2] = 0xff;
      state[5] = chip === 0 ? 0x20 : 0x28;
      twin.setIrqchip(chip, state);
    }
    const lapic = vcpu.getLapic();
    lapic[0xf1] = 1;
    vcpu.setLapic(lapic);
    const ioapic = twin.getIrqchip(2).slice(8, 224);
    for (let pin = 0; pin < 24; pin++) {
      ioapic.set([0x30 + pin, pin < 16 ? 0 : 0x80, 0], 24 + pin * 8);
    }
    twin.setIrqchip(2, ioapic);
    for (const gsi of [3, 20]) for (const level of [1, 0] as const) twin.setIrqLine(gsi, level);
    const expected = Buffer.concat([
      twin.getIrqchip(0),
      twin.getIrqchip(1),
      twin.getIrqchip(2),
      vcpu.getLapic(),
    ]);
    const file = `${user.folder}/raw.bin`;
    user.ok(["-s", "raw", "dump", "--format", "raw", "-o", file]);
    expect(readFileSync(file)).toEqual(expected);
    user.dispose();
  });
});
