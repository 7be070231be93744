import { readFileSync } from "node:fs";
import { toU64, type U64 } from "../abi/u64.ts";

/** What /proc tells of an eventfd: `eventfd_show_fdinfo` of fs/eventfd.c. */
export interface EventfdInfo {
  /** `eventfd-count`: what was written and nobody has taken. */
  count: U64;
  /** `eventfd-id`, the same for everybody who has it open; absent before Linux 5.2. */
  id?: number;
}

/**
 * Takes /proc/PID/fdinfo/FD apart.
 *
 * @param fdinfo its text.
 * @returns nothing for what is no eventfd.
 */
export function parseEventfd(fdinfo: string): EventfdInfo | undefined {
  const count = /^eventfd-count:\s*([0-9a-f]{1,16})$/m.exec(fdinfo)?.[1];
  if (count === undefined) return undefined;
  const id = /^eventfd-id:\s*(\d{1,10})$/m.exec(fdinfo)?.[1];
  return { count: toU64(BigInt(`0x${count}`)), ...(id === undefined ? {} : { id: Number(id) }) };
}

/** {@link parseEventfd} for a descriptor of this process. */
export function ownEventfd(fd: number): EventfdInfo | undefined {
  return parseEventfd(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"));
}
