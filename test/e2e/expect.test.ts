import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finished, User } from "../support/cli.ts";

const user = new User();
const SNAPSHOT = join(user.folder, "snapshot.json");
beforeAll(() => {
  user.ok(["create", "--preset", "ioapic"]);
  user.ok([
    "set",
    "pic1.irr=0x12",
    "pic1.imr=0xff",
    "lapic[0].irr=0x41,0x52",
    "ioapic.redirtbl[4].mask=true",
  ]);
  user.ok(["dump", "--json", "-o", SNAPSHOT]);
});
afterAll(() => expect(user.dispose()).toEqual(["snapshot.json"]));

/** CPU time that a process has used, from `utime` and `stime` of proc(5), which count hundredths. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
const expectation = (...args: string[]) => user.run(["expect", ...args]);

describe("expect", () => {
  it.each([
    // A number: decimal, hexadecimal and binary.
    ["pic1.irr=0x12", "pic1.irr=0x13"],
    ["pic1.irr=18", "pic1.irr=12"],
    ["pic1.irr=0b10010", "pic1.irr=0b10011"],
    ["pic1.irr!=0x13", "pic1.irr!=0x12"],
    ["pic1.irr<0x13", "pic1.irr<0x12"],
    ["pic1.irr>0x11", "pic1.irr>0x12"],
    ["pic1.irr<=0x12", "pic1.irr<=0x11"],
    ["pic1.irr>=0x12", "pic1.irr>=0x13"],
    ["pic1.irr&0x10", "pic1.irr&0x01"],
    ["pic1.irr&0x11", "pic1.irr&0"],
    // A truth.
    ["ioapic.redirtbl[4].mask=true", "ioapic.redirtbl[4].mask=false"],
    ["ioapic.redirtbl[4].mask=1", "ioapic.redirtbl[4].mask!=true"],
    // A word.
    ["ioapic.redirtbl[4].trig_mode=edge", "ioapic.redirtbl[4].trig_mode=level"],
    ["ioapic.redirtbl[20].trig_mode!=edge", "ioapic.redirtbl[20].trig_mode!=level"],
    // Vectors.
    ["lapic[0].irr=0x41", "lapic[0].irr=0x42"],
    ["lapic[0].irr!=0x42", "lapic[0].irr!=82"],
    ["lapic[0].isr=[]", "lapic[0].irr=[]"],
    // Ranges: every one of them.
    ["ioapic.redirtbl[16-23].trig_mode=level", "ioapic.redirtbl[15-23].trig_mode=level"],
    ["ioapic.redirtbl[*].remote_irr=false", "ioapic.redirtbl[*].mask=false"],
    // 64 bits, and what a vCPU has.
    ["ioapic.base_address=0xfec00000", "ioapic.base_address>0xfec00000"],
    ["vcpus[0].mp_state=runnable", "vcpu[0].nmi.masked=true"],
    ["chips.pic1.imr=0xff", "chips.pic1.imr=0"],
  ])("%s holds and %s does not", (holding, failing) => {
    expect(expectation(holding).status).toBe(0);
    expect(expectation(failing).status).toBe(1);
  });

  it("of several conditions wants all to hold, and shows each beside what was found", () => {
    const { status, stdout, stderr } = expectation("pic1.imr=0xff", "lapic[0].irr=0x99", "pic1.irr&0x10");
    expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
    expect(stdout.split("\n").map((line) => line.trimEnd())).toEqual([
      "        FIELD         WANTED  FOUND",
      "ok      pic1.imr      = 0xff  0xff",
      "not ok  lapic[0].irr  = 0x99  0x41 0x52",
      "ok      pic1.irr      & 0x10  0x12",
      "",
    ]);
  });

  it("as JSON has a verdict for every field", () => {
    const { status, stdout } = expectation("pic1.imr=0xff", "ioapic.redirtbl[3-4].mask=false", "--json");
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      met: false,
      conditions: [
        { path: "pic1.imr", operator: "=", wanted: "0xff", found: 0xff, met: true },
        { path: "ioapic.redirtbl[3].mask", operator: "=", wanted: "false", found: false, met: true },
        { path: "ioapic.redirtbl[4].mask", operator: "=", wanted: "false", found: true, met: false },
      ],
    });
  });

  it.each([
    "pic1.nope=1",
    "pic3.irr=1",
    "lapic[1].irr=0x41",
    "ioapic.redirtbl[24].mask=true",
    "ioapic.redirtbl[4]=1",
    "ioapic.redirtbl=1",
    "pic1.irr",
    "=1",
    "pic1.irr=",
    "pic1.irr=many",
    "pic1..irr=1",
    "ioapic.redirtbl[4].mask=perhaps",
    "ioapic.redirtbl[4].delivery_mode!=fixd",
    "ioapic.redirtbl[4].mask<true",
    "lapic[0].irr>0x41",
    "routing=default",
  ])("takes %j for a mistake: status 2 and no verdict, whatever else holds", (condition) => {
    const { status, stdout, stderr } = expectation("pic1.imr=0xff", condition);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/^kvm-irq: /);
  });

  it("reads a snapshot too, and needs no session for it", () => {
    const saved = (condition: string) =>
      user.run(["--snapshot", SNAPSHOT, "expect", condition], { env: { KVM_IRQ_SESSION: "nobody" } }).status;
    expect([saved("lapic[0].irr=0x41"), saved("lapic[0].irr=0x44"), saved("pic1.nope=1")]).toEqual([0, 1, 2]);
  });

  it("with --timeout waits until another client has made it true", async () => {
    const start = performance.now();
    const waiting = user.start(["expect", "lapic[0].irr=0x44", "--timeout", "20s", "--json"]);
    const result = finished(waiting);
    await sleep(600);
    expect(waiting.exitCode).toBe(null);
    user.ok(["pulse", "20"]);
    const { status, stdout } = await result;
    expect(status).toBe(0);
    expect(JSON.parse(stdout).conditions[0].found).toEqual([0x41, 0x44, 0x52]);
    expect(performance.now() - start).toBeLessThan(10_000);
    user.ok(["restore", SNAPSHOT]);
  });

  it("with --timeout ends in status 1 when it has run out, and hardly uses the CPU until then", async () => {
    const waiting = user.start(["expect", "lapic[0].irr=0x44", "--timeout", "3s"]);
    const result = finished(waiting);
    await sleep(1000);
    const [start, before] = [performance.now(), cpuMs(waiting.pid!)];
    await sleep(1500);
    const share = (cpuMs(waiting.pid!) - before) / (performance.now() - start);
    expect(share).toBeLessThan(0.3);
    const { status, stdout } = await result;
    expect(status).toBe(1);
    expect(stdout).toMatch(/not ok +lapic\[0\]\.irr/);
  });

  it("is interrupted by SIGINT while it waits", async () => {
    const waiting = user.start(["expect", "lapic[0].irr=0x44", "--timeout", "1h"]);
    const result = finished(waiting);
    await sleep(600);
    waiting.kill("SIGINT");
    const { status, stdout, stderr } = await result;
    expect({ status, stderr }).toEqual({ status: 130, stderr: "interrupted before all conditions held\n" });
    expect(stdout).toMatch(/not ok +lapic\[0\]\.irr/);
  });
});
