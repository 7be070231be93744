import { constants } from "node:os";

const NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  // EWOULDBLOCK and EAGAIN share a number, as do EOPNOTSUPP and ENOTSUP: the first name listed wins.
  if (!NAMES.has(number)) NAMES.set(number, name);
}

/** Errno numbers by name, as `<errno.h>` of this host has them. */
export const ERRNO = constants.errno;

/**
 * The name of an errno, such as `ENXIO` for 6.
 *
 * @param errno a positive number as libc's `errno` holds it.
 * @returns the name, or `errno N` for one that this platform does not name.
 */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}
