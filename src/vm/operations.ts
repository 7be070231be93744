import { KvmIrqError } from "../abi/error.ts";
import type { ChipId, ChipImage, InjectionStatus, LineStep } from "./chip.ts";
import { FACTS, type IrqfdFact } from "./facts.ts";
import { type GuestState, handledInAll } from "./guest.ts";
import type { IrqfdAction, IrqfdState } from "./irqfd.ts";
import { type Controllers, type Machine, readChips } from "./machine.ts";
import type { Identity } from "./reading.ts";
import { setRoutedLines, signalMsis } from "./routed.ts";
import type { MsiMessage, Routing } from "./routing.ts";
import {
  chipIds,
  count,
  either,
  empty,
  exactly,
  flag,
  type Guard,
  guest,
  images,
  integer,
  listOf,
  message,
  object,
  only,
  routing,
  shapeGuard,
  text,
  u32,
  upTo,
} from "./shapes.ts";
import { writeChips } from "./write.ts";

/** The most line changes or MSIs in one request: a few hundred milliseconds of the holder's time. */
const MAX_STEPS = 10_000;

/** What a VM may lack that an operation needs. */
type Need = "setRouting" | "irqfd" | "guest";
type Reason = [message: string, hint: string];

/** An operation on a VM. Whatever carries it out or passes it on, in this process or over a socket, goes by this. */
interface Row<P, R, V = Controllers> {
  /** What it takes and gives, as that travels. */
  params: Guard;
  result: Guard;
  /** Fields of either that are chips, whose bytes travel as base64. */
  images?: readonly string[];
  /** Whether a result has one part for each thing that was asked for. */
  answers?(params: P, result: R): boolean;
  /** Chips that it touches, where that matters to their vCPUs. */
  chips?(params: P): ChipId[];
  needs?: Need;
  /** Why a VM can't have it done, and what helps; a file is said to be one when not given. */
  reason?(identity: Identity): Reason;
  /** Must be synchronous. @param held the lines that this client holds high for the moment. */
  run(vm: V, params: P, held: Set<number>): R;
}

const row = <P, R extends object, V = Controllers>(it: Row<P, R, V>): Row<P, R, V> => it;

const statuses = listOf(either(integer, exactly(null)));

function isFile({ label }: Pick<Identity, "label">): Reason {
  return [
    `${label} is a file: it can be read, not driven`,
    "`kvm-irq create NAME --from FILE` makes a VM of it that can be",
  ];
}

