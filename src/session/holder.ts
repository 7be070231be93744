import { closeSync, writeSync } from "node:fs";
import { release } from "node:os";
import { HOST_ARCH } from "../abi/arches.ts";
import { KvmIrqError } from "../abi/error.ts";
import { asKnown } from "../abi/system-error.ts";
import type { Machine } from "../machine/machine.ts";
import { applyStart } from "../machine/start.ts";
import { destroyIfAny } from "./destroy.ts";
import { createHolderServer } from "./holder-server.ts";
import { closeInherited } from "./inherited.ts";
import { makeMachine } from "./make-machine.ts";
import { HOLDER_PROGRAM, type HolderConfig, type SessionInfo, startFromWire } from "./protocol.ts";
import { type Claim, claim } from "./registry.ts";

/** The pipe on which the holder tells `create` that it is ready, or why it can't be. */
export const READY_FD = 3;

/** How many sessions of its name a holder ends, if they come as fast. */
const MOST_REPLACED = 100;

/** What comes through the pipe, as one line of JSON. */
export type ReadyMessage = { ready: SessionInfo } | { exists: true } | { error: unknown };

/** The holder process: makes the VM, takes the name, serves until told to end. */
export async function runHolder(config: HolderConfig): Promise<void> {
  process.title = `${HOLDER_PROGRAM} ${config.name}`;
  process.chdir("/");
  closeInherited(READY_FD);
  try {
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
    claimed.withdraw();
    machine.close();
    process.exit(status);
  };
  const ttl = restartableTimer(config.ttlMs, () => end(0));
  const server = createHolderServer(machine, info, { onCall: ttl.restart, onDestroy: () => end(0) });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => end(0));
  process.on("uncaughtException", () => end(70));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path: claimed.socket, backlog: 511 }, resolve);
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
  // Whoever asked for this VM has gone: nobody would know of it.
  if (!tell({ ready: info })) end(1);
  ttl.restart();
}

/** @returns whether this holder has the name now. */
async function takeName(claimed: Claim, { name, replace }: HolderConfig): Promise<boolean> {
  // Others may do the same at the same time; the last one has it.
  for (let tries = 0; replace && tries < MOST_REPLACED; tries++) {
    await destroyIfAny(name);
    if (claimed.publish()) return true;
  }
  return claimed.publish();
}

function describe(machine: Machine, config: HolderConfig): SessionInfo {
  const { apiVersion } = machine;
  return {
    name: config.name,
    backend: machine.backend,
    pid: process.pid,
    vcpus: machine.vcpus,
    ...(typeof config.start === "string" ? { preset: config.start } : { from: config.start.label }),
    created_at: new Date().toISOString(),
    ...(config.ttlMs === undefined ? {} : { ttl_ms: config.ttlMs }),
    irqchip: machine.irqchip,
    routing: machine.routing,
    host: {
      kernel: release(),
      arch: HOST_ARCH.name,
      ...(apiVersion === undefined ? {} : { kvm_api_version: apiVersion }),
    },
  };
}

/** A timer that starts anew at each call; without a time it never fires. */
function restartableTimer(ms: number | undefined, onEnd: () => void): { restart(): void } {
  let timer: NodeJS.Timeout | undefined;
  return {
    restart() {
      if (ms === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(onEnd, ms);
    },
  };
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
