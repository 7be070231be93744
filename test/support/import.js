/** What scripts and benches use of the TypeScript in this folder. */
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

/** Bundles modules of this folder and imports them as one. */
export async function importSupport(...names) {
  const outfile = `.cache/${names.join("-")}.mjs`;
  await build({
    stdin: {
      contents: names.map((name) => `export * from "./${name}.ts";`).join("\n"),
      resolveDir: "test/support",
    },
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["ffi-rs", "esbuild"],
  });
  return import(pathToFileURL(outfile).href);
}
