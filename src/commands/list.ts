import type { Command } from "commander";
import { type CommandSpec, type Context, examples, type Outcome } from "./command.ts";

/** `list`: sessions. */
export const list: CommandSpec = {
  declare: (program: Command) =>
    program
      .command("list")
      .summary("the sessions there are")
      .description("Lists the sessions of this user. Those whose holder died are swept up, and named.")
      .addHelpText(
        "after",
        examples(
          ["kvm-irq list", "a table"],
          ["kvm-irq list --json | jq -r '.sessions[].name'", "names alone"],
        ),
      ),

  async run(context: Context): Promise<Outcome> {
    const { listSessions } = await import("../session/start.ts");
    const { sessions, swept } = await listSessions();
    for (const name of swept) context.notice(`session '${name}' is gone: its holder died; swept up`);
    return {
      json: {
        sessions: sessions.map((entry) => ("info" in entry ? entry.info : { ...entry.silent, silent: true })),
      },
      text: async (view) => {
        if (sessions.length === 0) return "no sessions\n";
        const { renderSessions } = await import("../render/sessions.ts");
        return renderSessions(sessions, view);
      },
    };
  },
};
