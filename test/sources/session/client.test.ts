import { mkdtempSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KvmIrqError } from "../../../src/abi/error.ts";
import { SessionClient } from "../../../src/sources/session/client.ts";
import { PROTOCOL } from "../../../src/sources/session/protocol.ts";
import { listSessions } from "../../../src/sources/session/start.ts";
import { fakeHolder } from "../../support/json-rpc.ts";

const INFO = {
  name: "odd",
  protocol: PROTOCOL,
  backend: "model",
  pid: 1,
  vcpus: 1,
  created_at: "2026-01-01T00:00:00.000Z",
  host: { kernel: "6.1", arch: "x86_64" },
  irqchip: "full",
  routing: "default",
};

let folder: string;
let server: Server | undefined;
const before = process.env["XDG_RUNTIME_DIR"];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kvm-irq-client-"));
  process.env["XDG_RUNTIME_DIR"] = folder;
});

afterEach(() => {
  server?.close();
  rmSync(folder, { recursive: true });
  if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
  else process.env["XDG_RUNTIME_DIR"] = before;
});

const holder = async (answer: Parameters<typeof fakeHolder>[1], name = "odd") => {
  server = await fakeHolder(join(folder, "kvm-irq", name, "1-abcdef.sock"), answer);
};

const result =
  (value: unknown) =>
  ({ id }: { id: number }) => ({ jsonrpc: "2.0", id, result: value });

async function failure(
  call: (client: SessionClient) => Promise<unknown>,
  timeoutMs = 10_000,
): Promise<KvmIrqError> {
  const client = await SessionClient.open("odd", { timeoutMs });
  const error = await call(client).catch((reason) => reason);
  client.close();
  expect(error).toBeInstanceOf(KvmIrqError);
  return error as KvmIrqError;
}

/** What a reading of one chip is answered with. */
const PIC = { id: "pic1", base64: Buffer.alloc(16).toString("base64") };
const SEEN = { images: [PIC], routing: "default" };
const reading = (client: SessionClient) => client.call("readChips", { ids: ["pic1"] });
const pulsing = (client: SessionClient) =>
  client.call("setIrqLines", { steps: [{ gsi: 4, level: 1 }], transient: false });
/** A holder that describes itself rightly, and answers anything else as it is told. */
const honestUntil = (value: unknown) => (request: { id: number; method: string }) =>
  result(request.method === "describe" ? INFO : value)(request);

