import { KvmIrqError } from "../../abi/error.ts";

/** The error for a command that would change a file. */
export function readOnly(label: string): KvmIrqError {
  return new KvmIrqError("unsupported", `${label} is a file: it can be read, not driven`, {
    hint: "`kvm-irq create NAME --from FILE` makes a VM of it that can be",
  });
}
