import { spell } from "../../../abi/advice.ts";
import { hex } from "../../../abi/bits.ts";
import type { Evidence } from "../../../rules/evidence.ts";
import type { Finding, FindingDraft } from "../../../rules/finding.ts";
import { type FindingTable, findingTable } from "../../../text/words.ts";
import type { ExplainOptions } from "../../arch.ts";
import {
  OPEN_PIN_FINDINGS,
  openPins,
  PIN_FINDINGS,
  SHARED_FINDINGS,
  sharedVectors,
  VECTOR_FINDINGS,
  vectoredPins,
} from "../ioapic/rules.ts";
import { PIN_FINDING_WORDS, SHARED_WORDS } from "../ioapic/words.ts";
import { CPU_FINDINGS, CPU_SERVICE_FINDINGS, cpusIn, cpusServing } from "../lapic/rules.ts";
import { CPU_FINDING_WORDS, CPU_SERVICE_WORDS } from "../lapic/words.ts";
import {
  PIC_BASE_FINDINGS,
  PIC_FINDINGS,
  PIC_SERVICE_FINDINGS,
  picsServing,
  waitingPics,
} from "../pic/rules.ts";
import { PIC_BASE_FINDING_WORDS, PIC_FINDING_WORDS, PIC_SERVICE_WORDS } from "../pic/words.ts";
import type { Snapshot } from "../state.ts";
import { type Scene, type ScenePin, sceneOf } from "./context.ts";

const pinName = ({ path }: ScenePin) => path;
/** Of both PICs together: the input that it begins with. */
const firstBit = (_: Scene, [first]: readonly Evidence[]) => `${first?.path} bit ${first?.value}`;

/** Everything that is looked for. */
export const FINDING_TABLES: readonly FindingTable<Scene>[] = [
  findingTable(({ pins }) => pins, pinName, PIN_FINDINGS, PIN_FINDING_WORDS),
  findingTable(vectoredPins, pinName, VECTOR_FINDINGS, PIN_FINDING_WORDS),
  findingTable(sharedVectors, ({ vector }) => `vector ${hex(vector)}`, SHARED_FINDINGS, SHARED_WORDS),
  findingTable(openPins, pinName, OPEN_PIN_FINDINGS, PIN_FINDING_WORDS),
  findingTable(waitingPics, ({ chip }) => chip, PIC_BASE_FINDINGS, PIC_BASE_FINDING_WORDS),
  findingTable((vm) => [vm], firstBit, PIC_FINDINGS, PIC_FINDING_WORDS),
  findingTable(cpusIn, ({ cpu }) => `vCPU ${cpu.vcpu}`, CPU_FINDINGS, CPU_FINDING_WORDS),
  findingTable(
    cpusServing,
    ({ vcpu, still }) => `vCPU ${vcpu} vector ${still.map(hex)}`,
    CPU_SERVICE_FINDINGS,
    CPU_SERVICE_WORDS,
  ),
  findingTable(
    picsServing,
    ({ chip, still }) => `${chip} pin ${still}`,
    PIC_SERVICE_FINDINGS,
    PIC_SERVICE_WORDS,
  ),
];

const GRAVEST_FIRST = ["error", "warning", "info"] as const;

/**
 * What is wrong, or odd, in a VM's interrupt controllers. A VM that is in order has none.
 *
 * @param previous an earlier reading of the same VM: some findings need two.
 * @returns the gravest first.
 */
export function findings(
  snapshot: Snapshot,
  previous?: Snapshot | undefined,
  options: ExplainOptions = {},
): Finding[] {
  return findingDrafts(snapshot, previous, options).map(({ facts: _, remedy, ...finding }) => ({
    ...finding,
    remedy: spell(remedy, options.address),
    anchor: `docs/findings.md#${finding.code}`,
  }));
}

/** {@link findings}, with the facts that they rest on. */
export function findingDrafts(
  snapshot: Snapshot,
  previous: Snapshot | undefined,
  options: ExplainOptions,
): FindingDraft[] {
  const scene = sceneOf(snapshot, options, previous);
  return FINDING_TABLES.flatMap(({ find }) => find(scene)).sort(
    (a, b) => GRAVEST_FIRST.indexOf(a.severity) - GRAVEST_FIRST.indexOf(b.severity),
  );
}
