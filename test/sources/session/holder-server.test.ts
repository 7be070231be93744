import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ModelMachine } from "../../../src/arch/x86/model/machine.ts";
import { createHolderServer, MAX_CLIENTS } from "../../../src/sources/session/holder-server.ts";
import { PROTOCOL, type SessionInfo } from "../../../src/sources/session/protocol.ts";
import { MAX_FRAME } from "../../../src/sources/session/wire.ts";
import { until } from "../../support/cli.ts";
import { RawClient, request } from "../../support/json-rpc.ts";

const INFO: SessionInfo = {
  name: "served",
  protocol: PROTOCOL,
  backend: "model",
  pid: process.pid,
  vcpus: 1,
  created_at: new Date().toISOString(),
  host: { kernel: "6.1", arch: "x86_64" },
  irqchip: "full",
  routing: "default",
};

let folder: string;
let path: string;
let server: Server;
let client: RawClient;
let reads = 0;
let events: string[];

class CountingMachine extends ModelMachine {
  override readChip(...args: Parameters<ModelMachine["readChip"]>) {
    reads++;
    return super.readChip(...args);
  }
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "kvm-irq-server-"));
  path = join(folder, "socket");
  reads = 0;
  const own: string[] = [];
  events = own;
  server = createHolderServer(new CountingMachine(1), INFO, {
    onUse: () => own.push("use"),
    onIdle: () => own.push("idle"),
    onDestroy: () => own.push("destroy"),
  }).listen(path);
  await once(server, "listening");
  client = new RawClient(path);
});

afterEach(() => {
  client.close();
  server.close();
  rmSync(folder, { recursive: true });
});

const INVALID = -32600;

