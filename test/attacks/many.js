/**
 * Runs command lines in one process, for volume: a start of node takes longer than most of what is attacked.
 * Each line on standard input is JSON, `{ argv, env }`; each answer on descriptor 3 is `{ status, stdout,
 * stderr, ms, kib }`. A call that has not ended after `MANY_INTERRUPT_MS` gets what Ctrl-C sends.
 */
import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { main } = createRequire(import.meta.url)(process.argv[2]);
const INTERRUPT_MS = Number(process.argv[3]);

class Exit {
  constructor(status) {
    this.status = status;
  }
}

const said = { stdout: "", stderr: "" };
for (const name of /** @type {const} */ (["stdout", "stderr"])) {
  process[name].write = (piece) => {
    said[name] += typeof piece === "string" ? piece : Buffer.from(piece).toString("utf8");
    return true;
  };
}
process.exit = (status) => {
  throw new Exit(status ?? process.exitCode ?? 0);
};
process.setMaxListeners(0);
process.on("unhandledRejection", (error) => {
  said.stderr += `unhandled rejection: ${error?.stack ?? error}\n`;
});

for await (const line of createInterface({ input: process.stdin })) {
  const { argv, env = {} } = JSON.parse(line);
  Object.assign(said, { stdout: "", stderr: "" });
  const own = { ...process.env };
  Object.assign(process.env, env);
  process.exitCode = 0;
  const interrupt = setTimeout(() => process.emit("SIGINT", "SIGINT"), INTERRUPT_MS);
  const before = process.cpuUsage();
  try {
    await main(argv);
  } catch (error) {
    if (error instanceof Exit) process.exitCode = error.status;
    else said.stderr += `thrown out of main: ${error?.stack ?? error}\n`;
  }
  clearTimeout(interrupt);
  const { user, system } = process.cpuUsage(before);
  const ms = (user + system) / 1000;
  for (const name of Object.keys(env)) delete process.env[name];
  Object.assign(process.env, own);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(signal);
  for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners("error");
  const kib = process.resourceUsage().maxRSS;
  writeSync(3, `${JSON.stringify({ status: process.exitCode, ...said, ms, kib })}\n`);
}
