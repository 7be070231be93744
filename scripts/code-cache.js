/**
 * Leaves V8's code cache beside a program: run once by the build, as `node code-cache.js FILE CALLS`, with
 * the calls as JSON. What they make the program do is compiled and goes into the cache.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const { load } = createRequire(import.meta.url)("../bin/load.js");
const [file, calls] = process.argv.slice(2);
const { exports, script } = load(file);
process.once("exit", () => writeFileSync(`${file}.cache`, script.createCachedData()));
for (const argv of JSON.parse(calls)) await exports.main(argv);
