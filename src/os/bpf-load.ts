import { ERRNO, errnoName } from "../abi/errno.ts";
import { KvmIrqError } from "../abi/error.ts";
import { AREA, READ_TYPE, readerProgram, readerTypes, STEP_TYPE, STEPS } from "./bpf-program.ts";
import { lackingForBpf } from "./capabilities.ts";
import { readText } from "./files.ts";
import { bindLibc, close, I64, type LibcResult, NativeBuffer } from "./libc.ts";

/*
 * Makes and loads what reads kernel memory, by bpf(2), and says why where that is refused.
 */

/** bpf(2) by the machine's own number: <asm/unistd_64.h>, <asm-generic/unistd.h>. */
export const NR_BPF = process.arch === "arm64" ? 280 : 321;
/** `enum bpf_cmd`. */
const MAP_CREATE = 0;
const PROG_LOAD = 5;
const BTF_LOAD = 18;
/** `BPF_MAP_TYPE_ARRAY` and `BPF_PROG_TYPE_SYSCALL`, which 5.14 brought. */
const ARRAY = 2;
const SYSCALL = 31;
const F_MMAPABLE = 1 << 10;
const F_SLEEPABLE = 1 << 4;
/** What the kernel lets use `bpf_probe_read_kernel`: `license_is_gpl_compatible()`. */
const LICENSE = "Dual MIT/GPL";
const NAME = "kvm_irq_read";
/** The attributes' structure, as far as it is used: what is behind is zero to the kernel. */
export const ATTR_SIZE = 112;
const LOG_SIZE = 1 << 16;

const syscall = bindLibc("syscall", [I64, I64, I64, I64], I64);

/** The map that the program reads into. @throws KvmIrqError `bpf-unavailable`. */
export function createArea(): number {
  return createMap(AREA, 1, F_MMAPABLE);
}

function createMap(size: number, count: number, flags: number): number {
  const attr = new NativeBuffer(ATTR_SIZE);
  for (const [index, word] of [ARRAY, 4, size, count, flags].entries())
    attr.view.setUint32(4 * index, word, true);
  attr.bytes.write(NAME, 28);
  const { value, errno } = syscall(NR_BPF, MAP_CREATE, attr.address, ATTR_SIZE);
  if (value < 0) throw refused("making a map", errno);
  return value;
}

function loadTypes(): number {
  const types = nativeCopy(readerTypes());
  const attr = new NativeBuffer(ATTR_SIZE);
  attr.view.setBigUint64(0, BigInt(types.address), true);
  attr.view.setUint32(16, types.bytes.length, true);
  const { value, errno } = syscall(NR_BPF, BTF_LOAD, attr.address, ATTR_SIZE);
  if (value < 0) throw refused("loading the program's types", errno);
  return value;
}

/** @returns the program's descriptor. @throws KvmIrqError `bpf-unavailable` where this kernel or this user can't. */
export function loadProgram(map: number): number {
  // The program keeps what it uses.
  const steps = createMap(8, STEPS, 0);
  try {
    const types = loadTypes();
    try {
      return load(map, steps, types);
    } finally {
      close(types);
    }
  } finally {
    close(steps);
  }
}

function load(map: number, steps: number, types: number): number {
  const { code, step } = readerProgram(map, steps);
  const program = nativeCopy(code);
  const license = nativeCopy(Buffer.from(`${LICENSE}\0`));
  // Where each function begins, and its type.
  const functions = nativeCopy(Buffer.from(Uint32Array.of(0, READ_TYPE, step, STEP_TYPE).buffer));
  const attr = new NativeBuffer(ATTR_SIZE);
  const { view } = attr;
  view.setUint32(0, SYSCALL, true);
  view.setUint32(4, code.length / 8, true);
  view.setBigUint64(8, BigInt(program.address), true);
  view.setBigUint64(16, BigInt(license.address), true);
  view.setUint32(44, F_SLEEPABLE, true);
  attr.bytes.write(NAME, 48);
  view.setUint32(72, types, true);
  view.setUint32(76, 8, true);
  view.setBigUint64(80, BigInt(functions.address), true);
  view.setUint32(88, 2, true);
  const { value, errno } = whenNotInterrupted(() => syscall(NR_BPF, PROG_LOAD, attr.address, ATTR_SIZE));
  if (value >= 0) return value;
  throw refused("loading the program", errno, verifierLog(attr));
}

