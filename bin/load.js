"use strict";
const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");
const vm = require("node:vm");

/**
 * Loads a bundle with V8's code cache, which spares V8 the compiling: that is a third of a short command's
 * time. The cache lies beside the bundle, where whoever may write it may as well write the bundle. None is
 * in the package, since nobody could read what it makes V8 run: where there is none that fits, this process
 * leaves one when it exits, if it may.
 *
 * @param {string} file the bundle, an absolute path to a CommonJS file.
 * @returns {any} what the bundle exports.
 */
function load(file) {
  const source = fs.readFileSync(file);
  const cachedData = readCache(file, source);
  const script = new vm.Script(Module.wrap(source.toString()), { filename: file, cachedData });
  if (cachedData === undefined || script.cachedDataRejected) {
    process.once("exit", () => writeCache(file, [source, script.createCachedData()]));
  }
  const module = { exports: {} };
  script.runInThisContext()(module.exports, Module.createRequire(file), module, file, path.dirname(file));
  return module.exports;
}

const cacheOf = (file) => `${file}.cache`;

/**
 * V8 refuses a cache of another version, but tells sources apart by their length alone: so the cache begins
 * with the source that it was made from.
 */
function readCache(file, source) {
  try {
    const bytes = fs.readFileSync(cacheOf(file));
    if (bytes.subarray(0, source.length).equals(source)) return bytes.subarray(source.length);
  } catch {
    // Not there yet, or not readable: slower, not broken.
  }
  return undefined;
}

/** Whole or not at all, as others may be starting. */
function writeCache(file, pieces) {
  const draft = `${cacheOf(file)}.${process.pid}`;
  let fd;
  try {
    fd = fs.openSync(draft, "wx", 0o644);
    fs.writeFileSync(fd, Buffer.concat(pieces));
    fs.renameSync(draft, cacheOf(file));
  } catch {
    // Not ours to write, or no room: slower, not broken.
    if (fd !== undefined) fs.rmSync(draft, { force: true });
  }
}

module.exports = { load };
