/**
 * What runs inside each kernel.
 *
 * @typedef {{ name: string, command: string, limit: number, tap: boolean }} Payload
 *   `command` is a simple command for sh, run in the project's folder; `limit` is in seconds; `tap` says
 *   that it prints TAP, and then at least one test has to pass.
 */

/** A minute of real time is a few seconds of work under emulation; limits of tests allow for that. */
const PATIENCE = "--testTimeout=300000 --hookTimeout=300000";

/**
 * All files in one worker, one after the other: each start costs 11 to 20 s, several at once wait for each other on
 * the one CPU, and the files of a worker that starts too late do not run.
 */
const ONE_WORKER = "--no-file-parallelism --no-isolate";

/**
 * Of the built program's tests those that ask the kernel something, and start few processes: one takes seconds
 * here. A printed script does what the differential test does, through the program.
 */
const E2E = ["kernel", "printed-script", "inject", "examples", "trace-lives"];

/**
 * Threads that are borrowed, and the program that borrows them. One file after the other: a busy VMM takes the
 * one CPU whole. Several programs at once would wait longer for each other than they have patience.
 */
const ATTACH = "--no-file-parallelism -t '^(?!.*at once)' borrowed-thread.test e2e/attach.test";

/** @type {Payload[]} */
export const PAYLOADS = [
  vitest("contract", `${ONE_WORKER} test/vm`),
  vitest("differential", `${ONE_WORKER} test/arch/x86/model`, {
    environment: "KVM_IRQ_DIFFERENTIAL_STEPS=2000",
  }),
  vitest("memory", `${ONE_WORKER} test/os/btf.test.ts test/os/bpf.test.ts test/sources/kernel`, {
    limit: 1200,
  }),
  vitest("attach", ATTACH, { environment: "KVM_IRQ_BORROWS=5", limit: 1800 }),
  vitest("seccomp", "attach/seccomp.test attach/filtered-vmms.test", {
    environment: "KVM_IRQ_SECCOMP_ATTACHES=20",
    limit: 1800,
  }),
  vitest("e2e", [ONE_WORKER, ...E2E.map((name) => `test/e2e/${name}.test.ts`)].join(" "), { limit: 1200 }),
];

function vitest(name, files, { environment = "", limit = 600 } = {}) {
  const command = `env KVM_IRQ_TEST_PROGRAMS=built ${environment} node --import ./scripts/kernels/patience.js node_modules/vitest/vitest.mjs run --reporter=default --reporter=tap-flat ${PATIENCE} ${files}`;
  return { name, command, limit, tap: true };
}