describe("a holder", () => {
  it.each([
    ["null in a batch", "[null]\n", INVALID],
    ["an empty batch", "[]\n", INVALID],
    ["a batch of requests", `[${request("describe").trim()},${request("describe").trim()}]\n`, INVALID],
    ["a batch of ten thousand", `[${"1,".repeat(10_000)}1]\n`, INVALID],
    ["null", "null\n", INVALID],
    ["a number", "1e999\n", INVALID],
    ["a string", '"describe"\n', INVALID],
    ["half a million nested lists", `${"[".repeat(500_000)}${"]".repeat(500_000)}\n`, INVALID],
    ["lists that never end", `${"[".repeat(MAX_FRAME - 1)}\n`, -32700],
    ["nested objects", `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}\n`, INVALID],
    ["bytes that are no UTF-8", Buffer.from([0x22, 0xff, 0xc0, 0x22, 10]), -32700],
    ["no UTF-8 in a method's name", Buffer.from(request("desc\u00ff"), "latin1"), -32700],
    ["another version of JSON-RPC", '{"jsonrpc":"1.0","id":1,"method":"describe"}\n', INVALID],
    ["no id", '{"jsonrpc":"2.0","method":"destroy"}\n', INVALID],
    ["null as id", request("describe", {}, null), INVALID],
    ["a long id", request("describe", {}, "x".repeat(65)), INVALID],
    ["a huge id", request("describe", {}, "x".repeat(1_000_000)), INVALID],
    ["an id that is no whole number", request("describe", {}, 0.5), INVALID],
    ["a list as id", request("describe", {}, [1]), INVALID],
    ["more than a request has", '{"jsonrpc":"2.0","id":1,"method":"describe","more":1}\n', INVALID],
    ["a long method", request("x".repeat(500_000)), INVALID],
    ["a method that every object has", request("constructor"), -32601],
    ["__proto__ as method", request("__proto__"), -32601],
    [
      "a nested params",
      `{"jsonrpc":"2.0","id":1,"method":"describe","params":${"[".repeat(9)}${"]".repeat(9)}}\n`,
      -32000,
    ],
    ["null as params", request("describe", null), -32000],
    ["too many ids", request("readChips", { ids: Array(514).fill("pic1") }), -32000],
    ["a long chip id", request("readChips", { ids: [`lapic[${"0".repeat(100_000)}]`] }), -32000],
    ["a long wrong id", request("readChips", { ids: ["x".repeat(900_000)] }), -32000],
    ["ten thousand wrong ids", request("readChips", { ids: Array(10_000).fill(0) }), -32000],
    [
      "a chip of another size",
      request("writeChips", { images: [{ id: "pic1", base64: "AAAA" }], expected: [] }),
      -32000,
    ],
    [
      "a huge chip",
      request("writeChips", { images: [{ id: "pic1", base64: "A".repeat(900_000) }], expected: [] }),
      -32000,
    ],
  ])("answers %s with one short error, and the next request rightly", async (_, sent, code) => {
    const { error, ...rest } = await client.ask(sent);
    expect({ ...rest, code: error.code }).toEqual({
      jsonrpc: "2.0",
      id: code === INVALID || code === -32700 ? null : 1,
      code,
    });
    expect(JSON.stringify(error).length).toBeLessThan(1000);
    if (error.data !== undefined) expect(error.data.code).toBe("bad-input");
    expect(await client.ask(request("describe", {}, "next"))).toMatchObject({
      id: "next",
      result: { name: "served", protocol: PROTOCOL },
    });
  });

  it("takes a message of the greatest length, and no longer one", async () => {
    const padded = (length: number) => `${request("describe").trim().padEnd(length)}\n`;
    expect(await client.ask(padded(MAX_FRAME))).toMatchObject({ result: { name: "served" } });
    expect(await client.ask(padded(MAX_FRAME + 1))).toMatchObject({
      error: { message: "a request that is too long" },
    });
    await until("the socket is closed", () => client.socket.closed);
  });

  it("takes a message in single bytes, an empty line, and ten thousand empty ones", async () => {
    for (const byte of request("describe").slice(0, -1)) {
      await new Promise<void>((resolve) => client.socket.write(byte, () => resolve()));
    }
    expect(await client.ask("\n\n")).toMatchObject({ result: { name: "served" } });
    expect(await client.ask(`${"\n".repeat(100_000)}${request("describe")}`)).toMatchObject({ id: 1 });
  });

  it("reads no more from a client that does not take its answers, and goes on when it does", async () => {
    const ids = Array(500).fill("lapic[0]");
    const all = 20;
    client.socket.pause();
    client.socket.write(request("readChips", { ids }).repeat(all));
    const other = new RawClient(path);
    await until("the first is answered", () => reads > 0);
    for (let n = 0; n < 20; n++) await other.ask(request("describe"));
    other.close();
    expect(reads).toBeLessThan(5 * ids.length);
    client.socket.resume();
    await until("all are answered", () => client.answers.length === all);
    expect(reads).toBe(all * ids.length);
  });

  it("turns away a client too many, says why, and takes the next once one has gone", async () => {
    const clients = Array.from({ length: MAX_CLIENTS - 1 }, () => new RawClient(path));
    await Promise.all(clients.map((one) => one.ask(request("peek"))));
    expect(await client.ask(request("peek"))).toMatchObject({ result: { name: "served" } });
    const extra = new RawClient(path);
    expect(await extra.ask("\n")).toMatchObject({ id: null, error: { data: { code: "session-busy" } } });
    await until("it is closed", () => extra.socket.closed);
    clients[0]!.close();
    await until("there is room", async () => {
      const next = new RawClient(path);
      const { result } = await next.ask(request("peek"));
      next.close();
      return result !== undefined;
    });
    for (const one of clients) one.close();
  });

  it("gives the place of a client that sent no request to the next one", async () => {
    const clients = Array.from({ length: 2 * MAX_CLIENTS }, () => new RawClient(path));
    for (const one of clients) one.socket.write("{");
    const honest = new RawClient(path);
    expect(await honest.ask(request("describe"))).toMatchObject({ result: { name: "served" } });
    expect(clients[0]!.answers).toMatchObject([{ error: { data: { code: "session-busy" } } }]);
    for (const one of [...clients, honest]) one.close();
  });

  it("knows when the first client uses it and the last one leaves; one that passes by is none", async () => {
    await client.ask(request("peek"));
    expect(events).toEqual([]);
    const other = new RawClient(path);
    await client.ask(request("describe"));
    await other.ask(request("describe"));
    expect(events).toEqual(["use"]);
    client.close();
    await other.ask(request("describe"));
    expect(events).toEqual(["use"]);
    other.close();
    await until("it is idle", () => events.length === 2);
    expect(events).toEqual(["use", "idle"]);
  });
});
