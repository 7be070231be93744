import { viewOf } from "../../abi/u64.ts";
import { HOST_THREADS } from "../../arch/arches.ts";

/**
 * Seccomp filters: programs of classic BPF (`struct sock_filter` of <linux/filter.h>) over a `struct
 * seccomp_data`, as PTRACE_SECCOMP_GET_FILTER gives them.
 */

/** Bytes of `struct sock_filter`: code u16, jt u8, jf u8, k u32. */
export const SOCK_FILTER_SIZE = 8;
/** Bytes of `struct seccomp_data`: nr s32, arch u32, instruction_pointer u64, six arguments u64. */
const SECCOMP_DATA_SIZE = 64;

const SECCOMP_RET_ACTION_FULL = 0xffff_0000;
const SECCOMP_RET_LOG = 0x7ffc_0000;
const SECCOMP_RET_ALLOW = 0x7fff_0000;

/** Instruction classes, the low three bits of a code. */
const BPF = { LD: 0, LDX: 1, ST: 2, STX: 3, ALU: 4, JMP: 5, RET: 6, MISC: 7 } as const;
const BPF_X = 0x08;
const BPF_DIV = 0x30;
const BPF_RET_A = 0x10;
const BPF_TXA = 0x80;

/** ALU operations by their bits of the code. Shifts are unsigned, as all is, and by the low five bits (kernel/bpf/core.c). */
const ALU: Readonly<Record<number, (a: number, b: number) => number>> = {
  0: (a, b) => a + b,
  16: (a, b) => a - b,
  32: (a, b) => Math.imul(a, b),
  48: (a, b) => Math.floor(a / b),
  64: (a, b) => a | b,
  80: (a, b) => a & b,
  96: (a, b) => a << b,
  112: (a, b) => a >>> b,
  128: (a) => -a,
  160: (a, b) => a ^ b,
};
/** Comparisons by their bits of the code. */
const COMPARE: Readonly<Record<number, (a: number, b: number) => boolean>> = {
  16: (a, b) => a === b,
  32: (a, b) => a > b,
  48: (a, b) => a >= b,
  64: (a, b) => (a & b) !== 0,
};

/** A system call as a filter is asked about it. */
export interface FilteredCall {
  number: number;
  instructionPointer: bigint;
  /** The first arguments; those not given are 0. */
  args: readonly bigint[];
}

/** Whether a thread with these filters may make a system call of x86-64: all of them allow it, or log it. */
export function filtersAllow(filters: readonly Uint8Array[], call: FilteredCall): boolean {
  const data = new DataView(new ArrayBuffer(SECCOMP_DATA_SIZE));
  data.setInt32(0, call.number, true);
  data.setUint32(4, HOST_THREADS.AUDIT_ARCH, true);
  data.setBigUint64(8, call.instructionPointer, true);
  call.args.forEach((value, place) => {
    data.setBigUint64(16 + place * 8, BigInt.asUintN(64, value), true);
  });
  return filters.every((filter) => {
    const action = (run(viewOf(filter), data) & SECCOMP_RET_ACTION_FULL) >>> 0;
    return action === SECCOMP_RET_ALLOW || action === SECCOMP_RET_LOG;
  });
}

/** Runs a program. @returns its verdict; 0, which kills, for what is no program that the kernel takes. */
function run(program: DataView, data: DataView): number {
  const memory = new Uint32Array(16);
  let a = 0;
  let x = 0;
  for (let at = 0; at + SOCK_FILTER_SIZE <= program.byteLength; at += SOCK_FILTER_SIZE) {
    const code = program.getUint16(at, true);
    const k = program.getUint32(at + 4, true);
    const operand = (code & BPF_X) === 0 ? k : x;
    switch (code & 7) {
      case BPF.LD:
        a = load(code, k, memory, data);
        break;
      case BPF.LDX:
        x = load(code, k, memory, data);
        break;
      case BPF.ST:
        memory[k] = a;
        break;
      case BPF.STX:
        memory[k] = x;
        break;
      case BPF.ALU:
        // net/core/filter.c, bpf_convert_filter: a division by zero ends the program.
        if ((code & 0xf0) === BPF_DIV && operand === 0) return 0;
        a = (ALU[code & 0xf0]?.(a, operand) ?? 0) >>> 0;
        break;
      case BPF.JMP: {
        const compare = COMPARE[code & 0xf0];
        const taken = compare === undefined ? k : program.getUint8(at + (compare(a, operand) ? 2 : 3));
        at += taken * SOCK_FILTER_SIZE;
        break;
      }
      case BPF.RET:
        return (code & 0x18) === BPF_RET_A ? a : k;
      default:
        if ((code & BPF_TXA) !== 0) a = x;
        else x = a;
    }
  }
  return 0;
}

/** LD and LDX, by their mode: a constant, a word of the data, a word of memory, or the data's length. */
function load(code: number, k: number, memory: Uint32Array, data: DataView): number {
  switch (code & 0xe0) {
    case 0x00:
      return k;
    case 0x20:
      return data.getUint32(k, true);
    case 0x60:
      return memory[k]!;
    default:
      return SECCOMP_DATA_SIZE;
  }
}
