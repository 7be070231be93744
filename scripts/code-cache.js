/**
 * Runs a program once as V8's code cache is made of it: by the build, as `node code-cache.js FILE CALLS`,
 * with the calls as JSON. What they make the program do is compiled and goes into the cache.
 */
import { createRequire } from "node:module";

const { load } = createRequire(import.meta.url)("../bin/load.js");
const [file, calls] = process.argv.slice(2);
const { main } = load(file);
for (const argv of JSON.parse(calls)) await main(argv);
