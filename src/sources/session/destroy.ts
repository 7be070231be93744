import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { KvmIrqError } from "../../abi/error.ts";
import { type ClientOptions, noSession, SessionClient } from "./client.ts";
import { HOLDER_PROGRAM } from "./protocol.ts";
import { isHolder, lookUp, type Registration, sweep } from "./registry.ts";

/** How long a holder may take to answer before it is killed, and to end after that. */
const DESTROY_TIMEOUT_MS = 2_000;

/**
 * Ends a session. A holder that does not answer, or not as one, is killed: its VM ends with it.
 *
 * @throws KvmIrqError `no-session`, `session-gone` when the holder was dead already, `session-busy` for one
 *   that neither answers nor can be killed from here.
 */
export async function destroySession(name: string, { signal }: ClientOptions = {}): Promise<void> {
  const registration = lookUp(name);
  if (registration === undefined) throw noSession(name);
  let client: SessionClient | undefined;
  try {
    client = await SessionClient.connect(registration, { timeoutMs: DESTROY_TIMEOUT_MS, signal });
    await client.call("destroy", {});
    await client.ended(DESTROY_TIMEOUT_MS);
    await ending(registration.pid);
  } catch (error) {
    if (!hasCode(error, "session-busy", "session-protocol")) throw error;
    await kill(registration, client, error.message);
    sweep(registration);
  } finally {
    client?.close();
  }
}

/**
 * Kills the process that listens on a session's socket, by the kernel's word, and waits for its end.
 *
 * @param why what it did not do, as a sentence.
 */
async function kill(
  registration: Registration,
  client: SessionClient | undefined,
  why: string,
): Promise<void> {
  const { name, path } = registration;
  const { killProcess, listensAs } = await import("../../os/peer.ts");
  // A holder whose queue is full takes no connection by which the kernel could say who it is.
  const pid = client === undefined ? registration.pid : await peerOf(registration, client);
  const isMeant = () =>
    pid !== undefined && isHolder(pid) && (client !== undefined || listensAs(pid, basename(path)));
  if (!pid || !killProcess(pid, isMeant)) {
    throw new KvmIrqError("session-busy", `${why}, and its process can't be killed from here`, {
      hint:
        pid === 0
          ? "it runs in another PID namespace: run this in the container, or on the host, that it was created in"
          : client !== undefined && pid
            ? `end process ${pid} by yourself: it owns the session's socket, but is not a holder of kvm-irq`
            : `look for a process that is called '${HOLDER_PROGRAM} ${name}'`,
      details: { session: name },
    });
  }
  if (!(await ending(pid))) {
    throw new KvmIrqError(
      "session-busy",
      `the holder of session '${name}' (pid ${pid}) was killed and does not end`,
      { hint: "it waits for the kernel: `ps -o stat,wchan` shows where", details: { session: name, pid } },
    );
  }
}

/** Who is at the other end; of a connection that is closed, because nonsense came by it, who takes the next one. */
async function peerOf(registration: Registration, client: SessionClient): Promise<number | undefined> {
  const pid = await client.peerPid();
  if (pid !== undefined) return pid;
  const next = await SessionClient.connect(registration);
  try {
    return await next.peerPid();
  } finally {
    next.close();
  }
}

/** The kernel takes a process down after its sockets: a moment, but not none. @returns whether it has ended. */
async function ending(pid: number): Promise<boolean> {
  const deadline = performance.now() + DESTROY_TIMEOUT_MS;
  while (isHolder(pid)) {
    if (performance.now() > deadline) return false;
    await sleep(2);
  }
  return true;
}

/** {@link destroySession}, and no matter whether there was one. @returns whether this call ended it. */
export async function destroyIfAny(name: string, options?: ClientOptions): Promise<boolean> {
  try {
    await destroySession(name, options);
    return true;
  } catch (error) {
    if (!hasCode(error, "no-session", "session-gone")) throw error;
    return false;
  }
}

function hasCode(error: unknown, ...codes: KvmIrqError["code"][]): error is KvmIrqError {
  return error instanceof KvmIrqError && codes.includes(error.code);
}
