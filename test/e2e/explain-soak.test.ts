import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { HealthyVmm, haveBusyVmm } from "../support/attach.ts";
import { HEALTHY_GUESTS, soakExplain } from "../support/explain-soak.ts";
import { noKernelMemory } from "../support/kernel-memory.ts";

/** Those that spoke most often when their findings were false. */
const SHORT = [
  "edge, 8 vCPUs, 1000/s",
  "level, 2 vCPUs, 1000/s",
  "msi, 2 vCPUs, 1000/s",
  "pit, 1 vCPU, 1000/s",
  "mask, 1 vCPU, 250/s",
  "edge, 2 vCPUs, 250/s, paused",
  "never, 1 vCPU, 250/s",
  "QEMU, -S",
];

describe.skipIf(!haveBusyVmm)(
  "explain of a VM in which nothing is wrong (needs /dev/kvm, root and a C compiler)",
  () => {
    const guests = HEALTHY_GUESTS.filter(({ name }) => SHORT.includes(name));

    it.each(guests)(
      "has no error, no warning and no blocked GSI: $name",
      async (guest) => {
        for await (const row of soakExplain(8, [guest])) {
          expect(row).toEqual({
            guest: guest.name,
            explains: 8,
            refused: 0,
            errors: 0,
            warnings: 0,
            blocked: 0,
            said: [],
          });
        }
      },
      60_000,
    );

    it("counts what could not be attached to, and goes on with the next guest", async () => {
      const traced = {
        name: "traced",
        async start() {
          const vmm = await HealthyVmm.start("never", 1, 250);
          const tracer = await trace(vmm.pid);
          return {
            pid: vmm.pid,
            end() {
              tracer.kill("SIGKILL");
              return vmm.end();
            },
          };
        },
      };
      const rows = [];
      for await (const { guest, explains, refused, said } of soakExplain(2, [traced, ...guests.slice(-1)])) {
        rows.push({ guest, explains, refused, said });
      }
      // The program, which has the first turn, reads it all the same where it can read kernel memory.
      const refused = noKernelMemory === undefined ? 1 : 2;
      expect(rows).toEqual([
        { guest: "traced", explains: 2, refused, said: [] },
        { guest: guests.at(-1)!.name, explains: 2, refused: 0, said: [] },
      ]);
    }, 60_000);
  },
);

/**
 * Traces a process without stopping it, by PTRACE_SEIZE, until it is killed. Node, whose child the process is, takes
 * a stop of a child that it traces itself for the child's end.
 */
async function trace(pid: number): Promise<ChildProcess> {
  const seize = `
    const { DataType: { I32, I64 }, load, open } = require("ffi-rs");
    open({ library: "libc", path: "libc.so.6" });
    const call = { library: "libc", funcName: "ptrace", retType: I64, paramsType: [I32, I32, I64, I64] };
    console.log(load({ ...call, paramsValue: [0x4206, ${pid}, 0, 0] }));
    setInterval(() => {}, 1000);`;
  const tracer = spawn(process.execPath, ["-e", seize], { stdio: ["ignore", "pipe", "inherit"] });
  expect(String(await once(tracer.stdout!, "data"))).toBe("0\n");
  return tracer;
}
