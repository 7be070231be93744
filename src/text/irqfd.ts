import { printable } from "../abi/printable.ts";
import type { Arch } from "../arch/arch.ts";
import type { Eventfd, IrqfdFact } from "../vm/facts.ts";
import type { IrqfdState } from "../vm/irqfd.ts";
import { destination } from "./route.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** The irqfds of a VM, a row each. */
export function renderIrqfds(irqfds: readonly IrqfdState[], view: View): string {
  if (irqfds.length === 0) return "no irqfds\n";
  return table(
    [
      { head: "GSI", align: "right" },
      { head: "KIND" },
      { head: "KICKS", align: "right" },
      { head: "RESAMPLED", align: "right" },
    ],
    irqfds.map(({ gsi, resample, kicks, resampled }) => [
      String(gsi),
      resample ? "level, resampled at EOI" : "edge",
      String(kicks),
      resampled === undefined ? "-" : String(resampled),
    ]),
    view,
  );
}

/** Irqfds as facts tell of them: eventfd, who has it open, and the one route that KVM has ready for it. */
export function renderIrqfdFacts(irqfds: readonly IrqfdFact[], arch: Pick<Arch, "msi">, view: View): string {
  if (irqfds.length === 0) return "no irqfds\n";
  return table(
    [
      { head: "IRQFD GSI", align: "right" },
      { head: "EVENTFD", align: "right" },
      { head: "COUNT", align: "right", expendable: 2 },
      { head: "KIND" },
      { head: "TO", expendable: 1 },
      { head: "OPEN IN" },
    ],
    irqfds.map(({ gsi, eventfd, resample, entry, producer }) => [
      String(gsi),
      numberOf(eventfd),
      String(eventfd.count ?? "?"),
      kindOf(resample, producer),
      entry === undefined ? "?" : entry === null ? "the table says" : destination(entry, arch),
      openIn(eventfd),
    ]),
    view,
  );
}

const numberOf = ({ id }: Eventfd) => String(id ?? "?");

function kindOf(resample: Eventfd | undefined, producer: boolean | undefined): string {
  const kind = resample === undefined ? "edge" : `level, EOI to eventfd ${numberOf(resample)}`;
  return producer === true ? `${kind}, posted by its device` : kind;
}

const WHO = { vmm: "VMM", vhost: "vhost", vfio: "VFIO", process: undefined } as const;

/** Who has an eventfd open: "VMM qemu (4242 fd 33)". */
export function openIn({ holders }: Eventfd): string {
  if (holders === undefined) return "?";
  const names = holders.map(({ pid, comm, fd, is }) =>
    printable([WHO[is], comm, `(${pid} fd ${fd})`].filter((word) => word !== undefined).join(" ")),
  );
  return names.length === 0 ? "nobody" : names.join(", ");
}
