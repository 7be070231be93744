/**
 * What runs inside each kernel.
 *
 * @typedef {{ name: string, command: string, limit: number, tap: boolean }} Payload
 *   `command` is a simple command for sh, run in the project's folder; `limit` is in seconds; `tap` says
 *   that it prints TAP, and then at least one test has to pass.
 */

/** Emulation is ten to forty times slower than the CPU, so tests get that much longer. */
const VITEST =
  "node node_modules/vitest/vitest.mjs run --reporter=tap-flat --testTimeout=300000 --hookTimeout=300000";

/** @type {Payload[]} */
export const PAYLOADS = [{ name: "irqchip", command: `${VITEST} test/sys`, limit: 300, tap: true }];
