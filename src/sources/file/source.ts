import { statSync } from "node:fs";
import { KvmIrqError } from "../../abi/error.ts";
import { archNamed } from "../../arch/arches.ts";
import { readInput } from "../../os/input.ts";
import type { ChipId, ChipImage } from "../../vm/chip.ts";
import { fromRaw, RAW_LAYOUTS, type RawLayout } from "../../vm/raw.ts";
import type { Routing } from "../../vm/routing.ts";
import type { KernelIrqchip, Snapshot, SnapshotHost, SnapshotSource } from "../../vm/snapshot.ts";
import type { Target, TargetInfo } from "../../vm/source.ts";
import { parseSnapshot } from "./parse-snapshot.ts";
import { labelOf, readOnly } from "./read-only.ts";

/** A saved VM: a snapshot, or the raw bytes of chips. It can be read and nothing else. */
export class FileTarget implements Target {
  readonly #label: string;
  readonly #source: SnapshotSource;
  readonly #host: SnapshotHost;
  readonly #capturedAt: string;
  readonly #images: ReadonlyMap<ChipId, ChipImage>;
  readonly #routing: Routing | undefined;
  readonly #irqchip: KernelIrqchip | undefined;
  readonly #runs: ReadonlyMap<number, boolean> = new Map();
  /** Whether it tells that its VM has no vCPU, rather than nothing of them. */
  readonly #noVcpus: boolean = false;

  /**
   * @param path a file's path, or `-` for standard input.
   * @param layout the layout of raw bytes; without it they are x86's.
   * @throws KvmIrqError `no-file`, `bad-input`.
   */
  constructor(path: string, layout?: RawLayout) {
    this.#label = labelOf(path);
    const bytes = readInput(path);
    if (layout === undefined && looksLikeText(bytes)) {
      const snapshot = parseSnapshot(bytes.toString("utf8"), this.#label);
      this.#capturedAt = snapshot.captured_at;
      this.#source = snapshot.source;
      this.#host = snapshot.host;
      this.#images = byId(imagesOf(snapshot));
      this.#routing = snapshot.routing;
      this.#irqchip = snapshot.irqchip;
      this.#runs = new Map(
        snapshot.vcpus?.flatMap(({ vcpu, run }) => (run === undefined ? [] : [[vcpu, run]])),
      );
      this.#noVcpus = (snapshot.chips["lapic"] as unknown[] | undefined)?.length === 0;
    } else {
      // Raw bytes have no time of their own; what comes through a pipe has that of its arrival.
      this.#capturedAt = (path === "-" ? new Date() : statSync(path).mtime).toISOString();
      this.#source = { kind: "file", name: this.#label };
      this.#host = { kernel: "unknown", arch: RAW_LAYOUTS[layout ?? "x86"] };
      this.#images = byId(fromRaw(bytes, archNamed(this.#host.arch)));
    }
  }

  async describe(): Promise<TargetInfo> {
    return {
      source: this.#source,
      host: this.#host,
      chips: [...this.#images.keys()],
      ...(this.#noVcpus && { vcpus: 0 }),
      ...(this.#irqchip === undefined ? {} : { irqchip: this.#irqchip }),
      ...(this.#routing === undefined ? {} : { routing: this.#routing }),
      runs: this.#runs,
      readOnly: true,
      capturedAt: this.#capturedAt,
      label: this.#label,
    };
  }

  async readChips(ids: readonly ChipId[]): Promise<ChipImage[]> {
    return ids.map((id) => {
      const image = this.#images.get(id);
      if (image === undefined) throw new KvmIrqError("bad-chip", `${this.#label} has no ${id}`);
      return image;
    });
  }

  writeChips(): never {
    throw readOnly(this.#label);
  }

  setIrqLines(): never {
    throw readOnly(this.#label);
  }

  signalMsis(): never {
    throw readOnly(this.#label);
  }

  setRouting(): never {
    throw readOnly(this.#label);
  }

  irqfd(): never {
    throw readOnly(this.#label);
  }

  async close(): Promise<void> {}
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
