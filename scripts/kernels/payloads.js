/**
 * What runs inside each kernel.
 *
 * @typedef {{ name: string, command: string, limit: number, tap: boolean }} Payload
 *   `command` is a simple command for sh, run in the project's folder; `limit` is in seconds; `tap` says
 *   that it prints TAP, and then at least one test has to pass.
 */

/** A minute of real time is a few seconds of work under emulation; limits of tests allow for that. */
const PATIENCE = "--testTimeout=300000 --hookTimeout=300000";

/** @type {Payload[]} */
export const PAYLOADS = [
  vitest("contract", "test/machine"),
  vitest("differential", "test/model", "KVM_IRQ_DIFFERENTIAL_STEPS=2000"),
  vitest("e2e", "test/e2e"),
];

function vitest(name, files, environment = "") {
  const command = `env ${environment} node node_modules/vitest/vitest.mjs run --reporter=tap-flat ${PATIENCE} ${files}`;
  return { name, command, limit: 600, tap: true };
}
