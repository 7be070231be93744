import { KvmIrqError } from "../../abi/error.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { collecting } from "../../cli/parsers.ts";
import { checkSessionName } from "../../sources/session/runtime-dir.ts";
import { defaultSession } from "../../sources/session/way.ts";

/** `destroy [name...]`: end sessions. */
export const destroy: CommandSpec = {
  targets: ["session"],
  completes: ["sessions"],
  summary: "destroy sessions",
  description: "Ends sessions: their holders, and with them their VMs. The default is the session of -s.",
  examples: [
    ["kvm-irq destroy", "the session `default`"],
    ["kvm-irq destroy ci smp", "these two"],
    ["kvm-irq destroy --all", "all; status 0 even when there are none, or others end them first"],
  ],
  declare: (command) =>
    command
      .argument("[name...]", "the sessions", collecting(checkSessionName))
      .option("--all", "every session of this user"),

  check({ session }, names: string[], { all }: { all?: true }) {
    if (all && (names.length > 0 || session !== undefined)) {
      throw new KvmIrqError("usage", "give names or --all, not both");
    }
    if (names.length > 0 && session !== undefined) {
      throw new KvmIrqError("usage", "--session names the session when no name is given; give one of them");
    }
  },

  async run(context: Context, names: string[], { all }: { all?: true }): Promise<Outcome> {
    const { session } = context.globals;
    const { destroyIfAny, destroySession } = await import("../../sources/session/destroy.ts");
    const { identityOf, listSessions } = await import("../../sources/session/start.ts");
    const { signal } = context;
    const doomed = all
      ? (await listSessions({ signal })).sessions.map((entry) => identityOf(entry).name)
      : names.length > 0
        ? [...new Set(names)]
        : [session ?? defaultSession()];
    const destroyed: string[] = [];
    let failure: unknown;
    // One that is missing does not keep the others alive; the first failure is told in the end.
    for (const name of doomed) {
      try {
        if (!all) await destroySession(name, { signal });
        // Another one that ends all of them at once may come first.
        else if (!(await destroyIfAny(name, { signal }))) continue;
        destroyed.push(name);
      } catch (error) {
        failure ??= error;
        if (signal.aborted) break;
      }
    }
    if (failure !== undefined) {
      for (const name of destroyed) context.notice(`session '${name}' ended`);
      throw failure;
    }
    return {
      json: { destroyed },
      text: () => destroyed.map((name) => `session '${name}' ended\n`).join(""),
    };
  },
};
