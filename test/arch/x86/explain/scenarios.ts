import type { Scenario } from "./scenario.ts";
import { IOAPIC_SCENARIOS } from "./scenarios-ioapic.ts";
import { MSI_SCENARIOS } from "./scenarios-msi.ts";
import { PIC_SCENARIOS } from "./scenarios-pic.ts";
import { REPORT_SCENARIOS } from "./scenarios-reports.ts";
import { VCPU_SCENARIOS } from "./scenarios-vcpu.ts";

/** Every scenario there is. */
export const SCENARIOS: readonly Scenario[] = [
  ...PIC_SCENARIOS,
  ...IOAPIC_SCENARIOS,
  ...MSI_SCENARIOS,
  ...VCPU_SCENARIOS,
  ...REPORT_SCENARIOS,
];
