import { describe, expect, it } from "vitest";
import { ERRNO } from "../../src/abi/errno.ts";
import { requestOf } from "../../src/abi/ioctl.ts";
import { IOAPIC } from "../../src/arch/x86/ioapic/layout.ts";
import { type Descriptors, readChip, writeChip } from "../../src/kvm/chips.ts";
import { Device } from "../../src/kvm/device.ts";
import type { IoctlCaller } from "../../src/kvm/fd.ts";
import { Vcpu } from "../../src/kvm/vcpu.ts";
import { Vm } from "../../src/kvm/vm.ts";
import type { NativeBuffer } from "../../src/os/libc.ts";
import { MADE_UP, madeUpSnapshot } from "../support/made-up-arch.ts";

const [GET, SET] = [0x4018aee2, 0x4018aee1];

/** A kernel with a device whose registers it keeps, by group and number. */
function fakeKernel({ timerSize = 16 } = {}) {
  const registers = new Map<string, bigint>();
  const log: string[] = [];
  const device: IoctlCaller = (_fd, request, argument) => {
    const { view, address } = argument as NativeBuffer;
    expect(view.getBigUint64(16, true)).toBe(BigInt(address + 24));
    const name = `${view.getUint32(4, true)}:0x${view.getBigUint64(8, true).toString(16)}`;
    log.push(`${request === GET ? "get" : "set"} ${name}`);
    expect([GET, SET]).toContain(request);
    if (request === GET) view.setBigUint64(24, registers.get(name) ?? 0n, true);
    else registers.set(name, view.getBigUint64(24, true));
    return { value: 0, errno: 0 };
  };
  const vcpu: IoctlCaller = (_fd, request, argument) => {
    log.push(`vcpu 0x${request.toString(16)}`);
    if (request !== requestOf("KVM_GET_MP_STATE", timerSize)) return { value: -1, errno: ERRNO.EINVAL };
    (argument as NativeBuffer).bytes.fill(7, 0, timerSize);
    return { value: 0, errno: 0 };
  };
  const chip = Buffer.alloc(512);
  const vm: IoctlCaller = (_fd, request, argument) => {
    const { bytes } = argument as NativeBuffer;
    if (request === requestOf("KVM_SET_IRQCHIP")) bytes.copy(chip, 0, 8);
    else chip.copy(bytes, 8);
    return { value: 0, errno: 0 };
  };
  const of: Descriptors = {
    arch: MADE_UP,
    vm: new Vm(3, undefined, vm),
    vcpuOf: (index) => new Vcpu(4, index, vcpu),
    deviceOf(name) {
      expect(name).toBe("kvm-made-up-dist");
      return new Device(5, device);
    },
  };
  return { of, registers, log };
}

describe("a chip whose registers are read one by one", () => {
  it("is read by group and number, each with its own width", () => {
    const { of, registers, log } = fakeKernel();
    registers.set("1:0x0", 1n).set("1:0x100", 6n).set("1:0x80", 9n).set("1:0x200", 1n).set("1:0x204", 4n);
    const image = { id: "dist", bytes: readChip(of, "dist") };
    expect(log).toEqual(["get 1:0x0", "get 1:0x100", "get 1:0x80", "get 1:0x200", "get 1:0x204"]);
    expect(MADE_UP.decode([image]).chips).toEqual({
      dist: { ctlr: "on", enabled: 6, group: 9, pending: [0, 34] },
    });
  });

  it("is written register by register, in the order of its declaration", () => {
    const { of, registers } = fakeKernel();
    const [image] = MADE_UP.encode(madeUpSnapshot({ enabled: 0x8000_0001, pending: [63] }).chips);
    writeChip(of, image!);
    expect([...registers]).toEqual([
      ["1:0x0", 1n],
      ["1:0x100", 0x8000_0001n],
      ["1:0x80", 0n],
      ["1:0x200", 0n],
      ["1:0x204", 0x8000_0000n],
    ]);
    expect(readChip(of, "dist")).toEqual(image!.bytes);
  });

  it("of which each vCPU has one has the vCPU in its registers' numbers, and 64 bits where it has them", () => {
    const { of, registers, log } = fakeKernel();
    registers.set("5:0x200000008", 0xffff_ffff_0000_0001n);
    const bytes = readChip(of, "redist[2]");
    expect(log).toEqual(["get 5:0x200000000", "get 5:0x200000008"]);
    expect(MADE_UP.decode([{ id: "redist[2]", bytes }]).chips).toEqual({
      redist: [{ vcpu: 2, ctlr: 0, typer: "0xffffffff00000001" }],
    });
    expect(MADE_UP.chips(2)).toEqual(["dist", "redist[0]", "redist[1]", "timer[0]", "timer[1]", "wide"]);
  });

  it("is refused in another size", () => {
    const { of } = fakeKernel();
    expect(() => writeChip(of, { id: "dist", bytes: new Uint8Array(4) })).toThrow("20 bytes, not 4");
  });
});

describe("a structure that has two sizes", () => {
  it("is read in the one that the kernel knows", () => {
    for (const [timerSize, state] of [
      [16, { at: 0x07070707, flags: 0x07070707, offset: "0x707070707070707" }],
      [8, { at: 0x07070707, flags: 0x07070707 }],
    ] as const) {
      const { of } = fakeKernel({ timerSize });
      const bytes = readChip(of, "timer[0]");
      expect(bytes).toHaveLength(timerSize);
      const { chips } = MADE_UP.decode([{ id: "timer[0]", bytes }]);
      expect(chips["timer"]).toEqual([{ vcpu: 0, ...state }]);
      expect(MADE_UP.encode(chips)).toEqual([{ id: "timer[0]", bytes }]);
    }
  });

  it("is refused where the kernel knows none of them", () => {
    const { of, log } = fakeKernel({ timerSize: 4 });
    expect(() => readChip(of, "timer[0]")).toThrow(/EINVAL/);
    expect(log).toEqual(["vcpu 0x8010ae98", "vcpu 0x8008ae98"]);
  });

  it("keeps 24 or 48 pins of an IOAPIC, as many as it came with", () => {
    for (const pins of [24, 48]) {
      const bytes = Uint8Array.from({ length: 24 + pins * 8 }, (_, at) => (at * 7) % 251);
      const { chips } = MADE_UP.decode([{ id: "wide", bytes }]);
      expect((chips["wide"] as { redirtbl: unknown[] }).redirtbl).toHaveLength(pins);
      expect(MADE_UP.encode(chips)).toEqual([{ id: "wide", bytes }]);
      writeChip(fakeKernel().of, { id: "wide", bytes });
    }
    const { of } = fakeKernel();
    expect(() => writeChip(of, { id: "wide", bytes: new Uint8Array(32) })).toThrow(
      "216 or 408 bytes, not 32",
    );
    expect(readChip(of, "wide")).toHaveLength(IOAPIC.size);
  });
});
