import { spawn } from "node:child_process";
import { explainGsi } from "../../src/arch/x86/explain/explain.ts";
import { readSource } from "../../src/arch/x86/library.ts";
import type { Snapshot } from "../../src/arch/x86/state.ts";
import { takeReading } from "../../src/operations/look-again.ts";
import type { Finding } from "../../src/rules/finding.ts";
import { openProcess } from "../../src/sources/attach/source.ts";
import { HealthyVmm, haveQemu } from "./attach.ts";
import { finished } from "./cli.ts";
import { Qemu } from "./qemu.ts";

/** A VM with nothing wrong in it. */
interface Guest {
  name: string;
  /** A GSI that it uses, under KVM's default routing. */
  gsi?: number;
  /** Whether each explain is to find one that has only just started. */
  fresh?: true;
  start(): Promise<{ pid: number /** What it says of itself, once it ends. */; end(): Promise<string> }>;
}

const GSIS: Record<string, number> = { edge: 3, level: 16, mask: 16, pic: 3, pit: 0 };

function healthy(kind: string, vcpus: number, rate: number, paused = false): Guest {
  return {
    name: `${kind}, ${vcpus} vCPU${vcpus === 1 ? "" : "s"}, ${rate}/s${paused ? ", paused" : ""}`,
    ...(GSIS[kind] === undefined ? {} : { gsi: GSIS[kind] }),
    async start() {
      const vmm = await HealthyVmm.start(kind, vcpus, rate);
      if (paused) await vmm.ask("pause");
      return { pid: vmm.pid, end: () => vmm.end() };
    },
  };
}

function qemu(name: string, options: readonly string[], prepare = async (_: Qemu) => {}): Guest {
  return {
    name: `QEMU, ${name}`,
    async start() {
      const vmm = await Qemu.start(...options);
      await prepare(vmm);
      return {
        pid: vmm.pid,
        async end() {
          await vmm.end();
          return "ok";
        },
      };
    },
  };
}

const RATES = [50, 250, 1000];
const each = (kind: string, counts: readonly number[], rates = RATES) =>
  counts.flatMap((vcpus) => rates.map((rate) => healthy(kind, vcpus, rate)));

/** Guests that run, one that is paused or was never started, and QEMU in its BIOS. */
export const HEALTHY_GUESTS: readonly Guest[] = [
  ...["edge", "level", "msi"].flatMap((kind) => each(kind, [1, 2, 8])),
  ...each("pic", [1]),
  ...each("pit", [1], [1000]),
  ...each("mask", [1, 2], [250]),
  ...["edge", "level", "pic"].map((kind) => healthy(kind, kind === "pic" ? 1 : 2, 250, true)),
  ...each("never", [1, 8], [250]),
  { ...healthy("edge", 2, 1000), name: "edge, 2 vCPUs, 1000/s, just started", fresh: true },
  ...(haveQemu
    ? [
        { ...qemu("BIOS", []), name: "QEMU, just started", fresh: true as const },
        qemu("BIOS", []),
        qemu("BIOS, q35, 2 vCPUs", ["-machine", "q35", "-smp", "2"]),
        qemu("-S", ["-S", "-smp", "2"]),
        qemu("paused in its BIOS", [], async (vmm) => void (await vmm.execute("stop"))),
        qemu("split irqchip", ["-machine", "q35,kernel-irqchip=split", "-smp", "2"]),
      ]
    : []),
];

/** What explain said of one guest, each line of which is a false alarm but the number of explains. */
export interface SoakRow {
  guest: string;
  explains: number;
  /** Attaches that were refused: nothing was said about the guest. */
  refused: number;
  errors: number;
  warnings: number;
  /** Answers that its own GSI is blocked. */
  blocked: number;
  /** What else went wrong, and the codes of the findings. */
  said: string[];
}

/**
 * Explains each guest so many times, every tenth time through the program, which takes kernel memory where it can, and
 * else by ptrace, and counts what is wrong with it.
 *
 * @param program takes another one than the built, for all of them.
 */
export async function* soakExplain(
  times: number,
  guests: readonly Guest[] = HEALTHY_GUESTS,
  program?: string,
): AsyncGenerator<SoakRow> {
  for (const guest of guests) {
    const numbers = { explains: 0, refused: 0, errors: 0, warnings: 0, blocked: 0 };
    const row: SoakRow = { guest: guest.name, ...numbers, said: [] };
    let running = await guest.start();
    for (; row.explains < times; row.explains++) {
      if (guest.fresh && row.explains > 0) {
        await running.end();
        running = await guest.start();
      }
      const { pid } = running;
      const outside = program !== undefined || row.explains % 10 === 0;
      const found = await (outside ? byProgram(pid, row, program) : inProcess(pid, guest.gsi, row)).catch(
        (error) => {
          if (!isRefusal(error)) throw error;
          row.refused++;
          return [];
        },
      );
      for (const { severity, code } of found) {
        if (severity === "info") continue;
        row[severity === "error" ? "errors" : "warnings"]++;
        note(row, code);
      }
    }
    const state = await running.end();
    if (state !== "ok") row.said.push(state);
    yield row;
  }
}

function note({ said }: SoakRow, what: string): void {
  if (!said.includes(what)) said.push(what);
}

async function byProgram(
  pid: number,
  row: SoakRow,
  program = "bin/kvm-irq.js",
): Promise<readonly Pick<Finding, "severity" | "code">[]> {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const child = spawn(process.execPath, [program, "explain", "--pid", `${pid}`, "--json"], { env });
  const { status, stdout, stderr } = await finished(child);
  if (stdout !== "") return JSON.parse(stdout).findings;
  if (isRefusal(parseError(stderr))) {
    row.refused++;
    return [];
  }
  note(row, `status ${status}: ${stderr.trim()}`);
  return [];
}

const isRefusal = (error: { code?: string } | undefined) => error?.code === "attach-refused";

/** The error that the program writes with --json. */
function parseError(stderr: string): { code?: string } | undefined {
  try {
    return JSON.parse(stderr.trim().split("\n").at(-1)!).error;
  } catch {
    return undefined;
  }
}

async function inProcess(pid: number, gsi: number | undefined, row: SoakRow): Promise<readonly Finding[]> {
  const target = await openProcess({ pid });
  const options = { routing: "default" } as const;
  const blocked = (snapshot: unknown) =>
    gsi !== undefined && explainGsi(snapshot as Snapshot, gsi, options).verdict === "blocked";
  const look = async () => (await readSource(target)).snapshot;
  const { observation } = await takeReading(look, { ...options, suspects: blocked }).finally(() =>
    target.close(),
  );
  if (blocked(observation.snapshot)) row.blocked++;
  return observation.findings;
}
