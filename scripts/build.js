/**
 * Builds the package into dist/: the program and the holder as one CommonJS file each (Node starts those
 * faster than ES modules, and start-up is what a user feels), the library as an ES module with its types,
 * and the JSON Schema of the snapshot format.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";

const root = fileURLToPath(new URL("..", import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}/package.json`, "utf8"));

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node20",
  // Native: found by Node at run time.
  external: ["ffi-rs"],
  metafile: true,
  define: { KVM_IRQ_VERSION: JSON.stringify(version) },
  logLevel: "warning",
};

const program = {
  ...common,
  format: "cjs",
  // A script that is loaded with a code cache can't import(); what it needs at run time it requires.
  supported: { "dynamic-import": false },
  minify: true,
  keepNames: true,
  define: { ...common.define, "import.meta.url": "__moduleUrl" },
  banner: { js: 'const __moduleUrl = require("node:url").pathToFileURL(__filename).href;' },
};

/**
 * commander loads node:child_process for subcommands that are programs of their own. There are none here,
 * and loading it takes a tenth of a short command's time.
 */
const commanderWithoutPrograms = {
  name: "commander-without-programs",
  setup({ onLoad }) {
    onLoad({ filter: /commander\/lib\/command\.js$/ }, ({ path }) => {
      const line = "const childProcess = require('node:child_process');";
      const source = readFileSync(path, "utf8");
      if (!source.includes(line)) throw new Error(`commander has changed: it has no ${line}`);
      return { contents: source.replace(line, "const childProcess = undefined;") };
    });
  },
};

/**
 * cli-table3 asks string-width for each cell, and that looks for emoji with a regular expression of ten
 * thousand characters. Nearly all cells are ASCII, whose width is their length.
 */
const asciiWidths = {
  name: "ascii-widths",
  setup({ onLoad }) {
    onLoad({ filter: /string-width\/index\.js$/ }, ({ path }) => {
      const wrapper = `{
        const full = module.exports;
        module.exports = (text) =>
          typeof text === "string" && /^[ -~]*$/.test(text) ? text.length : full(text);
      }`;
      return { contents: `${readFileSync(path, "utf8")}\n${wrapper}` };
    });
  },
};

rmSync(`${root}/dist`, { recursive: true, force: true });
mkdirSync(`${root}/dist`, { recursive: true });
const bundles = await Promise.all([
  build({
    ...program,
    entryPoints: ["src/cli.ts"],
    outfile: "dist/cli.cjs",
    plugins: [commanderWithoutPrograms, asciiWidths],
  }),
  build({
    ...program,
    entryPoints: ["src/holder-main.ts"],
    outfile: "dist/kvm-irq-holder.cjs",
    // A holder explains and shows nothing: it must not carry what does.
    external: [...common.external, "./diagnosis.ts", "./events/facet.ts", "./panels.ts"],
  }),
  build({
    ...common,
    format: "esm",
    entryPoints: ["src/arch/x86/library.ts"],
    outfile: "dist/index.js",
    treeShaking: true,
    // The library shows nothing.
    external: [...common.external, "./panels.ts"],
  }),
]);
await writeTypes();
await writeSchema();
await writeLicenses(bundles);
// A holder that nobody calls ends by itself.
const config = { name: "build", backend: "model", vcpus: 1, start: "reset", ttlMs: 1 };
writeCodeCache("kvm-irq-holder.cjs", { input: JSON.stringify(config) });
// What scripts call most. More would make the cache larger, which each start pays for.
writeCodeCache("cli.cjs", {
  calls: [
    ["create", "--backend", "model"],
    ["pulse", "4"],
    ["dump", "--json"],
    ["expect", "pic1.imr=0"],
    ["destroy"],
  ],
});

/** The licences of what the bundles have in them, which ask to go with it. */
async function writeLicenses(bundles) {
  const inputs = bundles.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  const folders = new Set(
    inputs.flatMap((path) => /.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
  );
  const notices = [...folders].map(noticeOf).sort((one, other) => one.name.localeCompare(other.name));
  writeFileSync(
    `${root}/dist/THIRD-PARTY-LICENSES`,
    `What is bundled in this folder, and its licences.\n${notices.map(({ text }) => `\n${"-".repeat(78)}\n${text}`).join("")}`,
  );
}

function noticeOf(folder) {
  const { name, version, license, author } = JSON.parse(
    readFileSync(`${root}/${folder}/package.json`, "utf8"),
  );
  const file = readdirSync(`${root}/${folder}`).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  const by = typeof author === "object" ? author.name : author;
  const text = file === undefined ? `by ${by}` : readFileSync(`${root}/${folder}/${file}`, "utf8").trim();
  return { name, text: `${name} ${version} (${license})\n\n${text}\n` };
}

/** Runs a bundle once, which leaves its code cache. */
function writeCodeCache(bundle, { calls = [[]], input = "" }) {
  const folder = mkdtempSync(join(tmpdir(), "kvm-irq-build-"));
  mkdirSync(join(folder, "kvm-irq"), { mode: 0o700 });
  const { status, stderr } = spawnSync(
    process.execPath,
    [`${root}/scripts/code-cache.js`, `${root}/dist/${bundle}`, JSON.stringify(calls)],
    {
      encoding: "utf8",
      input,
      // The fourth is the pipe on which a holder says that it is ready.
      stdio: ["pipe", "pipe", "pipe", "pipe"],
      env: { ...process.env, XDG_RUNTIME_DIR: folder },
    },
  );
  rmSync(folder, { recursive: true, force: true });
  if (status !== 0) throw new Error(`${bundle} can't run: ${stderr}`);
}

async function writeTypes() {
  const bundle = await rollup({
    input: `${root}/src/arch/x86/library.ts`,
    plugins: [dts({ tsconfig: `${root}/tsconfig.json` })],
    external: [/^node:/, "valibot", "ffi-rs"],
  });
  await bundle.write({ file: `${root}/dist/index.d.ts`, format: "es" });
  await bundle.close();
}

async function writeSchema() {
  const { outputFiles } = await build({
    ...common,
    format: "esm",
    entryPoints: ["src/vm/schema.ts"],
    packages: "external",
    write: false,
  });
  const file = `${root}/dist/schema.tmp.mjs`;
  writeFileSync(file, outputFiles[0].contents);
  const { snapshotSchema } = await import(file);
  const { toJsonSchema } = await import("@valibot/to-json-schema");
  // Two rules have no word in JSON Schema: one local APIC a vCPU is checked by the program alone.
  const schema = toJsonSchema(snapshotSchema, { errorMode: "ignore" });
  writeFileSync(
    `${root}/dist/snapshot.schema.json`,
    `${JSON.stringify({ title: "kvm-irq snapshot", ...schema }, null, 2)}\n`,
  );
  rmSync(file);
}