describe("a client", () => {
  it.each([
    ["null", () => null],
    ["a number", () => 7],
    ["a list", () => []],
    ["no JSON", () => "hello\n"],
    ["no UTF-8", () => Buffer.from('{"jsonrpc":"2.0","id":1,"result":"\u00ff"}\n', "latin1")],
    ["neither result nor error", ({ id }: { id: number }) => ({ jsonrpc: "2.0", id })],
    [
      "both",
      ({ id }: { id: number }) => ({ jsonrpc: "2.0", id, result: {}, error: { code: 1, message: "" } }),
    ],
    ["null as result", result(null)],
    ["an error that is null", ({ id }: { id: number }) => ({ jsonrpc: "2.0", id, error: null })],
    ["an error without words", ({ id }: { id: number }) => ({ jsonrpc: "2.0", id, error: { code: -32000 } })],
    [
      "an error of a code that every object has",
      ({ id }: { id: number }) => ({
        jsonrpc: "2.0",
        id,
        error: { code: -32000, message: "m", data: { code: "constructor", message: "m" } },
      }),
    ],
    [
      "an error whose data is null",
      ({ id }: { id: number }) => ({ jsonrpc: "2.0", id, error: { code: -32000, message: "m", data: null } }),
    ],
    ["an id that is a string", () => ({ jsonrpc: "2.0", id: "1", result: INFO })],
    ["a name that is a number", result({ ...INFO, name: 1 })],
    ["a million vCPUs", result({ ...INFO, vcpus: 1e6 })],
    ["a routing that is null", result({ ...INFO, routing: null })],
    ["another architecture", result({ ...INFO, host: { kernel: "6.1", arch: "vax" } })],
    ["more than a megabyte", () => "x".repeat(1_100_000)],
    ["a megabyte of nesting", () => `${"[".repeat(500_000)}${"]".repeat(500_000)}\n`],
  ])("that gets %s for an answer says so in one line, status 4", async (_, answer) => {
    await holder(answer);
    const error = await failure((client) => client.call("describe", {}));
    expect(error).toMatchObject({ code: "session-protocol", exitStatus: 4 });
    expect(error.message.length).toBeLessThan(500);
    expect(error.hint).toContain("kvm-irq create odd --replace");
  });

  it.each([
    ["no image", reading, { ...SEEN, images: [] }],
    ["null for images", reading, { ...SEEN, images: null }],
    ["another chip", reading, { ...SEEN, images: [{ ...PIC, id: "pic2" }] }],
    ["a chip without the routing", reading, { images: [PIC] }],
    ["a chip of another size", reading, { ...SEEN, images: [{ ...PIC, base64: "AAAA" }] }],
    ["no status", pulsing, { statuses: [] }],
    ["a status that is no number", pulsing, { statuses: ["1"] }],
    ["statuses for more steps", pulsing, { statuses: [1, 1] }],
  ])("that asked for something and gets %s says so", async (_, call, answer) => {
    await holder(honestUntil(answer));
    expect(await failure(call)).toMatchObject({ code: "session-protocol" });
  });

  it.each([
    ["its description", (client: SessionClient) => client.call("describe", {}), INFO],
    ["a reading", reading, SEEN],
    ["statuses", pulsing, { statuses: [1] }],
  ])("leaves alone what a holder adds to %s, whatever it is called", async (_, call, answer) => {
    const further = { expected: null, ...answer, ...(answer === SEEN ? {} : { images: [null] }) };
    await holder((request) =>
      result(answer !== INFO && request.method === "describe" ? INFO : further)(request),
    );
    const client = await SessionClient.open("odd");
    expect(await call(client)).toMatchObject({ expected: null });
    client.close();
  });

  it.each([
    ["has no number of its protocol", (({ protocol: _, ...rest }) => rest)(INFO)],
    ["has another number, and who knows what else", { protocol: PROTOCOL + 1 }],
  ])("says that a holder is of another version when it %s, and asks nothing more of it", async (_, info) => {
    const asked: string[] = [];
    await holder((request) => {
      asked.push(request.method);
      return result(info)(request);
    });
    const error = await failure(pulsing);
    expect(error).toMatchObject({
      code: "session-protocol",
      message: "session 'odd' was made by another version of kvm-irq",
      hint: "recreate the session: `kvm-irq create odd --replace`",
    });
    expect(asked).toEqual(["describe"]);
  });

  it("says of a silent holder that it does not answer, and of one that hung up that it has ended", async () => {
    await holder(() => undefined);
    const describe = (client: SessionClient) => client.call("describe", {});
    expect(await failure(describe, 50)).toMatchObject({ code: "session-busy" });
    server?.close();
    await holder(() => undefined);
    server!.on("connection", (socket) => socket.once("data", () => socket.destroy()));
    expect(await failure(describe)).toMatchObject({ code: "session-gone" });
  });

  it("gives up soon after its user, when the holder is silent", async () => {
    await holder(() => undefined);
    const abort = new AbortController();
    const client = await SessionClient.open("odd", { signal: abort.signal });
    const call = client.call("describe", {});
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: "interrupted", exitStatus: 130 });
    client.close();
  });

  it("lists the others beside a holder that answers nonsense, one of another version, and a silent one", async () => {
    const sound = await fakeHolder(join(folder, "kvm-irq", "sound", "1-abcdef.sock"), result(INFO));
    const old = await fakeHolder(join(folder, "kvm-irq", "old", "1-abcdef.sock"), ({ id }) => ({
      jsonrpc: "2.0",
      id,
      error: { code: -32601, message: "Method not found" },
    }));
    const silent = await fakeHolder(join(folder, "kvm-irq", "silent", "1-abcdef.sock"), () => undefined);
    await holder(() => null);
    const { sessions, swept } = await listSessions();
    expect(sessions).toEqual([
      { unusable: { name: "odd", pid: 1, reason: expect.stringContaining("session 'odd'") } },
      { unusable: { name: "old", pid: 1, reason: "session 'old' was made by another version of kvm-irq" } },
      { silent: { name: "silent", pid: 1 } },
      { info: INFO },
    ]);
    expect(swept).toEqual([]);
    for (const one of [sound, old, silent]) one.close();
  });
});
