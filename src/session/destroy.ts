import { setTimeout as sleep } from "node:timers/promises";
import { KvmIrqError } from "../abi/error.ts";
import { isAlive } from "../sys/alive.ts";
import { SessionClient } from "./client.ts";
import { sweep } from "./registry.ts";

/** How long a holder may take to answer before it is killed. */
const DESTROY_TIMEOUT_MS = 2_000;

/**
 * Ends a session. A holder that does not answer is killed: its VM ends with it.
 *
 * @throws KvmIrqError `no-session`, or `session-gone` when the holder was dead already.
 */
export async function destroySession(name: string): Promise<void> {
  const client = await SessionClient.open(name, DESTROY_TIMEOUT_MS);
  try {
    await client.call("destroy", {});
    await client.ended();
    await processEnd(client.registration.pid);
  } catch (error) {
    if (!(error instanceof KvmIrqError && error.code === "session-busy")) throw error;
    process.kill(client.registration.pid, "SIGKILL");
    await client.ended();
    sweep(client.registration);
  } finally {
    client.close();
  }
}

/** The kernel takes the VM down after the holder has closed its socket: a moment, but not none. */
async function processEnd(pid: number): Promise<void> {
  const deadline = performance.now() + DESTROY_TIMEOUT_MS;
  while (isAlive(pid) && performance.now() < deadline) await sleep(2);
}

/** {@link destroySession}, and no matter whether there was one. */
export async function destroyIfAny(name: string): Promise<void> {
  try {
    await destroySession(name);
  } catch (error) {
    if (!(error instanceof KvmIrqError && (error.code === "no-session" || error.code === "session-gone")))
      throw error;
  }
}