/** All operations, by the names that they have on a holder's socket. */
export const OPERATIONS = {
  /** What a reading of a VM of our own is made of. */
  readChips: row<
    { ids: readonly ChipId[]; facts?: boolean },
    { images: ChipImage[]; routing: Routing; guest?: GuestState; irqfds?: IrqfdFact[] },
    Machine
  >({
    params: only({ ids: chipIds }, { facts: flag }),
    result: object({ images, routing }, { guest, irqfds: shapeGuard(FACTS.irqfds.shape) }),
    images: ["images"],
    answers: ({ ids }, { images }) =>
      ids.length === images.length && ids.every((id, index) => images[index]?.id === id),
    run(vm, { ids, facts = false }) {
      const { guest, routing } = vm;
      const irqfds = facts ? vm.irqfdFacts?.() : undefined;
      return {
        images: readChips(vm, ids),
        routing,
        ...(guest === undefined ? {} : { guest }),
        ...(irqfds === undefined ? {} : { irqfds }),
      };
    },
  }),
  /**
   * Writes chips, all or none.
   *
   * `expected` is what chips must still hold, or else nothing is written and `conflict` is thrown.
   */
  writeChips: row<{ images: readonly ChipImage[]; expected: readonly ChipImage[] }, object>({
    params: only({ images, expected: images }),
    result: empty,
    images: ["images", "expected"],
    chips: ({ images, expected }) => [...images, ...expected].map(({ id }) => id),
    run(vm, { images, expected }) {
      writeChips(vm, images, expected);
      return {};
    },
  }),
  /**
   * Sets line levels in order. Throws `bad-gsi` for a GSI that goes nowhere, where the routing is known; then no
   * line is touched. Lines that `transient` steps leave high go low again if the client goes away.
   */
  setIrqLines: row<{ steps: readonly LineStep[]; transient: boolean }, { statuses: InjectionStatus[] }>({
    params: only({ steps: listOf(only({ gsi: u32, level: exactly(0, 1) }), MAX_STEPS), transient: flag }),
    result: object({ statuses }),
    answers: ({ steps }, { statuses }) => steps.length === statuses.length,
    run(vm, { steps, transient }, held) {
      const statuses = setRoutedLines(vm, steps);
      for (const { gsi, level } of steps) {
        if (transient && level === 1) held.add(gsi);
        else held.delete(gsi);
      }
      return { statuses };
    },
  }),
  /** Sends messages in order. Throws `bad-msi` when one has an address outside 0xfeeXXXXX; then none is sent. */
  signalMsis: row<{ messages: readonly MsiMessage[] }, { statuses: InjectionStatus[] }>({
    params: only({ messages: listOf(message, MAX_STEPS) }),
    result: object({ statuses }),
    answers: ({ messages }, { statuses }) => messages.length === statuses.length,
    run: (vm, { messages }) => ({ statuses: signalMsis(vm, messages) }),
  }),
  /** Replaces the whole routing. Throws `bad-route`, and then nothing has changed. */
  setRouting: row<{ routing: Routing }, object, Machine>({
    params: only({ routing }),
    result: empty,
    needs: "setRouting",
    reason: (identity) =>
      identity.readOnly
        ? isFile(identity)
        : [
            "the routing of another process's VM can't be set",
            "KVM can't be asked what its VMM had set, so it could not be put back; try it on a session",
          ],
    run(vm, { routing }) {
      vm.setRouting(routing);
      return {};
    },
  }),
  /** Binds eventfds to GSIs, kicks and unbinds them, and gives every irqfd there is then. */
  irqfd: row<{ action: IrqfdAction }, { irqfds: IrqfdState[] }, Required<Pick<Machine, "irqfd">>>({
    params: only({
      action: either(
        only({ do: exactly("bind"), gsi: u32, resample: flag }),
        only({ do: exactly("kick"), gsi: u32, count: (value) => value !== 0 && upTo(MAX_STEPS)(value) }),
        only({ do: exactly("unbind"), gsi: u32 }),
        only({ do: exactly("list") }),
      ),
    }),
    result: object({
      irqfds: listOf(object({ gsi: u32, resample: flag, kicks: count }, { resampled: count })),
    }),
    needs: "irqfd",
    reason(identity) {
      if (identity.readOnly) return isFile(identity);
      if (identity.source.backend === "model") {
        return ["the software model has no irqfds", "use the kernel's KVM: `kvm-irq create --backend kvm`"];
      }
      return [
        "irqfds of another process's VM are its VMM's own",
        "bind and kick them on a session, or `pulse` the GSI",
      ];
    },
    run: (vm, { action }) => ({ irqfds: vm.irqfd(action) }),
  }),
  /** How often handlers of a guest of ours ran, all together, and whether it still runs. */
  handled: row<object, { handled: number } & Pick<GuestState, "running" | "ended">, { guest: GuestState }>({
    params: empty,
    result: object({ handled: count, running: flag }, { ended: text }),
    needs: "guest",
    reason: ({ label }) => [
      `${label} has no guest that counts what it handles`,
      "`kvm-irq create --guest ioapic` (or pic) makes a session with one",
    ],
    run({ guest }) {
      const { running, ended } = guest;
      return { handled: handledInAll(guest), running, ...(ended === undefined ? {} : { ended }) };
    },
  }),
} as const;

export type OperationName = keyof typeof OPERATIONS;
/** What {@link Source.perform} is asked for; readings are a matter of each source. */
export type Operation = Exclude<OperationName, "readChips">;

type RowOf<N extends OperationName> = (typeof OPERATIONS)[N];
export type Params<N extends OperationName> = Parameters<RowOf<N>["run"]>[1];
export type Result<N extends OperationName> = ReturnType<RowOf<N>["run"]>;

/** A row as those see it who only pass on what it takes and gives. */
export function operation<N extends OperationName>(name: N): Row<Params<N>, Result<N>, never> {
  return OPERATIONS[name] as unknown as Row<Params<N>, Result<N>, never>;
}

/** Whether a VM has what an operation needs. */
export function isAble(vm: Partial<Record<Need, unknown>>, name: OperationName): boolean {
  const { needs } = operation(name);
  return needs === undefined || vm[needs] !== undefined;
}

/** The error for an operation that can't be had of a VM. */
export function unsupported(name: OperationName, identity: Identity): KvmIrqError {
  const { reason = isFile } = operation(name);
  return refusal(reason(identity));
}

/** The error for a file that would be changed. @param label how messages name it. */
export function readOnly(label: string): KvmIrqError {
  return refusal(isFile({ label }));
}

function refusal([message, hint]: Reason): KvmIrqError {
  return new KvmIrqError("unsupported", message, { hint });
}

/**
 * Carries out an operation on a VM at hand.
 *
 * @param identity the VM as errors name it. @param held see {@link Row}.
 * @throws KvmIrqError `unsupported` when the VM lacks what it needs; what the operation throws.
 */
export function carryOut<N extends OperationName>(
  name: N,
  vm: Controllers,
  params: Params<N>,
  identity: Identity,
  held: Set<number> = new Set(),
): Result<N> {
  if (!isAble(vm as Partial<Machine>, name)) throw unsupported(name, identity);
  return operation(name).run(vm as never, params, held);
}
