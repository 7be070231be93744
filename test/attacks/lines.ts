import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Attack } from "./attack.ts";
import { mutateWords } from "./mutate.ts";
import { call, interruptedAfter, Many, problemsOf } from "./program.ts";

/** Command lines that make sense, without any that reaches outside of a session. */
const HONEST_LINES: readonly string[] = [
  "create x --vcpus 1 --preset ioapic --backend model --replace",
  "create x --from honest.json --replace --ttl 10s --backend model",
  "list --json",
  "destroy x",
  "pulse 4 10-12 --count 3 --interval 1ms --require delivered",
  "hold 20 --for 1ms",
  "release 20 4",
  "msi --vector 0x41 --dest 0 --mode fixed",
  "msi --address 0xfee00000 --data 0x41",
  "route show --json",
  "route set default 24=msi:0xfee00000/0x51",
  "route reset",
  "irqfd bind 4 --resample",
  "irqfd kick 4 --count 2",
  "irqfd unbind 4",
  "irqfd list",
  "dump --chip ioapic --chip lapic[0] --format table",
  "dump --snapshot honest.json --layout x86 -o out.json",
  "restore honest.json --dry-run --chip pic1",
  "set ioapic.redirtbl[4].mask=true pic1.imr=0xef",
  "diff honest.json default --ignore pic1.imr",
  "expect lapic[0].irr=0x44 pic1.imr&0x10 --timeout 1ms",
  "explain 20 --strict --routing default",
  "explain --for 1ms --json",
  "watch --interval 100ms --snapshot honest.json",
  "trace --from trace.ndjson --format svg --gsi 4 --vector 0x34",
  "run script.kvmirq --backend model --preset pic --vcpus 2 --keep-going --format tap -o -",
  "doctor --json",
  "completion bash",
  "help pulse",
  "--version",
  "--help",
  "-s default --json dump",
  "dump --pid 1 --vm-fd 3",
];

const commandLines: Attack = {
  name: "command-lines",
  what: "command lines with words that are wrong, missing, doubled or swapped",
  short: 300,
  long: 4700,
  async run({ random, user, tally }, count) {
    writeFileSync(join(user.folder, "script.kvmirq"), "pulse 4\n");
    writeFileSync(join(user.folder, "trace.ndjson"), "{}\n");
    user.ok(["create", "--backend", "model"]);
    user.ok(["dump", "--json", "-o", join(user.folder, "honest.json")]);
    const many = new Many(user.env, user.folder, 400);
    try {
      for (let n = 0; n < count; n++) {
        const argv = mutateWords(random, random.pick(HONEST_LINES).split(" "));
        const ran = await many.call(argv);
        const problems = problemsOf(ran);
        tally.took(ran);
        tally.count(JSON.stringify(argv).slice(0, 300), problems);
        // An argument list has no NUL and no lone surrogates; otherwise the same comes out.
        if (n % 50 !== 0) continue;
        const alone = await call(argv, {
          env: user.env,
          cwd: user.folder,
          prefix: interruptedAfter(2),
        });
        tally.took(alone);
        tally.count(`alone: ${JSON.stringify(argv).slice(0, 300)}`, problemsOf(alone));
      }
    } finally {
      many.dispose();
    }
  },
};

export const LINE_ATTACKS: readonly Attack[] = [commandLines];
