import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Report } from "./report.js";
import { findProgram } from "./tools.js";

/**
 * Nested SVM under plain emulation: KVM works inside whatever the host's own CPU is. One CPU only: KVM
 * patches the running kernel's code as VMs come and go, and a 6.12 guest of two CPUs died of a stray int3.
 */
const MACHINE = ["-accel", "tcg,thread=multi", "-cpu", "max,+svm", "-smp", "1", "-m", "2048"];
const BARE = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"];
/** A panic ends the guest at once, as a reboot that -no-reboot turns into an exit. */
const KERNEL_COMMAND_LINE = "console=ttyS0 panic=-1";
/** How much of the kernel's messages to show when a guest fails. */
const CONSOLE_TAIL = 25;

/**
 * Boots a kernel and reads its report until it powers off.
 *
 * @param {{ image: string, initramfs: string, disk: string, log: string, limit: number }} guest
 *   `log` is a file for the kernel's messages; `limit` is in seconds.
 * @param {(line: string) => void} onLine called with every line of the report.
 * @returns {Promise<{ report: Report, problem: string | undefined }>} `problem` says why the report is not whole.
 */
export async function bootGuest({ image, initramfs, disk, log, limit }, onLine) {
  const qemu = spawn(
    findProgram("qemu-system-x86_64"),
    [
      ...[...MACHINE, ...BARE, "-serial", `file:${log}`, "-serial", "stdio"],
      ...["-drive", `file=${disk},if=virtio,format=raw,snapshot=on`],
      ...["-kernel", image, "-initrd", initramfs, "-append", KERNEL_COMMAND_LINE],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const kill = () => qemu.kill("SIGKILL");
  process.once("exit", kill);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, limit * 1000);
  let complaint = "";
  qemu.stderr.on("data", (chunk) => {
    complaint += chunk;
  });
  const closed = new Promise((resolve, reject) => qemu.once("close", resolve).once("error", reject));
  const report = new Report(performance.now() / 1000);
  for await (const line of createInterface({ input: qemu.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
    report.read(line, performance.now() / 1000);
    onLine(line);
  }
  const status = await closed;
  clearTimeout(timer);
  process.off("exit", kill);
  if (report.done) return { report, problem: undefined };
  const why = late
    ? `no end within ${limit} s`
    : `qemu ended with status ${status} before the guest was done`;
  return { report, problem: `${why}\n${complaint}${tail(log)}` };
}

function tail(log) {
  return readFileSync(log, "utf8").split("\n").slice(-CONSOLE_TAIL).join("\n");
}
