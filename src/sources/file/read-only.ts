import { basename } from "node:path";
import { KvmIrqError } from "../../abi/error.ts";

/** How messages name a file. @param path as `--snapshot` has it: `-` for standard input. */
export function labelOf(path: string): string {
  return path === "-" ? "standard input" : basename(path);
}

/** The error for a command that would change a file. */
export function readOnly(label: string): KvmIrqError {
  return new KvmIrqError("unsupported", `${label} is a file: it can be read, not driven`, {
    hint: "`kvm-irq create NAME --from FILE` makes a VM of it that can be",
  });
}
