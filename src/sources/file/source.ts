import { statSync } from "node:fs";
import { KvmIrqError } from "../../abi/error.ts";
import { ARCHES, archNamed, HOST_ARCH } from "../../arch/arches.ts";
import { isPerVcpu } from "../../arch/codec.ts";
import { labelOf, readInput } from "../../os/input.ts";
import type { ChipId, ChipImage } from "../../vm/chip.ts";
import type { Facts, Unknown } from "../../vm/facts.ts";
import { type Operation, unsupported } from "../../vm/operations.ts";
import { fromRaw } from "../../vm/raw.ts";
import type { Identity, Reading, Wanted } from "../../vm/reading.ts";
import type { Routing } from "../../vm/routing.ts";
import { factsOf, type Snapshot } from "../../vm/snapshot.ts";
import type { Source } from "../../vm/source.ts";
import { parseSnapshot } from "./parse-snapshot.ts";

/** A saved VM: a snapshot, or the raw bytes of chips. It can be read and nothing else. */
export class FileSource implements Source {
  readonly identity: Identity;
  readonly #images: ReadonlyMap<ChipId, ChipImage>;
  readonly #routing: Routing | undefined;
  readonly #runs: ReadonlyMap<number, boolean>;
  readonly #facts: Facts;
  readonly #unknown: Unknown;

  /**
   * @param path a file's path, or `-` for standard input.
   * @param layout the layout of raw bytes; without it they are of a host such as this one.
   * @throws KvmIrqError `no-file`, `bad-input`.
   */
  constructor(path: string, layout?: string) {
    const label = labelOf(path);
    const bytes = readInput(path);
    const snapshot =
      layout === undefined && looksLikeText(bytes) ? parseSnapshot(bytes.toString("utf8"), label) : undefined;
    const saved = snapshot === undefined ? rawIdentity(path, label, layout) : savedIdentity(snapshot);
    this.#images = byId(
      snapshot === undefined ? fromRaw(bytes, archNamed(saved.host.arch)) : imagesOf(snapshot),
    );
    this.#routing = snapshot?.routing;
    this.#runs = new Map(
      snapshot?.vcpus?.flatMap(({ vcpu, run }) => (run === undefined ? [] : [[vcpu, run]])),
    );
    const facts = Object.keys(archNamed(saved.host.arch).facts);
    this.#facts = factsOf(facts, snapshot ?? {});
    this.#unknown = snapshot?.unknown ?? {};
    this.identity = {
      ...saved,
      chips: [...this.#images.keys()],
      facts: Object.keys(this.#facts),
      readOnly: true,
      label,
    };
  }

  can(): boolean {
    return false;
  }

  async read({ chips, facts = [] }: Wanted): Promise<Reading> {
    const { label, source } = this.identity;
    const images = chips.map((id) => {
      const image = this.#images.get(id);
      if (image === undefined) throw new KvmIrqError("bad-chip", `${label} has no ${id}`);
      return image;
    });
    return {
      identity: this.identity,
      images,
      ...(this.#routing && { routing: { value: this.#routing, from: "file" } }),
      runs: this.#runs,
      facts: factsOf(facts, this.#facts),
      unknown: Object.fromEntries(Object.entries(this.#unknown).filter(([name]) => facts.includes(name))),
      consistency: source.kind === "process" ? "per chip" : "atomic",
      stops: [],
    };
  }

  async perform(operation: Operation): Promise<never> {
    throw unsupported(operation, this.identity);
  }

  async close(): Promise<void> {}
}

type Saved = Omit<Identity, "chips" | "label">;

/** No local APICs at all are no vCPUs, rather than nothing known of them. */
function savedIdentity({ source, host, captured_at, irqchip, chips }: Snapshot): Saved {
  const perVcpu = archNamed(host.arch).chipKinds.filter(isPerVcpu);
  return {
    source,
    host,
    ...(perVcpu.some(({ kind }) => (chips[kind] as unknown[] | undefined)?.length === 0) && { vcpus: 0 }),
    ...(irqchip === undefined ? {} : { irqchip }),
    capturedAt: captured_at,
  };
}

/** Raw bytes have no time of their own; what comes through a pipe has that of its arrival. */
function rawIdentity(path: string, name: string, layout: string = HOST_ARCH.rawLayout): Saved {
  return {
    source: { kind: "file", name },
    host: { kernel: "unknown", arch: ARCHES.find(({ rawLayout }) => rawLayout === layout)!.name },
    capturedAt: (path === "-" ? new Date() : statSync(path).mtime).toISOString(),
  };
}

function byId(images: readonly ChipImage[]): ReadonlyMap<ChipId, ChipImage> {
  return new Map(images.map((image) => [image.id, image]));
}

/** Raw chips start with a small chip number or a register page's zeros; JSON and empty input do not. */
function looksLikeText(bytes: Uint8Array): boolean {
  return bytes.length === 0 || !bytes.subarray(0, 16).includes(0);
}

/** The chips of a snapshot in the order in which they are shown, then its vCPUs. */
function imagesOf({ host, chips, vcpus }: Snapshot): ChipImage[] {
  const arch = archNamed(host.arch);
  const written = arch.encode(chips);
  const shown = arch.chips(arch.maxVcpus);
  return [
    ...written.sort((a, b) => shown.indexOf(a.id) - shown.indexOf(b.id)),
    ...(vcpus ?? []).map(arch.encodeVcpu),
  ];
}
