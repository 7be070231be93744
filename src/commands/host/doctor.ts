import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";

/** `doctor`: can this host run KVM irqchips, and if not, what to do. */
export const doctor: CommandSpec = {
  targets: [],
  summary: "check whether this host can run KVM irqchips, and how to fix it",
  description: "Examines this host's KVM. Status 0 when VMs with an irqchip can be made here, 3 when not.",
  examples: [
    ["kvm-irq doctor", "a line for everything that matters"],
    ["kvm-irq doctor --json | jq '.checks[] | select(.status != \"ok\")'", "what is wrong"],
  ],

  async run(_context: Context): Promise<Outcome> {
    const { probeHost } = await import("../../kvm/probe.ts");
    const { examine } = await import("../../rules/doctor.ts");
    const examination = examine(await probeHost());
    return {
      status: examination.usable ? 0 : 3,
      json: examination,
      text: async (view) => (await import("../../text/doctor.ts")).renderExamination(examination, view),
    };
  },
};
