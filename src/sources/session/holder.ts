import { closeSync, openSync, writeSync } from "node:fs";
import { KvmIrqError } from "../../abi/error.ts";
import { asKnown } from "../../os/system-error.ts";
import type { Machine } from "../../vm/machine.ts";
import { thisHost } from "../../vm/reading.ts";
import { applyStart } from "../../vm/start.ts";
import { makeMachine } from "../make-machine.ts";
import { createHolderServer } from "./holder-server.ts";
import { closeInherited } from "./inherited.ts";
import {
  HOLDER_PROGRAM,
  type HolderConfig,
  PROTOCOL,
  READY_FD,
  type ReadyMessage,
  type SessionInfo,
  startFromWire,
} from "./protocol.ts";
import { type Claim, claim, withSocketPath } from "./registry.ts";

/** How many sessions of its name a holder ends, if they come as fast. */
const MOST_REPLACED = 100;

/** How often a holder looks whether a client could still find it. */
const LOOK_MS = 5_000;

/**
 * The holder process: makes the VM, takes the name, serves until told to end.
 *
 * @param input its configuration, in JSON.
 */
export async function runHolder(input: string): Promise<void> {
  // Node answers this signal by opening its debugger, unless somebody listens.
  process.on("SIGUSR1", () => {});
  process.umask(0o077);
  process.chdir("/");
  closeInherited(READY_FD);
  try {
    const config = JSON.parse(input) as HolderConfig;
    process.title = `${HOLDER_PROGRAM} ${config.name}`;
    const machine = await makeMachine(config.backend, config.vcpus, config);
    applyStart(machine, startFromWire(config.start));
    await hold(machine, config);
  } catch (error) {
    tell({ error: asKnown(error).toJSON() });
    process.exit(1);
  }
}

async function hold(machine: Machine, config: HolderConfig): Promise<void> {
  const info = describe(machine, config);
  const claimed = claim(config.name);
  const end = (status: number): never => {
    try {
      claimed.withdraw();
      machine.close();
    } finally {
      process.exit(status);
    }
  };
  const ttl = restartableTimer(config.ttlMs, () => end(0));
  const server = createHolderServer(machine, info, {
    onUse: ttl.stop,
    onIdle: ttl.restart,
    onDestroy: () => end(0),
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => end(0));
  process.on("uncaughtException", () => end(70));
  await new Promise<void>((resolve, reject) => {
    // What goes wrong with one client later is none of the others' business.
    server.on("error", reject);
    withSocketPath(claimed.socket, (path) => server.listen({ path, backlog: 511 }, resolve));
  }).catch((error: Error) => {
    claimed.withdraw();
    throw new KvmIrqError("runtime-dir", `the session's socket can't be made: ${error.message}`);
  });
  const named = await takeName(claimed, config).catch((error) => {
    claimed.withdraw();
    throw error;
  });
  if (!named) {
    tell({ exists: true });
    end(1);
  }
  leaveStreams();
  // Whoever asked for this VM has gone: nobody would know of it.
  if (!tell({ ready: info })) end(1);
  ttl.restart();
  setInterval(() => claimed.isThere() || end(0), LOOK_MS);
}

/** The pipes to `create` break when that ends; the lowest number that is free is the next one's. */
function leaveStreams(): void {
  for (const fd of [0, 1, 2]) {
    closeSync(fd);
    openSync("/dev/null", "r+");
  }
}

/** @returns whether this holder has the name now. */
async function takeName(claimed: Claim, { name, replace }: HolderConfig): Promise<boolean> {
  if (!replace) return claimed.publish();
  // What speaks with other holders is loaded by those alone that have to.
  const { destroyIfAny } = await import("./destroy.ts");
  // Others may do the same at the same time; the last one has it.
  for (let tries = 0; tries < MOST_REPLACED; tries++) {
    await destroyIfAny(name);
    if (claimed.publish()) return true;
  }
  return claimed.publish();
}

function describe(machine: Machine, config: HolderConfig): SessionInfo {
  return {
    name: config.name,
    protocol: PROTOCOL,
    backend: machine.backend,
    pid: process.pid,
    vcpus: machine.vcpus,
    ...(typeof config.start === "string" ? { preset: config.start } : { from: config.start.label }),
    created_at: new Date().toISOString(),
    ...(config.ttlMs === undefined ? {} : { ttl_ms: config.ttlMs }),
    irqchip: machine.irqchip,
    routing: machine.routing,
    host: thisHost(machine.apiVersion),
  };
}

/** A timer that starts again at each call; without a time it never fires. */
function restartableTimer(ms: number | undefined, onEnd: () => void): { restart(): void; stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  const stop = () => clearTimeout(timer);
  const restart = () => {
    stop();
    if (ms !== undefined) timer = setTimeout(onEnd, ms);
  };
  return { restart, stop };
}

/** @returns whether anyone was there to be told. */
function tell(message: ReadyMessage): boolean {
  try {
    writeSync(READY_FD, `${JSON.stringify(message)}\n`);
    closeSync(READY_FD);
    return true;
  } catch {
    return false;
  }
}
