/**
 * Leaves V8's code cache beside the program: run once by the build, as `node code-cache.js FILE ARGS...`.
 * What the arguments make the program do is compiled and goes into the cache.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const { load } = createRequire(import.meta.url)("../bin/load.js");
const [file, ...argv] = process.argv.slice(2);
const { exports, script } = load(file);
process.once("exit", () => writeFileSync(`${file}.cache`, script.createCachedData()));
await exports.main(argv);
