import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { KvmIrqError } from "../abi/error.ts";
import { isAlive } from "../sys/alive.ts";
import { SessionClient } from "./client.ts";
import type { ReadyMessage } from "./holder.ts";
import { HOLDER_PROGRAM, type HolderConfig, type SessionInfo } from "./protocol.ts";
import { listAll, lookUp, sweepUnborn } from "./registry.ts";
import { ensureRuntimeDir, sessionDir } from "./runtime-dir.ts";

/** How long a holder may take to be ready; a VM with 255 vCPUs takes under a second. */
const READY_TIMEOUT_MS = 30_000;
/** How long `list` waits for a holder's answer. */
const LIST_TIMEOUT_MS = 2_000;

/**
 * Starts a session: a holder process that outlives this one.
 *
 * @returns the session, once it can be used.
 * @throws KvmIrqError `session-exists` when the name is taken, or why the holder could not make the VM.
 */
export async function createSession(config: HolderConfig): Promise<SessionInfo> {
  ensureRuntimeDir();
  sessionDir(config.name);
  sweepUnborn();
  if (!config.replace) await refuseLiving(config.name);
  const message = await startHolder(config);
  if ("ready" in message) return message.ready;
  if ("exists" in message) throw sessionExists(config.name);
  throw KvmIrqError.fromJSON(message.error);
}

/** Finds out early that a name is taken, and sweeps up a dead holder's socket. The holder makes sure. */
async function refuseLiving(name: string): Promise<void> {
  const registration = lookUp(name);
  if (registration === undefined) return;
  try {
    const client = await SessionClient.connect(registration);
    client.close();
  } catch (error) {
    if (error instanceof KvmIrqError && (error.code === "session-gone" || error.code === "no-session"))
      return;
    throw error;
  }
  throw sessionExists(name);
}

function sessionExists(name: string): KvmIrqError {
  const pid = lookUp(name)?.pid;
  return new KvmIrqError(
    "session-exists",
    `session '${name}' is there already${pid === undefined ? "" : ` (holder pid ${pid})`}`,
    {
      hint: `\`kvm-irq destroy ${name}\` ends it, \`kvm-irq create ${name} --replace\` puts a new one in its place`,
      details: { session: name },
    },
  );
}

async function startHolder(config: HolderConfig): Promise<ReadyMessage> {
  const program = fileURLToPath(new URL(`../bin/${HOLDER_PROGRAM}.js`, import.meta.url));
  const child = spawn(process.execPath, [program], {
    detached: true,
    stdio: ["pipe", "ignore", "pipe", "pipe"],
  });
  // A holder that ends early says why on its own pipe.
  child.stdin?.on("error", () => {});
  child.stdin?.end(JSON.stringify(config));
  try {
    return await readyMessage(child);
  } finally {
    child.removeAllListeners();
    // Without descriptors left there are no pipes at all, whatever the types say.
    for (const pipe of child.stdio ?? []) pipe?.destroy();
    child.unref();
  }
}

function readyMessage(child: ChildProcess): Promise<ReadyMessage> {
  return new Promise((resolve, reject) => {
    let said = "";
    let complaint = "";
    const fail = (message: string) => {
      reject(new KvmIrqError("internal", message, { hint: complaint.trim().split("\n").at(-1) }));
    };
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      fail(`the holder was not ready after ${READY_TIMEOUT_MS / 1000} s`);
    }, READY_TIMEOUT_MS);
    child.on("error", (error) => fail(`the holder can't be started: ${error.message}`));
    child.stderr?.on("data", (chunk) => {
      complaint = (complaint + chunk).slice(-4096);
    });
    const ready = child.stdio?.[3];
    ready?.on("data", (chunk) => {
      said += chunk;
    });
    ready?.on("close", () => {
      clearTimeout(timer);
      if (said.endsWith("\n")) resolve(JSON.parse(said) as ReadyMessage);
      else fail("the holder ended before it was ready");
    });
  });
}

/** A session as `list` finds it: living, or one that does not answer. */
export type SessionEntry = { info: SessionInfo } | { silent: { name: string; pid: number } };

/** Every session of this user. Dead ones are swept up and named in `swept`. */
export async function listSessions(): Promise<{ sessions: SessionEntry[]; swept: string[] }> {
  sweepUnborn();
  const swept: string[] = [];
  const entries = await Promise.all(
    listAll().map(async (registration): Promise<SessionEntry[]> => {
      const { name, pid } = registration;
      try {
        const client = await SessionClient.connect(registration, LIST_TIMEOUT_MS);
        try {
          return [{ info: await client.call("describe", {}) }];
        } finally {
          client.close();
        }
      } catch (error) {
        if (error instanceof KvmIrqError && error.code === "session-busy" && isAlive(pid)) {
          return [{ silent: { name, pid } }];
        }
        if (error instanceof KvmIrqError && error.code === "session-gone") swept.push(name);
        return [];
      }
    }),
  );
  return { sessions: entries.flat(), swept };
}
