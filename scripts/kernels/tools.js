import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** A message for the person at the terminal; no stack trace goes with it. */
export class UserError extends Error {}

/** The programs that the test needs from the host, and the Debian package that has each. */
const TOOLS = {
  "qemu-system-x86_64": "qemu-system-x86",
  busybox: "busybox-static",
  mke2fs: "e2fsprogs",
  "dpkg-deb": "dpkg",
  ldd: "libc-bin",
  cc: "gcc libc6-dev",
};

/** Where administrators' programs are, which an ordinary user's PATH leaves out. */
const SBIN = ["/usr/sbin", "/sbin"];

/**
 * Finds a program.
 *
 * @param {string} name
 * @returns {string | undefined} its path.
 */
export function findProgram(name) {
  return [...(process.env.PATH ?? "").split(delimiter), ...SBIN]
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

/**
 * Checks that every tool is there; with `install`, asks apt for those that are not.
 *
 * @throws {UserError} with the command that installs what is missing.
 */
export function requireTools({ install }) {
  const missing = Object.keys(TOOLS).filter((tool) => findProgram(tool) === undefined);
  if (missing.length === 0) return;
  const packages = missing.flatMap((tool) => TOOLS[tool].split(" "));
  if (!install) {
    throw new UserError(
      `missing: ${missing.join(", ")}\ninstall with: sudo apt-get install --no-install-recommends ${packages.join(" ")}\n` +
        "(or run this again as root with --install)",
    );
  }
  if (process.getuid?.() !== 0) throw new UserError("--install needs root");
  spawnSync("apt-get", ["update"], { stdio: ["ignore", "ignore", "inherit"] });
  spawnSync("apt-get", ["install", "--yes", "--no-install-recommends", ...packages], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  requireTools({ install: false });
}

/**
 * Runs a program to its end.
 *
 * @returns {Buffer} its standard output.
 * @throws {UserError} with what it said on standard error, when it fails.
 */
export function run(program, args, options = {}) {
  try {
    return execFileSync(findProgram(program) ?? program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      maxBuffer: 2 ** 28,
      ...options,
    });
  } catch (error) {
    const said = error.stderr?.toString().trim() || error.message;
    throw new UserError(`${program} ${args.join(" ")} failed: ${said}`);
  }
}
