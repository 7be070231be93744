import { describe, expect, it } from "vitest";
import { accessRemedy } from "../../src/kvm/device-access.ts";

const path = "/dev/kvm";
const kvm = { path, gid: 108, group: "kvm" };
const root = { path, gid: 0, group: "root" };
const stranger = { gids: [1000], groups: ["ann"] };
const groups = ["root", "kvm", "ann"];

describe("a device that this user may not open", () => {
  it("is opened to its group's members: it is told how to become one", () => {
    expect(accessRemedy({ ...kvm, mode: 0o660 }, stranger, groups)).toBe(
      "`sudo usermod -aG kvm $USER`, then log in again, or run as root",
    );
    expect(accessRemedy({ path, gid: 36, group: "virt", mode: 0o660 }, stranger, groups)).toContain(
      "`sudo usermod -aG virt $USER`",
    );
  });

  it("is root's alone: it is told how to give it to a group, which is made where there is none", () => {
    expect(accessRemedy({ ...root, mode: 0o600 }, stranger, groups)).toBe(
      "`sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm $USER`, then log in again, or run as root",
    );
    expect(accessRemedy({ ...root, mode: 0o600 }, stranger, ["root"])).toMatch(
      /^`sudo groupadd -r kvm && sudo chgrp kvm /,
    );
  });

  it("is for root's group: nobody is told to join that", () => {
    expect(accessRemedy({ ...root, mode: 0o660 }, stranger, groups)).toBe(
      "`sudo chgrp kvm /dev/kvm && sudo usermod -aG kvm $USER`, then log in again, or run as root",
    );
  });

  it("is closed to its group: a member is told of the mode alone, another of both", () => {
    const member = { gids: [1000, 108], groups: ["ann", "kvm"] };
    expect(accessRemedy({ ...kvm, mode: 0o600 }, member, groups)).toBe(
      "`sudo chmod 660 /dev/kvm`, or run as root",
    );
    expect(accessRemedy({ ...kvm, mode: 0o640 }, stranger, groups)).toBe(
      "`sudo chmod 660 /dev/kvm && sudo usermod -aG kvm $USER`, then log in again, or run as root",
    );
  });

  it("is of a group that was joined since the last login", () => {
    expect(accessRemedy({ ...kvm, mode: 0o660 }, { gids: [1000], groups: ["kvm"] }, groups)).toBe(
      "log in again, or run as root",
    );
  });

  it("is of a group without a name, as in a container", () => {
    expect(accessRemedy({ path, gid: 108, group: undefined, mode: 0o660 }, stranger, groups)).toContain(
      "--group-add 108",
    );
  });

  it("is kept from it by more than its mode", () => {
    expect(accessRemedy({ ...kvm, mode: 0o660 }, { gids: [108], groups: ["kvm"] }, groups)).toContain(
      "security module",
    );
    expect(accessRemedy({ ...root, mode: 0o666 }, stranger, groups)).toContain("security module");
  });
});
