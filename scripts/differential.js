/**
 * The differential run of test/support as a module: bundled, since Node 20 runs no TypeScript, and with the
 * model changed on the way when a mutant is asked for.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Inside the project, so that the bundle finds its packages. */
const CACHE = join(PROJECT, "node_modules", ".cache", "kvm-irq");

/**
 * @param {{ name: string, file: string, find: string, replace: string }} [mutant] a change to one file of
 *   src/arch/x86; `find` must be there exactly once.
 * @returns {Promise<typeof import("../test/support/differential-run.ts")>}
 */
export async function loadDifferential(mutant) {
  mkdirSync(CACHE, { recursive: true });
  const outfile = join(
    CACHE,
    `differential-${process.pid}-${(mutant?.name ?? "").replaceAll(/\W+/g, "-")}.mjs`,
  );
  await build({
    entryPoints: [join(PROJECT, "test", "support", "differential-run.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    plugins: mutant === undefined ? [] : [mutation(mutant)],
  });
  return import(pathToFileURL(outfile).href);
}

function mutation({ name, file, find, replace }) {
  const path = join(PROJECT, "src", "arch", "x86", file);
  return {
    name: "mutation",
    setup(builder) {
      builder.onLoad({ filter: /\/src\/arch\/x86\/.*\.ts$/ }, ({ path: loaded }) => {
        if (loaded !== path) return undefined;
        const parts = readFileSync(path, "utf8").split(find);
        if (parts.length !== 2) {
          throw new Error(
            `mutant "${name}": ${file} has ${parts.length - 1} of ${JSON.stringify(find)}, not 1`,
          );
        }
        return { contents: parts.join(replace), loader: "ts" };
      });
    },
  };
}
