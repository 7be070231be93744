/**
 * Puts many random sequences to the real KVM and to the model: `npm run soak:model -- [steps] [seed]`.
 * Exits 1 with the shortest sequence that they disagreed on, as a `kvm-irq run` script on stdout.
 */
import { loadDifferential } from "./differential.js";

const steps = Number(process.argv[2] ?? 1_000_000);
const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
if (!Number.isInteger(steps) || !Number.isInteger(seed)) {
  console.error("usage: npm run soak:model -- [steps] [seed]");
  process.exit(2);
}

const { differentialRun } = await loadDifferential();
const started = performance.now();
const seconds = () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
console.error(`soak: ${steps} steps from seed ${seed}`);
const result = differentialRun(steps, {
  seed,
  onBatch: (done) => console.error(`soak: ${done} steps, ${seconds()}`),
});
if (result.failure === undefined) {
  console.log(`the kernel and the model agreed in ${result.steps} steps on ${result.vms} VMs (${seconds()})`);
} else {
  console.log(result.failure);
  console.error(`soak: they disagreed; \`npm run soak:model -- ${steps} ${seed}\` does it again`);
  process.exitCode = 1;
}
