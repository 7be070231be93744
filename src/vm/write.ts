import { KvmIrqError } from "../abi/error.ts";
import type { ChipImage } from "./chip.ts";
import type { Machine } from "./machine.ts";

/**
 * Writes chips, all or none: when one is refused, those already written get their old bytes back.
 *
 * @param expected when given, what the chips must hold beforehand; if one has changed meanwhile, nothing
 *   is written. That makes read, change, write safe beside other writers.
 * @throws KvmIrqError `conflict` when a chip is not as expected; whatever the machine refused.
 */
export function writeChips(
  machine: Pick<Machine, "readChip" | "writeChip">,
  images: readonly ChipImage[],
  expected: readonly ChipImage[] = [],
): void {
  for (const { id, bytes } of expected) {
    if (!Buffer.from(machine.readChip(id)).equals(bytes)) {
      throw new KvmIrqError("conflict", `${id} changed while it was being edited; nothing was written`, {
        hint: "run the command again",
        details: { chip: id },
      });
    }
  }
  const before = images.map(({ id }) => ({ id, bytes: machine.readChip(id) }));
  let written = 0;
  try {
    for (const image of images) {
      machine.writeChip(image);
      written++;
    }
  } catch (error) {
    for (const image of before.slice(0, written)) machine.writeChip(image);
    throw error;
  }
}
