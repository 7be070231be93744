import { describe, expect, it } from "vitest";
import { requestOf } from "../../src/abi/ioctl.ts";
import { IOCTL } from "../../src/arch/x86/ioctl.ts";
import { Vcpu } from "../../src/kvm/vcpu.ts";

describe("the number of an ioctl", () => {
  it("is the usual one for a structure of the usual size", () => {
    expect(requestOf("KVM_GET_SREGS", 312)).toBe(IOCTL.KVM_GET_SREGS);
    expect(requestOf("KVM_SET_LAPIC", 1024)).toBe(IOCTL.KVM_SET_LAPIC);
    expect(requestOf("KVM_GET_IRQCHIP", 520)).toBe(IOCTL.KVM_GET_IRQCHIP);
  });

  it("is not known without a size where the architecture has that", () => {
    expect(() => requestOf("KVM_GET_SREGS")).toThrow("KVM_GET_SREGS has no size of its own");
    expect(requestOf("KVM_GET_IRQCHIP")).toBe(IOCTL.KVM_GET_IRQCHIP);
  });

  it("has the size that a part of a vCPU's state is declared with", () => {
    const requests: number[] = [];
    const vcpu = new Vcpu(3, 0, (_fd, request) => {
      requests.push(request);
      return { value: 0, errno: 0 };
    });
    const parts = [{ get: "KVM_GET_SREGS", size: 320 } as const, { get: "KVM_GET_REGS", size: 144 } as const];
    expect(vcpu.read(parts)).toHaveLength(464);
    expect(requests).toEqual([0x8140ae83, IOCTL.KVM_GET_REGS]);
  });
});
