/**
 * Attaches to a process again and again: `attach-driver PID TIMES CHIP...`. Says "attached" after the first
 * time, and at the end what it read and how long threads were stopped, as one line of JSON; or the error.
 */
import { setImmediate } from "node:timers/promises";
import { KvmIrqError } from "../../src/abi/error.ts";
import { openProcess } from "../../src/sources/attach/source.ts";
import type { ChipId } from "../../src/vm/chip.ts";

const [pid, times, ...ids] = process.argv.slice(2);
try {
  const target = await openProcess({ pid: Number(pid) });
  const ns: number[] = [];
  let threads = 0;
  const chips: Record<string, string> = {};
  for (let n = 0; n < Number(times); n++) {
    for (const { id, bytes } of (await target.read({ chips: ids as ChipId[] })).images) {
      chips[id] = Buffer.from(bytes).toString("hex");
    }
    ns.push(Math.max(...target.lastStops.map((stop) => stop.ns)));
    threads += target.lastStops.length;
    if (n === 0) console.log("attached");
    // Lets a signal's listener run, as the end of a command would.
    await setImmediate();
  }
  await target.close();
  console.log(JSON.stringify({ chips, ns, threads }));
} catch (error) {
  if (!(error instanceof KvmIrqError)) throw error;
  console.log(JSON.stringify({ error }));
  process.exitCode = error.exitStatus;
}
