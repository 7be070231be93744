import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type ErrorCode, KvmIrqError } from "../../abi/error.ts";
import { type ClientOptions, SessionClient } from "./client.ts";
import {
  HOLDER_PROGRAM,
  type HolderConfig,
  READY_FD,
  type ReadyMessage,
  type SessionInfo,
} from "./protocol.ts";
import { listAll, lookUp, type Registration, sweepUnborn } from "./registry.ts";
import { ensureRuntimeDir } from "./runtime-dir.ts";
import { withoutPrivileges } from "./without-privileges.ts";

/** How long a holder may take to be ready; a VM with 255 vCPUs takes under a second. */
const READY_TIMEOUT_MS = 30_000;
/** How long `list` waits for a holder's answer. */
const LIST_TIMEOUT_MS = 2_000;

/** Variables that the holder needs: where its socket goes, and what the dynamic linker needs to start Node. */
const ENVIRONMENT = ["XDG_RUNTIME_DIR", "LD_LIBRARY_PATH"];
/**
 * Until the holder listens for SIGUSR1, Node opens its debugger at that signal, for any user of this host. No host
 * has an address of class E (RFC 1112, section 4), so that it can't.
 */
export const NODE_ARGUMENTS = ["--inspect-port=240.0.0.1:1024"];

/**
 * Starts a session: a holder process that outlives this one.
 *
 * @returns the session, once it can be used.
 * @throws KvmIrqError `session-exists` when the name is taken, `interrupted` when the user gives up, or why the
 *   holder could not make the VM.
 */
export async function createSession(
  config: HolderConfig,
  { signal }: ClientOptions = {},
): Promise<SessionInfo> {
  ensureRuntimeDir();
  await sweepUnborn();
  if (!config.replace) await refuseLiving(config.name);
  const message = await startHolder(config, signal);
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
    const { code } = error as KvmIrqError;
    if (code === "session-gone" || code === "no-session") return;
    if (code !== "session-busy") throw error;
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

async function startHolder(config: HolderConfig, signal: AbortSignal | undefined): Promise<ReadyMessage> {
  const program = fileURLToPath(new URL(`../bin/${HOLDER_PROGRAM}.js`, import.meta.url));
  const [command, ...args] = withoutPrivileges(
    [process.execPath, ...NODE_ARGUMENTS, program],
    [program, "/dev/kvm"],
  );
  const child = spawn(command, args, {
    detached: true,
    env: Object.fromEntries(ENVIRONMENT.map((name) => [name, process.env[name]])),
    stdio: ["pipe", "ignore", "pipe", "pipe"],
  });
  // A holder that ends early says why on its own pipe.
  child.stdin?.on("error", () => {});
  child.stdin?.end(JSON.stringify(config));
  try {
    return await readyMessage(child, signal);
  } catch (error) {
    // It goes without a trace, whatever it is at.
    child.kill("SIGTERM");
    throw error;
  } finally {
    child.removeAllListeners();
    // Without descriptors left there are no pipes at all, whatever the types say.
    for (const pipe of child.stdio ?? []) pipe?.destroy();
    child.unref();
  }
}

async function readyMessage(child: ChildProcess, signal: AbortSignal | undefined): Promise<ReadyMessage> {
  let timer: NodeJS.Timeout | undefined;
  let giveUp: (() => void) | undefined;
  try {
    const line = await new Promise<string>((resolve, reject) => {
      let said = "";
      let complaint = "";
      const fail = (code: ErrorCode, message: string) =>
        reject(new KvmIrqError(code, message, { hint: complaint.trim().split("\n").at(-1) || undefined }));
      giveUp = () => fail("interrupted", "interrupted: no session was made");
      const late = () => {
        child.kill("SIGKILL");
        fail("internal", `the holder was not ready after ${READY_TIMEOUT_MS / 1000} s`);
      };
      timer = setTimeout(late, READY_TIMEOUT_MS);
      signal?.addEventListener("abort", giveUp);
      if (signal?.aborted) giveUp();
      child.on("error", ({ message }) => fail("kernel-refused", `the holder can't be started: ${message}`));
      child.stderr?.on("data", (chunk) => {
        complaint = (complaint + chunk).slice(-4096);
      });
      const ready = child.stdio?.[READY_FD];
      ready?.on("data", (chunk) => {
        said += chunk;
      });
      ready?.on("close", () => {
        if (said.endsWith("\n")) resolve(said);
        else fail("internal", "the holder ended before it was ready");
      });
    });
    return JSON.parse(line) as ReadyMessage;
  } finally {
    clearTimeout(timer);
    if (giveUp !== undefined) signal?.removeEventListener("abort", giveUp);
  }
}

/** A session as `list` finds it: living, one that does not answer, or one that this version can't speak with. */
export type SessionEntry =
  | { info: SessionInfo }
  | { silent: { name: string; pid: number } }
  | { unusable: { name: string; pid: number; reason: string } };

/** Every session of this user. Dead ones are swept up and named in `swept`. */
export async function listSessions(
  options: ClientOptions = {},
): Promise<{ sessions: SessionEntry[]; swept: string[] }> {
  await sweepUnborn();
  const swept: string[] = [];
  const look = async (registration: Registration): Promise<SessionEntry | undefined> => {
    const { name, pid } = registration;
    try {
      const client = await SessionClient.connect(registration, { timeoutMs: LIST_TIMEOUT_MS, ...options });
      try {
        return { info: await client.call("peek", {}) };
      } finally {
        client.close();
      }
    } catch (error) {
      if (!(error instanceof KvmIrqError)) throw error;
      if (error.code === "interrupted") throw error;
      if (error.code === "session-gone") swept.push(name);
      if (error.code === "session-gone" || error.code === "no-session") return undefined;
      if (error.code === "session-busy") return { silent: { name, pid } };
      return { unusable: { name, pid, reason: error.message } };
    }
  };
  const entries = await Promise.all(listAll().map(look));
  return { sessions: entries.filter((entry) => entry !== undefined), swept };
}

/** What is known of any session that `list` finds. */
export function identityOf(entry: SessionEntry): { name: string; pid: number } {
  if ("info" in entry) return entry.info;
  return "silent" in entry ? entry.silent : entry.unusable;
}
