import { spawnSync } from "node:child_process";

/**
 * The environment of what is timed. These variables cost every Node some milliseconds at its start, the
 * baseline too, and so make each ratio look better than it is.
 */
export function timedEnv() {
  const { NODE_EXTRA_CA_CERTS: _, NODE_OPTIONS: __, NODE_COMPILE_CACHE: ___, ...env } = process.env;
  return env;
}

/**
 * Times commands as whole processes, in turn (A B C A B C ...), so that a machine that slows down slows
 * them all. Each is compared with the first of the same round.
 *
 * @param {Record<string, {argv: string[], env?: NodeJS.ProcessEnv, after?: () => void}>} commands
 * @param {number} rounds counted rounds, after two that are not.
 * @returns {Record<string, {ms: number, ratio: number, low: number, high: number}>} medians, and the quartiles of the ratio.
 */
export function pairedTimes(commands, rounds) {
  const times = Object.fromEntries(Object.keys(commands).map((name) => [name, []]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, { argv, env, after }] of Object.entries(commands)) {
      const start = process.hrtime.bigint();
      const { status, stderr } = spawnSync(argv[0], argv.slice(1), { env: env ?? timedEnv() });
      const ms = Number(process.hrtime.bigint() - start) / 1e6;
      if (status !== 0) throw new Error(`${argv.join(" ")}: status ${status}\n${stderr}`);
      after?.();
      if (round >= 0) times[name].push(ms);
    }
  }
  const [base] = Object.keys(commands);
  return Object.fromEntries(
    Object.entries(times).map(([name, list]) => {
      const ratios = list.map((ms, round) => ms / times[base][round]);
      const [ms, ratio, low, high] = [
        quantile(list, 0.5),
        quantile(ratios, 0.5),
        quantile(ratios, 0.25),
        quantile(ratios, 0.75),
      ];
      return [name, { ms, ratio, low, high }];
    }),
  );
}

/** The value below which that share of the list lies. */
export function quantile(list, share) {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
