import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BusyVmm, haveBusyVmm } from "../support/attach.ts";
import { has } from "../support/commands.ts";
import type { Attack } from "./attack.ts";
import { TERMINAL_TEXTS } from "./mutate.ts";
import { call, Many, problemsOf, type Ran } from "./program.ts";

/** Names that a file can have. */
const FILE_NAMES = TERMINAL_TEXTS.map((text) => text.replaceAll("/", "."));

const fileNames: Attack = {
  name: "file-names",
  what: "escapes in the names of files, sessions, folders and in KVM_IRQ_SESSION",
  short: 30,
  long: 400,
  async run({ random, user, tally }, count) {
    user.ok(["create", "--backend", "model"]);
    const many = new Many(user.env, user.folder);
    const snapshot = user.ok(["dump", "--json"]);
    try {
      for (let n = 0; n < count; n++) {
        const name = random.pick(FILE_NAMES);
        const file = join(user.folder, name);
        writeFileSync(file, random.pick([snapshot, "", "{", "pulse 99\n", snapshot.replace("pic1", "pic9")]));
        const [args, env] = random.pick<[string[], Record<string, string>?]>([
          [["dump", "--snapshot", name]],
          [["explain", "--snapshot", name]],
          [["diff", name, "default"]],
          [["diff", name, name]],
          [["restore", name]],
          [["run", name, "--backend", "model"]],
          [["run", name, "--backend", "model", "--format", "tap"]],
          [["trace", "--from", name]],
          [["dump", "-o", `${name}/x`]],
          [["-s", name, "dump"]],
          [["create", name]],
          [["destroy", name]],
          [["dump"], { KVM_IRQ_SESSION: name }],
          [["dump"], { XDG_RUNTIME_DIR: file }],
          [["create"], { XDG_RUNTIME_DIR: `${file}/y` }],
          [["dump"], { KVM_IRQ_BACKEND: name }],
          [["create", "x", "--from", name, "--backend", "model", "--replace"]],
        ]);
        const ran = await many.call(args, env);
        tally.count(JSON.stringify(args), problemsOf(ran));
      }
    } finally {
      many.dispose();
    }
  },
};

/** Every field of a file whose text a person is shown. */
const foreignTexts: Attack = {
  name: "file-texts",
  what: "escapes in the texts of snapshots and traces, in every output and format",
  short: 60,
  long: 600,
  async run({ random, user, tally }, count) {
    user.ok(["create", "--backend", "model"]);
    const snapshot = JSON.parse(user.ok(["dump", "--json"]));
    const many = new Many(user.env, user.folder, 400);
    try {
      for (let n = 0; n < count; n++) {
        const text = random.pick(TERMINAL_TEXTS);
        writeFileSync(
          join(user.folder, "s.json"),
          JSON.stringify({
            ...snapshot,
            captured_at: random.pick([text, snapshot.captured_at]),
            source: {
              ...snapshot.source,
              ...random.pick([{ name: text }, { command: text }, { guest: text }, { backend: text }, {}]),
            },
            host: { ...snapshot.host, kernel: text },
          }),
        );
        writeFileSync(join(user.folder, "t.ndjson"), hostileTrace(text));
        const args = random.pick([
          ["dump", "--snapshot", "s.json"],
          ["explain", "--snapshot", "s.json"],
          ["explain", "4", "--snapshot", "s.json"],
          ["diff", "s.json", "default"],
          ["run", "empty", "--from", "s.json", "--backend", "model"],
          ["watch", "--snapshot", "s.json"],
          ["trace", "--from", "t.ndjson"],
          ["trace", "--from", "t.ndjson", "--stats-only"],
          ["trace", "--from", "t.ndjson", "--format", "vcd"],
          ["trace", "--from", "t.ndjson", "--format", "svg"],
        ]);
        writeFileSync(join(user.folder, "empty"), `expect pic1.imr=0 # ${text.replaceAll("\n", "")}\n`);
        tally.count(`${args.join(" ")} ${JSON.stringify(text)}`, problemsOf(await many.call(args)));
      }
    } finally {
      many.dispose();
    }
  },
};

function hostileTrace(text: string): string {
  const event = {
    time: 1000,
    cpu: 0,
    pid: 7,
    comm: text,
    process: 7,
    event: "kvm_set_irq",
    args: { gsi: 4, level: 1, irq_source_id: 0 },
  };
  return [
    {
      format: "kvm-irq.trace",
      version: 1,
      started_at: text,
      kernel: text,
      clock: text,
      clock_origin: "0",
      events: [text],
      missing: [text],
    },
    event,
    { ...event, time: 2000, event: `kvm_${text}`, args: { [text]: text, reason: text } },
    { ...event, time: 3000, event: "kvm_eoi", args: { apicid: 0, vector: 52 } },
    { summary: { events: 3, lost: 0, duration: 9000 } },
  ]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");
}

