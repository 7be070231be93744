import { printable } from "../abi/printable.ts";
import { programName, type VmProcess } from "../sources/attach/processes.ts";
import type { SessionInfo } from "../sources/session/protocol.ts";
import type { SessionEntry } from "../sources/session/start.ts";
import { time } from "./duration.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** Sessions, then the VMs of other processes, a row each, with a blank line between. */
export function renderList(sessions: readonly SessionEntry[], vms: readonly VmProcess[], view: View): string {
  const own = sessions.length === 0 ? "no sessions\n" : renderSessions(sessions, view);
  return vms.length === 0 ? own : `${own}\n${renderVms(vms, view)}`;
}

function renderSessions(sessions: readonly SessionEntry[], view: View): string {
  const rows = table(
    [
      { head: "NAME" },
      { head: "BACKEND" },
      { head: "PID", align: "right" },
      { head: "VCPUS", align: "right" },
      { head: "START", expendable: 2 },
      { head: "AGE", align: "right", expendable: 1 },
      { head: "TTL", align: "right", expendable: 1 },
    ],
    sessions.map((entry) => {
      if ("silent" in entry)
        return [printable(entry.silent.name), view.paint.red("silent"), String(entry.silent.pid)];
      if ("unusable" in entry) {
        return [printable(entry.unusable.name), view.paint.red("unusable"), String(entry.unusable.pid)];
      }
      const { name, backend, pid, vcpus, created_at, ttl_ms } = entry.info;
      const age = time(Math.max(0, Date.now() - Date.parse(created_at)));
      const ttl = ttl_ms === undefined ? "-" : time(ttl_ms);
      return [name, backend, String(pid), String(vcpus), startText(entry.info), age, ttl].map(printable);
    }),
    view,
  );
  const reasons = sessions.flatMap((entry) =>
    "unusable" in entry
      ? [`${printable(`${entry.unusable.reason}: \`kvm-irq destroy ${entry.unusable.name}\` ends it`)}\n`]
      : [],
  );
  return rows + reasons.join("");
}

/** What the session started with: a guest sets up its chips itself, over the preset. */
function startText({ guest, preset, from }: SessionInfo): string {
  return guest === undefined ? (preset ?? from ?? "-") : `guest ${guest.program}`;
}

function renderVms(vms: readonly VmProcess[], view: View): string {
  const rows = table(
    [
      { head: "PROCESS" },
      { head: "PID", align: "right" },
      { head: "VM FD", align: "right", expendable: 1 },
      { head: "VCPUS", align: "right" },
      { head: "GUEST" },
      { head: "USER", expendable: 2 },
      { head: "ATTACH" },
    ],
    vms.map((vm) => {
      const { pid, vm_fd, vcpus, name, uid, user, attachable } = vm;
      return [
        printable(programName(vm)),
        String(pid),
        String(vm_fd),
        vcpus === null ? "?" : String(vcpus),
        name === undefined ? "-" : printable(name),
        printable(user ?? String(uid)),
        attachable.allowed ? `--pid ${pid}` : view.paint.yellow("no"),
      ];
    }),
    view,
  );
  const reasons = vms.flatMap(({ attachable }) =>
    attachable.allowed ? [] : [`${printable(`${attachable.reason}: ${attachable.hint}`)}\n`],
  );
  return rows + [...new Set(reasons)].join("");
}
