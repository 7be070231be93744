import { describe, expect, it } from "vitest";
import { haveBusyVmm } from "../support/attach.ts";
import { HEALTHY_GUESTS, soakExplain } from "../support/explain-soak.ts";

/** Those that spoke most often when their findings were false. */
const SHORT = [
  "edge, 8 vCPUs, 1000/s",
  "level, 2 vCPUs, 1000/s",
  "msi, 2 vCPUs, 1000/s",
  "pit, 1 vCPU, 1000/s",
  "mask, 1 vCPU, 250/s",
  "edge, 2 vCPUs, 250/s, paused",
  "never, 1 vCPU, 250/s",
  "QEMU, -S",
];

describe.skipIf(!haveBusyVmm)(
  "explain of a VM in which nothing is wrong (needs /dev/kvm, root and a C compiler)",
  () => {
    const guests = HEALTHY_GUESTS.filter(({ name }) => SHORT.includes(name));

    it.each(guests)(
      "has no error, no warning and no blocked GSI: $name",
      async (guest) => {
        for await (const row of soakExplain(8, [guest])) {
          expect(row).toEqual({
            guest: guest.name,
            explains: 8,
            errors: 0,
            warnings: 0,
            blocked: 0,
            said: [],
          });
        }
      },
      60_000,
    );
  },
);
