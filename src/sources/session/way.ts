import type { Way } from "../way.ts";
import { checkSessionName } from "./runtime-dir.ts";

/** `--session`, and what is meant when no target is named. */
export const SESSION: Way<{ session?: string | undefined }> = {
  options: {
    session: {
      flags: "-s, --session <session>",
      description: "the target: a session (default: $KVM_IRQ_SESSION, else `default`)",
      parse: checkSessionName,
    },
  },
  /** The same session again, whatever `KVM_IRQ_SESSION` is there. */
  address({ session }, env) {
    const usual = defaultSession(env);
    const name = session ?? usual;
    return { options: name === "default" && usual === name ? [] : ["-s", name] };
  },
  async open({ session }, signal) {
    const { SessionSource } = await import("./source.ts");
    return SessionSource.open(session ?? defaultSession(), signal);
  },
};

/** The session meant when none is named: `KVM_IRQ_SESSION`, else `default`. */
export function defaultSession(env = process.env): string {
  return env["KVM_IRQ_SESSION"] || "default";
}
