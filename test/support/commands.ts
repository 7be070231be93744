import { spawnSync } from "node:child_process";

/** Whether a program that a test would like to use is installed. */
export function has(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}

/** Whether a program is that of util-linux: busybox's programs of the same names take fewer options. */
export function isOfUtilLinux(command: string): boolean {
  return /util-linux/.test(spawnSync(command, ["--version"], { encoding: "utf8" }).stdout ?? "");
}
