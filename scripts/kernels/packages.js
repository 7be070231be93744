import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { findProgram, run, UserError } from "./tools.js";

/**
 * Debian's cloud kernels as packages: named by apt, downloaded and unpacked into a cache. Nothing is
 * installed, and none of it needs root.
 */

/**
 * A kernel ready to boot.
 *
 * @typedef {{ release: string, image: string, modules: string }} Kernel
 *   `release` is what `uname -r` says in it, `image` the bzImage, `modules` the folder with `kernel/`.
 */

const byVersion = new Intl.Collator("en", { numeric: true }).compare;

/**
 * Gets a kernel, from the cache where it is there.
 *
 * @param {string} wanted a series such as `6.1`, of which the newest is taken, or the path of a .deb.
 * @param {string} cache a folder to keep unpacked packages in.
 * @returns {Kernel}
 * @throws {UserError} when apt knows no such kernel, or the download fails.
 */
export function getKernel(wanted, cache) {
  mkdirSync(cache, { recursive: true });
  if (wanted.endsWith(".deb")) {
    const deb = resolve(wanted);
    return unpacked(basename(deb, ".deb"), cache, () => deb);
  }
  const name = newestPackage(wanted) ?? newestCached(wanted, cache);
  if (name === undefined) {
    throw new UserError(
      `apt offers no linux-image-${wanted}*-cloud-amd64 here\n` +
        "Debian 12 with bookworm-security has 6.1 and 6.12; `apt-get update` may be due;\n" +
        "elsewhere download the package from Debian and give its path: --kernel FILE.deb",
    );
  }
  return unpacked(name, cache, () => download(name, cache));
}

/** The newest package of a series that apt can download: `linux-image-6.1.0-50-cloud-amd64`. */
function newestPackage(series) {
  if (findProgram("apt-cache") === undefined) return undefined;
  const pattern = seriesPattern(series);
  const names = run("apt-cache", ["pkgnames", `linux-image-${series}`])
    .toString()
    .split("\n");
  return names
    .filter((name) => pattern.test(name))
    .sort(byVersion)
    .findLast(isDownloadable);
}

/** apt keeps the names of installed packages that no archive has any more. */
function isDownloadable(name) {
  return run("apt-cache", ["madison", name]).length > 0;
}

function newestCached(series, cache) {
  const pattern = seriesPattern(series);
  return readdirSync(cache)
    .filter((name) => pattern.test(name))
    .sort(byVersion)
    .at(-1);
}

/** Signed images only, as Debian boots them: not `-unsigned`, not `-dbg`, not the empty meta-package. */
function seriesPattern(series) {
  return new RegExp(`^linux-image-${series.replaceAll(".", "\\.")}\\.\\d.*-cloud-amd64$`);
}

function download(name, cache) {
  run("apt-get", ["download", name], { cwd: cache });
  const deb = readdirSync(cache).find((file) => file.startsWith(`${name}_`) && file.endsWith(".deb"));
  if (deb === undefined) throw new UserError(`apt-get download ${name} left no package in ${cache}`);
  return join(cache, deb);
}

/** Unpacks beside its place and renames, so that a folder that is there is whole. */
function unpacked(name, cache, getDeb) {
  const folder = join(cache, name);
  if (!existsSync(folder)) {
    const deb = getDeb();
    const partial = `${folder}.partial-${process.pid}`;
    rmSync(partial, { recursive: true, force: true });
    run("dpkg-deb", ["-x", deb, partial]);
    renameSync(partial, folder);
    if (deb.startsWith(cache)) rmSync(deb);
  }
  return describeKernel(folder);
}

/** Debian 13 and later have /usr/lib where Debian 12 has /lib. */
function describeKernel(folder) {
  const image = readdirSync(join(folder, "boot")).find((file) => file.startsWith("vmlinuz-"));
  if (image === undefined) throw new UserError(`${folder} holds no kernel image`);
  const release = image.slice("vmlinuz-".length);
  const modules = ["lib/modules", "usr/lib/modules"]
    .map((path) => join(folder, path, release))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory());
  if (modules === undefined) throw new UserError(`${folder} holds no modules of ${release}`);
  return { release, image: join(folder, "boot", image), modules };
}
