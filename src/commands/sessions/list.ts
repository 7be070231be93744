import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { programName, type VmProcess } from "../../sources/attach/processes.ts";

/** `list`: sessions, and every other VM on this host. */
export const list: CommandSpec = {
  targets: [],
  summary: "list the sessions and every other VM on this host",
  description:
    "Lists the sessions of this user, and the VMs inside other processes of this host, which --pid reaches. Sessions whose holder died are swept up, and named. Processes that this user may not look into are counted.",
  examples: [
    ["kvm-irq list", "tables"],
    ["kvm-irq list --json | jq -r '.sessions[].name'", "names of sessions alone"],
    ["kvm-irq list --json | jq '.vms[] | select(.attachable).pid'", "the VMs that --pid can reach"],
  ],

  async run(context: Context): Promise<Outcome> {
    const { identityOf, listSessions } = await import("../../sources/session/start.ts");
    const { findHostVms } = await import("../../sources/attach/processes.ts");
    const { sessions, swept } = await listSessions({ signal: context.signal });
    for (const name of swept) context.notice(`session '${name}' is gone: its holder died; swept up`);
    const holders = new Set(sessions.map((entry) => identityOf(entry).pid));
    const { vms: found, unseen } = await findHostVms();
    if (unseen > 0) {
      context.notice(
        `${unseen} ${unseen === 1 ? "process" : "processes"} can't be looked into and may have VMs: run as root to see all`,
      );
    }
    const vms = found.filter(({ pid }) => !holders.has(pid));
    return {
      json: {
        sessions: sessions.map((entry) =>
          "silent" in entry
            ? { ...entry.silent, silent: true }
            : "info" in entry
              ? entry.info
              : entry.unusable,
        ),
        vms: vms.map(vmFields),
        unseen_processes: unseen,
      },
      text: async (view) => (await import("../../text/list.ts")).renderList(sessions, vms, view),
    };
  },
};

/** A VM as programs get it. The arguments of its process are left out: some hold secrets. */
function vmFields(vm: VmProcess) {
  const { pid, name, vm_fd, vcpus, uid, user, attachable } = vm;
  const permission = attachable.allowed
    ? { attachable: true }
    : { attachable: false, reason: attachable.reason, hint: attachable.hint };
  const command = programName(vm);
  return { pid, command, ...(name && { name }), vm_fd, vcpus, uid, ...(user && { user }), ...permission };
}
