import { describe, expect, it } from "vitest";
import { guestName } from "../../../src/sources/attach/processes.ts";

describe("a guest's name in a VMM's arguments", () => {
  it.each([
    ["qemu-system-x86_64 -name web", "web"],
    ["qemu-system-x86_64 -name guest=web,debug-threads=on", "web"],
    ["qemu-system-x86_64 -name web,process=kvm", "web"],
    ["qemu-system-x86_64 -name guest=a,,b", "a,b"],
    ["qemu-system-x86_64 --name=web", "web"],
    ["firecracker --id vm-1 --api-sock /run/a", "vm-1"],
    ["lkvm run --name guest-9", "guest-9"],
    ["qemu-system-x86_64 -name process=kvm", undefined],
    ["qemu-system-x86_64 -m 64", undefined],
    ["qemu-system-x86_64 -name", undefined],
  ])("%s", (line, name) => {
    expect(guestName(line.split(" "))).toBe(name);
  });
});
