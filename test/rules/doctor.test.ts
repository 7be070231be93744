import { describe, expect, it } from "vitest";
import { KvmIrqError } from "../../src/abi/error.ts";
import type { HostFacts } from "../../src/kvm/probe.ts";
import { examine } from "../../src/rules/doctor.ts";

const error = new KvmIrqError("kernel-refused", "no VM could be made");

const hiddenFlag: HostFacts = {
  kernel: "6.12.0",
  platform: "linux",
  machine: "x64",
  module: undefined,
  cpu: { vendor: "AuthenticAMD", flag: undefined },
  device: { path: "/dev/kvm", mode: "600", uid: 0, gid: 0 },
  opened: { apiVersion: 12 },
  capabilities: {},
  trial: { ok: true },
  ptraceScope: 0,
  tracefs: "/sys/kernel/tracing",
  mayTrace: true,
  memory: { btf: { kernel: true, kvm: true }, bpf: { ok: true }, lacking: [], lockdown: undefined },
};

describe("a CPU that shows no virtualization flag", () => {
  const cpu = (facts: Partial<HostFacts>) =>
    examine({ ...hiddenFlag, ...facts }).checks.find(({ id }) => id === "cpu");

  it("is nothing to do about where KVM works all the same", () => {
    expect(cpu({})).toMatchObject({ status: "ok", what: expect.stringContaining("yet KVM works") });
    expect(cpu({})).not.toHaveProperty("remedy");
  });

  it("is a warning where no VM could be made, and a failure where the device does not open", () => {
    expect(cpu({ trial: { error } })).toMatchObject({ status: "warning", remedy: expect.any(String) });
    expect(cpu({ trial: undefined, opened: { error } })).toMatchObject({ status: "failed" });
  });
});

describe("a user who may not open /dev/kvm", () => {
  const refused = new KvmIrqError("kvm-permission", "no permission to open /dev/kvm", { hint: "usermod" });
  const { usable, checks } = examine({
    ...hiddenFlag,
    opened: { error: refused },
    trial: undefined,
    mayTrace: false,
  });
  const check = (id: string) => checks.find((one) => one.id === id);

  it("is told of that alone, not of a CPU or a module that are fine", () => {
    expect(usable).toBe(false);
    expect(checks.filter(({ status }) => status === "failed").map(({ id }) => id)).toEqual(["open"]);
    expect(check("module")).toMatchObject({ status: "ok" });
    expect(check("open")).toMatchObject({ what: refused.message, remedy: "usermod" });
  });

  it("is told that tracefs is mounted, and root's", () => {
    expect(check("tracefs")).toMatchObject({ status: "warning", remedy: expect.stringContaining("root") });
  });
});

describe("the module", () => {
  const what = (module: HostFacts["module"]) =>
    examine({ ...hiddenFlag, module }).checks.find(({ id }) => id === "module")?.what;

  it("is named, whoever's it is", () => {
    expect(what({ name: "kvm_pvm", apicv: false })).toBe("kvm_pvm");
    expect(what(undefined)).toBe("built into the kernel");
  });

  it("that lets CPUs run local APICs is said to hide things from traces", () => {
    expect(what({ name: "kvm_intel", apicv: true })).toMatch(/^kvm_intel; .*traces see no injection/);
  });
});

describe("what reading kernel memory takes", () => {
  const checks = (memory: Partial<HostFacts["memory"]>) =>
    examine({ ...hiddenFlag, memory: { ...hiddenFlag.memory, ...memory } });
  const find = (memory: Partial<HostFacts["memory"]>, id: string) =>
    checks(memory).checks.find((check) => check.id === id);

  it("is a row each, all ok where it is there", () => {
    const rows = checks({}).checks.slice(-4);
    expect(rows.map(({ id, status }) => [id, status])).toEqual([
      ["btf", "ok"],
      ["capabilities", "ok"],
      ["lockdown", "ok"],
      ["bpf", "ok"],
    ]);
  });

  it("is a warning with what to do about it where it is missing, and this host stays usable", () => {
    const error = new KvmIrqError("bpf-unavailable", "refused", { hint: "do this" });
    const missing: [Partial<HostFacts["memory"]>, string, RegExp][] = [
      [{ btf: { kernel: false, kvm: true } }, "btf", /CONFIG_DEBUG_INFO_BTF;/],
      [{ btf: { kernel: true, kvm: false } }, "btf", /CONFIG_DEBUG_INFO_BTF_MODULES/],
      [{ lacking: ["CAP_BPF", "CAP_PERFMON"] }, "capabilities", /root/],
      [{ lockdown: "confidentiality" }, "lockdown", /lockdown=integrity/],
      [{ bpf: { error } }, "bpf", /do this/],
    ];
    for (const [memory, id, remedy] of missing) {
      expect(find(memory, id)).toMatchObject({ status: "warning", remedy: expect.stringMatching(remedy) });
      expect(checks(memory).usable).toBe(true);
    }
    expect(find({ lockdown: "integrity" }, "lockdown")).toMatchObject({ status: "ok", what: "integrity" });
    expect(find({ lacking: ["CAP_BPF"] }, "capabilities")?.what).toBe("this user lacks CAP_BPF");
  });
});