const PROCESS_COMMANDS: readonly ((pid: string) => string[])[] = [
  () => ["list"],
  () => ["list", "--json"],
  (pid) => ["dump", "--pid", pid],
  (pid) => ["dump", "--pid", pid, "--json"],
  (pid) => ["explain", "4", "--pid", pid],
  (pid) => ["explain", "--pid", pid, "--json"],
  (pid) => ["pulse", "4", "--pid", pid],
  (pid) => ["diff", "--pid", pid, "missing"],
  (pid) => ["dump", "--pid", pid, "--vm-fd", "999"],
  (pid) => ["restore", "missing", "--pid", pid],
];

const processNames: Attack = {
  name: "process-names",
  what: "escapes in the program name, comm and argv[0] of a VMM, in what is printed and in the question",
  short: 1,
  long: TERMINAL_TEXTS.length,
  lacking: !haveBusyVmm && "that takes /dev/kvm, root and a C compiler",
  async run({ user, tally }, count) {
    // Its build is a side effect of starting it.
    await (await BusyVmm.start("calm")).end();
    for (const text of FILE_NAMES.slice(0, count)) {
      mkdirSync(join(user.folder, "bin"), { recursive: true });
      const program = join(user.folder, "bin", text.slice(0, 14));
      copyFileSync(".cache/attach/busy-vmm", program);
      const vmm = spawn("sh", ["-c", 'chmod +x "$1"; exec "$1" calm', "sh", program], {
        stdio: ["pipe", "pipe", "ignore"],
      });
      await new Promise((resolve) => vmm.stdout.once("data", resolve));
      const pid = String(vmm.pid);
      const check = (what: string, ran: Ran) =>
        tally.count(`${what}, program ${JSON.stringify(text)}`, problemsOf(ran));
      for (const command of PROCESS_COMMANDS) {
        const args = command(pid);
        check(args.join(" "), await call(args, { env: user.env }));
      }
      check("the question", await ask(["pulse", "4", "--pid", pid], user.env));
      vmm.kill("SIGKILL");
    }
  },
};

/** Sequences that colour text: the program's own, on a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what begins them
const OWN = /\u001b\[(?:[0-9;]*m|K)|\r(?=\n)|\r(?=\u001b\[K)/g;

/** A command on a terminal, where its question is answered with no. */
async function ask(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  const line = [process.execPath, "bin/kvm-irq.js", ...args].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", line, "/dev/null"], { env, stdio: ["pipe", "pipe", "ignore"] });
  let stdout = "";
  child.stdout.on("data", (piece) => {
    stdout += piece;
    if (stdout.includes("Go on?")) child.stdin.end("n\n");
  });
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const answered = stdout.includes("Go on?");
  const said = stdout.replace(OWN, "");
  return { status: answered ? 0 : status, signal: 0, stdout: said, stderr: "", kib: 0, ms: 0 };
}

const qemuNames: Attack = {
  name: "qemu-names",
  what: "escapes in the name of a guest",
  short: 1,
  long: TERMINAL_TEXTS.length,
  lacking: !(haveBusyVmm && has("qemu-system-x86_64")) && "that takes /dev/kvm, root and QEMU",
  async run({ user, tally }, count) {
    for (const text of TERMINAL_TEXTS.slice(0, count)) {
      const name = text.replaceAll(",", ",,");
      const args = [
        "-accel",
        "kvm",
        "-display",
        "none",
        "-nodefaults",
        "-S",
        "-monitor",
        "none",
        "-name",
        `guest=${name}`,
      ];
      const qemu = spawn("qemu-system-x86_64", args, { stdio: "ignore" });
      const pid = String(qemu.pid);
      for (let tries = 0; tries < 50; tries++) {
        if (user.run(["dump", "--pid", pid, "--chip", "pic1"]).status === 0) break;
      }
      for (const command of PROCESS_COMMANDS) {
        const ran = await call(command(pid), { env: user.env });
        tally.count(`${command("PID").join(" ")}, guest ${JSON.stringify(text)}`, problemsOf(ran));
      }
      qemu.kill("SIGKILL");
    }
  },
};

/** Texts of others, on their way to a terminal. */
export const NAME_ATTACKS: readonly Attack[] = [fileNames, foreignTexts, processNames, qemuNames];
