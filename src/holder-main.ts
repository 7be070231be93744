import { runHolder } from "./session/holder.ts";
import type { HolderConfig } from "./session/protocol.ts";

/** The holder's program: its one argument is its configuration, in JSON. */
const [config] = process.argv.slice(2);
if (config === undefined) {
  process.stderr.write("kvm-irq-holder is started by `kvm-irq create`, not by hand\n");
  process.exit(2);
}
void runHolder(JSON.parse(config) as HolderConfig);
