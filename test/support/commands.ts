import { spawnSync } from "node:child_process";

/** Whether a program that a test would like to use is installed. */
export function has(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}
