import type { SessionEntry } from "../session/start.ts";
import { time } from "./format.ts";
import { table } from "./table.ts";
import type { View } from "./view.ts";

/** Sessions, a row each. */
export function renderSessions(sessions: readonly SessionEntry[], view: View): string {
  return table(
    [
      { head: "NAME" },
      { head: "BACKEND" },
      { head: "PID", align: "right" },
      { head: "VCPUS", align: "right" },
      { head: "PRESET", expendable: 2 },
      { head: "AGE", align: "right", expendable: 1 },
      { head: "TTL", align: "right", expendable: 1 },
    ],
    sessions.map((entry) => {
      if ("silent" in entry) return [entry.silent.name, view.paint.red("silent"), String(entry.silent.pid)];
      const { name, backend, pid, vcpus, preset, created_at, ttl_ms } = entry.info;
      const age = time(Math.max(0, Date.now() - Date.parse(created_at)));
      const ttl = ttl_ms === undefined ? "-" : time(ttl_ms);
      return [name, backend, String(pid), String(vcpus), preset, age, ttl];
    }),
    view,
  );
}
