import type { Groups } from "../cli/command.ts";

/**
 * Every command by the group that `--help` shows it in, in that order. A call needs one of them, and loading all
 * would take longer than most of them run.
 */
export const GROUPS: Groups = {
  "Sessions:": {
    create: async () => (await import("./sessions/create.ts")).create,
    list: async () => (await import("./sessions/list.ts")).list,
    destroy: async () => (await import("./sessions/destroy.ts")).destroy,
  },
  "Drive a VM:": {
    pulse: async () => (await import("./drive/pulse.ts")).pulse,
    hold: async () => (await import("./drive/hold.ts")).hold,
    release: async () => (await import("./drive/release.ts")).release,
    msi: async () => (await import("./drive/msi.ts")).msi,
    route: async () => (await import("./drive/route.ts")).route,
    irqfd: async () => (await import("./drive/irqfd.ts")).irqfd,
    restore: async () => (await import("./drive/restore.ts")).restore,
    set: async () => (await import("./drive/set.ts")).set,
  },
  "See its state:": {
    dump: async () => (await import("./see/dump.ts")).dump,
    diff: async () => (await import("./see/diff.ts")).diff,
  },
  "Explain it:": {
    explain: async () => (await import("./explain/explain.ts")).explain,
    expect: async () => (await import("./explain/expect.ts")).expect,
  },
  "Over time:": {
    watch: async () => (await import("./time/watch.ts")).watch,
    trace: async () => (await import("./time/trace.ts")).trace,
  },
  "Scripts:": {
    run: async () => (await import("./scripts/run.ts")).run,
  },
  "This host, this program:": {
    doctor: async () => (await import("./host/doctor.ts")).doctor,
    demo: async () => (await import("./host/demo.ts")).demo,
    completion: async () => (await import("./host/completion.ts")).completion,
  },
};
