import { readFileSync } from "node:fs";
import { isatty } from "node:tty";
import { runHolder } from "./sources/session/holder.ts";

/** The holder's program: its stdin is its configuration, in JSON. */
export function main(): void {
  if (isatty(0)) {
    process.stderr.write("kvm-irq-holder is started by `kvm-irq create`, not by hand\n");
    process.exit(2);
  }
  void runHolder(readFileSync(0, "utf8"));
}