/** How often a load is tried that signals interrupt. */
const MOST_TRIES = 50;

/** Loads a program: with a signal waiting for this thread, a verifier gives up with EAGAIN, as libbpf knows too. */
export function whenNotInterrupted(load: () => LibcResult): LibcResult {
  for (let tries = 1; ; tries++) {
    const result = load();
    if (result.value >= 0 || result.errno !== ERRNO.EAGAIN || tries === MOST_TRIES) return result;
  }
}

function nativeCopy(bytes: Buffer): NativeBuffer {
  const copy = new NativeBuffer(bytes.length);
  bytes.copy(copy.bytes);
  return copy;
}

/** What the kernel says against the program: the last line of the log, without addresses. */
function verifierLog(attr: NativeBuffer): string | undefined {
  const log = new NativeBuffer(LOG_SIZE);
  attr.view.setUint32(24, 1, true);
  attr.view.setUint32(28, LOG_SIZE, true);
  attr.view.setBigUint64(32, BigInt(log.address), true);
  const { value } = syscall(NR_BPF, PROG_LOAD, attr.address, ATTR_SIZE);
  if (value >= 0) close(value);
  const lines = log.bytes
    .toString("latin1", 0, Math.max(log.bytes.indexOf(0), 0))
    .trim()
    .split("\n");
  const said = lines.filter((line) => line !== "" && !line.startsWith("processed ")).at(-1);
  return said?.replace(/0x[0-9a-f]{9,}/g, "0x...");
}

/** The error for what bpf(2) refused, by why it does so. */
export function refused(what: string, errno: number, log?: string): KvmIrqError {
  const name = errnoName(errno);
  const [why, hint] = reason(errno, log);
  return new KvmIrqError("bpf-unavailable", `kernel memory can't be read: ${why}`, {
    hint,
    details: { syscall: "bpf", step: what, errno, errno_name: name, ...(log === undefined ? {} : { log }) },
  });
}

function reason(errno: number, log: string | undefined): [why: string, hint: string] {
  if (isLockedDown()) {
    return [
      "this kernel is locked down (confidentiality)",
      "use --via ptrace, or boot with lockdown=integrity or none",
    ];
  }
  // Without CAP_PERFMON alone it is the verifier that refuses.
  if (errno === ERRNO.EPERM || (log !== undefined && lackingForBpf().length > 0)) {
    return [
      "no permission to load a BPF program",
      "run as root on the host, or with CAP_BPF and CAP_PERFMON; or use --via ptrace",
    ];
  }
  if (readText("/proc/sys/net/core/bpf_jit_enable")?.trim() === "0") {
    return [
      "this kernel's BPF compiler is off",
      "set net.core.bpf_jit_enable=1 with sysctl, or use --via ptrace",
    ];
  }
  if (errno === ERRNO.ENOSYS) return ["this kernel has no bpf(2)", "use --via ptrace"];
  if (errno === ERRNO.EMFILE || errno === ERRNO.ENFILE || errno === ERRNO.ENOMEM) {
    return [`out of memory or descriptors (${errnoName(errno)})`, "close something, and run it again"];
  }
  const verifier = log === undefined ? "" : `: ${log}`;
  return [
    `this kernel refused the BPF program (${errnoName(errno)})${verifier}`,
    "use --via ptrace, or Linux 5.14 or later",
  ];
}

/** Whether the kernel keeps its memory from root too: kernel_lockdown(7). Nothing is known where it can't be read. */
function isLockedDown(): boolean {
  return readText("/sys/kernel/security/lockdown")?.includes("[confidentiality]") === true;
}
