/**
 * Breaks the model on purpose, one way at a time, and sees that the differential test notices each:
 * `npm run test:mutants`. Exits 1 when a mutant survives. Needs /dev/kvm.
 */
import Table from "cli-table3";
import { loadDifferential } from "./differential.js";

/** As many steps as the test has: what survives these would survive it. */
const STEPS = 20_000;
const SEED = 1;

const MUTANTS = [
  {
    name: "a PIC takes a level for an edge",
    file: "pic/model.ts",
    find: "(state.elcr & bit) !== 0 || rising",
    replace: "true",
  },
  {
    name: "ELCR is ignored",
    file: "pic/model.ts",
    find: "if (state.elcr & bit) state.irr &= ~bit;",
    replace: "",
  },
  {
    name: "a PIC does not coalesce",
    file: "pic/model.ts",
    find: "if (pending) taken = 0;",
    replace: "",
  },
  {
    name: "a masked PIC input is delivered",
    file: "pic/model.ts",
    find: "state.imr & bit ? -1 : taken",
    replace: "taken",
  },
  {
    name: "a masked slave input reaches the master",
    file: "pic/model.ts",
    find: "this.#highest(irr & ~imr)",
    replace: "this.#highest(irr)",
  },
  {
    name: "the lowest priority wins",
    file: "pic/model.ts",
    find: "wanted < serviced",
    replace: "wanted > serviced",
  },
  {
    name: "an input interrupts itself",
    file: "pic/model.ts",
    find: "wanted < serviced",
    replace: "wanted <= serviced && wanted < 8",
  },
  {
    name: "rotation is ignored",
    file: "pic/model.ts",
    find: "(rank + this.state.priority_add) & 7",
    replace: "rank",
  },
  {
    name: "the cascade is cut",
    file: "pic/model.ts",
    find: "this.pic1.setInput(CASCADE_INPUT, 1);",
    replace: "",
  },
  {
    name: "the cascade stays up",
    file: "pic/model.ts",
    find: "this.pic1.setInput(CASCADE_INPUT, 0);",
    replace: "",
  },
  {
    name: "remote IRR is never set",
    file: "ioapic/model.ts",
    find: "if (level && delivery.status !== 0) entry.remote_irr = true;",
    replace: "",
  },
  {
    name: "remote IRR holds nothing back",
    file: "ioapic/model.ts",
    find: "entry.mask || (level && entry.remote_irr)",
    replace: "entry.mask",
  },
  {
    name: "an IOAPIC entry's mask is ignored",
    file: "ioapic/model.ts",
    find: "entry.mask || (level && entry.remote_irr)",
    replace: "level && entry.remote_irr",
  },
  {
    name: "the IOAPIC does not coalesce",
    file: "ioapic/model.ts",
    find: "if (pending) return 0;",
    replace: "",
  },
  {
    name: "a delivered edge is shown in IRR",
    file: "ioapic/model.ts",
    find: "irr & ~this.#delivered",
    replace: "irr",
  },
  {
    name: "setting the IOAPIC re-injects nothing",
    file: "ioapic/model.ts",
    find: "if (irr & (1 << pin)) this.#rise(pin, false);",
    replace: "",
  },
  {
    name: "setting the IOAPIC does not re-inject pin 23",
    file: "ioapic/model.ts",
    find: "pin < IOAPIC_NUM_PINS; pin++",
    replace: "pin < IOAPIC_NUM_PINS - 1; pin++",
  },
  {
    name: "the RTC's EOIs are not awaited",
    file: "ioapic/model.ts",
    find: "this.#rtcEois.pending > 0",
    replace: "false",
  },
  {
    name: "the RTC's EOIs are not restored",
    file: "ioapic/rtc-eois.ts",
    find: "this.#pending++;",
    replace: "",
  },
  {
    name: "a software-disabled APIC takes interrupts",
    file: "lapic/model.ts",
    find: "if (!this.softwareEnabled) return false;",
    replace: "",
  },
  {
    name: "TMR is left alone",
    file: "lapic/model.ts",
    find: 'this.#setVector("tmr", vector, level);',
    replace: "",
  },
  {
    name: "PPR counts what is in service at once",
    file: "lapic/model.ts",
    find: "hadService ?",
    replace: "true ?",
  },
  {
    name: "flat logical destinations must match whole",
    file: "lapic/bus.ts",
    find: "(lapic.logicalId & dest_id) !== 0;",
    replace: "lapic.logicalId === dest_id;",
  },
  {
    name: "clusters are not compared",
    file: "lapic/bus.ts",
    find: "lapic.logicalId >>> 4 === dest_id >>> 4 && ",
    replace: "",
  },
  {
    name: "lowest priority always picks the first",
    file: "lapic/destination-map.ts",
    find: "vector % candidates.length",
    replace: "0",
  },
  {
    name: "lowest priority passes over bits without an APIC",
    file: "lapic/destination-map.ts",
    find: "placesOf(model, message.dest_id);",
    replace: "placesOf(model, message.dest_id).filter((place) => places.has(place));",
  },
  {
    name: "two APICs of one id are not noticed",
    file: "lapic/destination-map.ts",
    find: "else if (exactMap) return {};",
    replace: "",
  },
  {
    name: "a fresh VM's last vCPU is in reach",
    file: "lapic/bus.ts",
    find: "vcpus.slice(0, -1)",
    replace: "vcpus",
  },
  {
    name: "INIT leaves the local APIC as it is",
    file: "vcpu/model.ts",
    find: "this.lapic.reset();",
    replace: "",
  },
  {
    name: "NMIs are not limited",
    file: "vcpu/model.ts",
    find: "Math.min(this.#nmis + 1, MOST_NMIS)",
    replace: "this.#nmis + 1",
  },
  {
    name: "negative statuses are added up too",
    file: "model/machine.ts",
    find: "if (first < 0) return second;",
    replace: "",
  },
];

const table = new Table({ head: ["mutant", "file", "caught"], style: { head: [], border: [] } });
let survivors = 0;
for (const mutant of MUTANTS) {
  const { differentialRun } = await loadDifferential(mutant);
  const { steps, failure } = differentialRun(STEPS, { seed: SEED, shrink: false });
  if (failure === undefined) survivors++;
  table.push([mutant.name, mutant.file, failure === undefined ? "SURVIVED" : `after ${steps} steps`]);
}
console.log(table.toString());
console.log(`${MUTANTS.length - survivors} of ${MUTANTS.length} mutants caught`);
process.exitCode = survivors === 0 ? 0 : 1;
