import { KvmIrqError } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { isPerVcpu } from "../../arch/codec.ts";
import { type ChipImage, parseChipId } from "../../vm/chip.ts";
import { checkRoutes, type Routing, routesOf } from "../../vm/routing.ts";
import type { SavedState } from "../../vm/start.ts";
import { FileSource } from "./source.ts";

/**
 * Reads a file that a VM is to start from.
 *
 * @param path a snapshot or raw bytes of chips; `-` for standard input.
 * @throws KvmIrqError `no-file`; `bad-input` when it does not fit, is of another architecture, or has no
 *   chips.
 */
export async function readSavedState(path: string): Promise<SavedState> {
  const file = new FileSource(path);
  const { label, host, chips } = file.identity;
  if (host.arch !== HOST_ARCH.name) {
    throw new KvmIrqError("bad-input", `${label} is of ${host.arch}, VMs here are ${HOST_ARCH.name}`);
  }
  if (chips.length === 0) throw new KvmIrqError("bad-input", `${label} has no chips`);
  const reading = await file.read({ chips });
  const images = inOrder(reading.images);
  const routing = reading.routing?.value;
  return {
    label,
    vcpus: vcpusOf(images, label),
    images,
    ...(routing === undefined ? {} : { routing: checked(routing, label) }),
  };
}

/** What has to find all others in place when it is set comes last. */
function inOrder(images: readonly ChipImage[]): ChipImage[] {
  const isLast = ({ id }: ChipImage) => HOST_ARCH.controller(id)?.last === true;
  return [...images.filter((image) => !isLast(image)), ...images.filter(isLast)];
}

function vcpusOf(images: readonly ChipImage[], label: string): number {
  const numbers = images.flatMap(({ id }) => {
    const controller = HOST_ARCH.controller(id);
    return controller !== undefined && isPerVcpu(controller) ? [parseChipId(id).vcpu] : [];
  });
  const vcpus = Math.max(-1, ...numbers) + 1;
  if (vcpus <= HOST_ARCH.maxVcpus) return vcpus;
  throw new KvmIrqError(
    "bad-input",
    `${label} has a vCPU ${vcpus - 1}; a VM here has at most ${HOST_ARCH.maxVcpus}, counted from 0`,
  );
}

function checked(routing: Routing, label: string): Routing {
  try {
    checkRoutes(HOST_ARCH.routing, routesOf(HOST_ARCH.routing, routing));
    return routing;
  } catch (error) {
    if (!(error instanceof KvmIrqError)) throw error;
    throw new KvmIrqError("bad-input", `${label}: ${error.message}`, { details: error.details });
  }
}
