import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { PROGRAM, User } from "../support/cli.ts";
import { haveKvm } from "../support/kvm.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));
const SCRIPT = `${EXAMPLES}level-survives-restore.kvmirq`;
const BACKENDS = [
  { backend: "model", skip: false },
  { backend: "kvm", skip: !haveKvm },
];

const user = new User();
afterAll(() => expect(user.dispose()).toEqual(["level.json"]));

/** Scripts write their files where they are run. */
const shell = (line: string, env: Record<string, string>) =>
  spawnSync("sh", ["-c", line], { cwd: user.folder, env: { ...user.env, ...env }, encoding: "utf8" });
const kvmIrq = `${process.execPath} ${PROGRAM}`;

describe.each(BACKENDS)(
  "the examples with the backend $backend (skipped without it)",
  ({ backend, skip }) => {
    const env = { KVM_IRQ_BACKEND: backend, KVM_IRQ: kvmIrq };

    it.skipIf(skip)("a level interrupt survives a restore, as a script tells in TAP", () => {
      const { status, stdout } = shell(`${kvmIrq} run ${SCRIPT} --preset ioapic --format tap`, env);
      expect(status).toBe(0);
      expect(stdout).toMatch(/^TAP version 13\n1\.\.5\n(ok \d .*\n){5}$/);
    });

    it.skipIf(skip)("the script fails where a restore forgets the local APIC", () => {
      const input = readFileSync(SCRIPT, "utf8").replace(
        "restore level.json",
        "restore level.json --chip ioapic",
      );
      const { status, stderr } = spawnSync(process.execPath, [PROGRAM, "run", "-", "--preset", "ioapic"], {
        cwd: user.folder,
        env: { ...user.env, ...env },
        input,
        encoding: "utf8",
      });
      expect(status).toBe(1);
      expect(stderr).toMatch(/^standard input:19: expect .*: a condition does not hold\n$/);
    });

    it.skipIf(skip)("a level interrupt survives the move to another VM, as a shell's script tells", () => {
      const { status, stdout, stderr } = shell(`${EXAMPLES}level-survives-restore.sh`, env);
      expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
      expect(user.json(["list"]).sessions).toEqual([]);
    });
  },
);

it("every example is tried here", () => {
  expect(readdirSync(EXAMPLES).sort()).toEqual([
    "level-survives-restore.kvmirq",
    "level-survives-restore.sh",
  ]);
});
