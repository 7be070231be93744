/**
 * Attacks the built program in every way of test/attacks, in the long form: `npm run attack -- [ATTACK...]`.
 * Prints a table of what was tried and went wrong, and exits 1 if anything did. `ATTACK_SEED` repeats a run,
 * `ATTACK_DIVISOR` makes it shorter.
 */
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const outfile = ".cache/attacks/main.mjs";
await build({
  entryPoints: ["test/attacks/main.ts"],
  outfile,
  bundle: true,
  platform: "node",
  format: "esm",
  packages: "external",
});
const { attackAll } = await import(pathToFileURL(outfile).href);
const wrong = await attackAll(process.argv.slice(2), Number(process.env["ATTACK_DIVISOR"] ?? 1));
process.exit(wrong === 0 ? 0 : 1);
