import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { run, UserError } from "./tools.js";

/**
 * Modules in the order they load: each behind what it depends on. Debian's packages carry no
 * `modules.dep`, which is made at installation; the modules themselves name what they need.
 *
 * @param {string} folder `/lib/modules/RELEASE` of an unpacked package.
 * @param {string[]} wanted names; what is built into the kernel is left out.
 * @returns {{ name: string, bytes: Buffer }[]} uncompressed.
 * @throws {UserError} when the package lacks one.
 */
export function loadOrder(folder, wanted) {
  const builtin = new Set(readFileSync(join(folder, "modules.builtin"), "utf8").split("\n").map(moduleName));
  const files = new Map(
    readdirSync(join(folder, "kernel"), { recursive: true }).map((path) => [
      moduleName(path),
      join(folder, "kernel", path),
    ]),
  );
  const order = new Map();
  const visit = (name) => {
    if (builtin.has(name) || order.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new UserError(`${folder} has no module ${name}`);
    const bytes = readModule(file);
    for (const dependency of dependencies(bytes)) visit(dependency);
    order.set(name, bytes);
  };
  for (const name of wanted) visit(name);
  return [...order].map(([name, bytes]) => ({ name, bytes }));
}

/** `kernel/arch/x86/kvm/kvm-amd.ko.xz` is the module `kvm_amd`. */
function moduleName(path) {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, "")
    .replaceAll("-", "_");
}

function readModule(file) {
  return file.endsWith(".xz") ? run("busybox", ["xz", "-dc", file]) : readFileSync(file);
}

/** The `depends=a,b` of a module's .modinfo section, whose strings end in a zero byte. */
function dependencies(bytes) {
  const start = bytes.indexOf("\0depends=") + "\0depends=".length;
  const list = bytes.toString("latin1", start, bytes.indexOf(0, start));
  return list === "" ? [] : list.split(",").map(moduleName);
}
