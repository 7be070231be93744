import { accessSync, constants } from "node:fs";

/** Whether the real KVM can be used here. Tests that need it are skipped where it can't. */
export const haveKvm: boolean = canOpen("/dev/kvm");

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
