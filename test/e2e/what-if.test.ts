import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";
import { runningVcpu } from "../support/reset.ts";

const user = new User();
const file = (name: string) => join(user.folder, name);
const SAVED = file("saved.json");
beforeAll(() => {
  user.ok(["create", "saved", "--preset", "ioapic", "--vcpus", "3"]);
  user.ok(["-s", "saved", "hold", "20"]);
  user.ok(["-s", "saved", "pulse", "4"]);
  user.ok(["-s", "saved", "route", "set", "20=ioapic:20", "30=msi:0xfee01000/0x55"]);
  user.ok(["-s", "saved", "dump", "--json", "-o", SAVED]);
});
afterAll(() => expect(user.dispose().filter((path) => !path.endsWith(".json"))).toEqual([]));

const saved = () => JSON.parse(readFileSync(SAVED, "utf8"));
/** A copy of the snapshot, changed. */
function variant(name: string, change: (snapshot: ReturnType<typeof saved>) => void): string {
  const snapshot = saved();
  change(snapshot);
  writeFileSync(file(name), JSON.stringify(snapshot));
  return file(name);
}
const stateOf = ({ chips, vcpus, routing }: ReturnType<typeof saved>) => ({ chips, vcpus, routing });

describe("create --from", () => {
  it.each(haveKvm ? ["model", "kvm"] : ["model"])("makes a VM of what a snapshot has: %s", (backend) => {
    const created = user.json(["create", "copy", "--from", SAVED, "--backend", backend, "--replace"]);
    expect(created).toMatchObject({ vcpus: 3, from: "saved.json", backend });
    expect(created).not.toHaveProperty("preset");
    expect(stateOf(user.json(["-s", "copy", "dump"]))).toEqual(stateOf(saved()));
    expect(user.ok(["list"])).toMatch(/copy +\w+ +\d+ +3 +saved\.json/);
  });

  it("makes a VM to play with: what the real one would do can be asked of it", () => {
    user.ok(["create", "play", "--backend", "model", "--from", SAVED, "--replace"]);
    const pulse = () => user.json(["-s", "play", "pulse", "20"]).results[0];
    // The line is up and its interrupt was delivered: nothing further is taken until the EOI.
    expect(pulse()).toMatchObject({ ignored: 1 });
    user.ok(["-s", "play", "set", "ioapic.redirtbl[20].remote_irr=false"]);
    expect(pulse()).toMatchObject({ delivered: 1 });
    expect(stateOf(user.json(["-s", "saved", "dump"]))).toEqual(stateOf(saved()));
  });

  it("takes the state of vCPUs on the model, which a real VM's ioctls do not set", () => {
    const path = variant("running.json", (snapshot) => {
      snapshot.vcpus = [
        runningVcpu(0, { rflags: 0x2, interrupt: { injected: true, nr: 0x31, soft: false, shadow: 2 } }),
        runningVcpu(1, { mp_state: "halted", nmi: { injected: false, pending: 1, masked: true } }),
        runningVcpu(2),
      ];
    });
    user.ok(["create", "vcpus", "--backend", "model", "--from", path, "--replace"]);
    const { vcpus } = JSON.parse(readFileSync(path, "utf8"));
    const unrun = vcpus.map((vcpu: object) => ({ ...vcpu, run: false }));
    expect(user.json(["-s", "vcpus", "dump"]).vcpus).toEqual(unrun);
    user.ok(["-s", "vcpus", "expect", "vcpus[1].mp_state=halted", "vcpus[0].interrupt.injected=true"]);
  });

  it("takes raw bytes and standard input too, and chips that are missing are as at reset", () => {
    const raw = user.ok([
      "-s",
      "saved",
      "dump",
      "--format",
      "raw",
      "--chip",
      "ioapic",
      "-o",
      file("raw.json"),
    ]);
    expect(raw).toBe("");
    const created = user.json(["create", "raw", "--from", "-", "--replace"], {
      input: readFileSync(file("raw.json")),
    });
    expect(created).toMatchObject({ vcpus: 0, from: "standard input" });
    const { pic1, ioapic } = user.json(["-s", "raw", "dump"]).chips;
    expect(pic1.imr).toBe(0);
    expect(ioapic.redirtbl[20]).toMatchObject({ vector: 0x44, trig_mode: "level" });
  });

  it("says that the model does not know x2APIC mode, where the snapshot has it", () => {
    const path = variant("x2apic.json", (snapshot) => {
      snapshot.vcpus[0].apic_base += 0x400;
    });
    const { status, stderr } = user.run(["create", "x2", "--backend", "model", "--from", path, "--replace"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("x2APIC") });
  });

  it("refuses a bad snapshot with status 6, and makes no session", () => {
    const changed = (change: Parameters<typeof variant>[1]) =>
      readFileSync(variant("changed.json", change), "utf8");
    const bad = {
      empty: "",
      cut: readFileSync(SAVED, "utf8").slice(0, 500),
      foreign: "{}",
      pins: changed(({ chips }) => chips.ioapic.redirtbl.pop()),
      route: changed(({ routing }) => routing.push({ gsi: 1, chip: "pic1", pin: 9 })),
      vcpu: changed(({ chips }) => Object.assign(chips.lapic[2], { vcpu: 255 })),
      arch: changed(({ host }) => Object.assign(host, { arch: "ia64" })),
      chips: changed((snapshot) => Object.assign(snapshot, { chips: {}, vcpus: [] })),
    };
    for (const [name, text] of Object.entries(bad)) {
      writeFileSync(file("bad.json"), text);
      const { status, stdout, stderr } = user.run(["create", "bad", "--from", file("bad.json")]);
      expect({ status, stdout }, `${name}: ${stderr}`).toEqual({ status: 6, stdout: "" });
      expect(stderr).toMatch(/^kvm-irq: bad\.json\b/);
    }
    expect(user.run(["create", "bad", "--from", file("nowhere.json")]).status).toBe(4);
    expect(user.json(["list"]).sessions.map(({ name }: { name: string }) => name)).not.toContain("bad");
  });

  it("leaves the session that --replace names alone when the snapshot is bad", () => {
    const { pid } = user.json(["create", "kept"]);
    writeFileSync(file("bad.json"), "{}");
    expect(user.run(["create", "kept", "--replace", "--from", file("bad.json")]).status).toBe(6);
    expect(user.json(["list"]).sessions).toContainEqual(expect.objectContaining({ name: "kept", pid }));
  });

  it.each([
    ["--preset", "pic"],
    ["--vcpus", "2"],
    ["--guest", "pic"],
    ["--irqchip", "split"],
  ])("contradicts %s", (option, value) => {
    const { status, stderr } = user.run(["create", "bad", "--from", SAVED, option, value]);
    expect(status).toBe(2);
    expect(stderr).toContain(`cannot be used with option '${option}`);
  });
});

describe("run --from", () => {
  it("runs the script on a VM in that state, whose routing the script is checked by", () => {
    const run = (input: string, ...more: string[]) =>
      user.run(["run", "-", "--backend", "model", "--from", SAVED, ...more], { input });
    expect(run("pulse 30 --require delivered\nexpect lapic[1].irr=0x55 lapic[0].irr=0x44\n").status).toBe(0);
    const { status, stderr } = run("pulse 4\n");
    expect({ status, stderr }).toEqual({ status: 6, stderr: expect.stringContaining("GSI 4 is not routed") });
    expect(run("dump\n", "--vcpus", "2").status).toBe(2);
  });

  it("is refused beside a target, and when both would come from standard input", () => {
    expect(user.run(["-s", "saved", "run", "-", "--from", SAVED], { input: "dump\n" }).status).toBe(2);
    expect(user.run(["run", "-", "--from", "-"], { input: "dump\n" }).status).toBe(2);
  });
});
