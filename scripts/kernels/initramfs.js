import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { loadOrder } from "./modules.js";
import { findProgram, run } from "./tools.js";

/** KVM of an AMD CPU, and what the root disk needs. */
const MODULES = ["kvm_amd", "virtio_pci", "virtio_blk", "ext4"];

/** Loads the modules, mounts the disk and hands over to its /init. */
const INIT = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in /modules/*; do /bin/busybox insmod $module || echo "can't load $module"; done
/bin/busybox mount -t ext4 /dev/vda /disk
/bin/busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk /init
`;

/**
 * The initramfs of a kernel: busybox and a handful of modules, a few MB.
 *
 * @param {import("./packages.js").Kernel} kernel
 * @param {string} file where to write it.
 */
export function writeInitramfs(kernel, file) {
  const root = mkdtempSync(join(tmpdir(), "kvm-irq-initramfs-"));
  try {
    for (const folder of ["bin", "dev", "disk", "modules"]) mkdirSync(join(root, folder));
    copyProgram(findProgram("busybox"), root, "/bin/busybox");
    loadOrder(kernel.modules, MODULES).forEach(({ name, bytes }, index) => {
      writeFileSync(join(root, "modules", `${String(index).padStart(2, "0")}-${name}.ko`), bytes);
    });
    writeFileSync(join(root, "init"), INIT, { mode: 0o755 });
    const names = readdirSync(root, { recursive: true }).join("\n");
    writeFileSync(file, run("busybox", ["cpio", "-o", "-H", "newc"], { cwd: root, input: names }));
  } finally {
    rmSync(root, { recursive: true });
  }
}

/**
 * Copies a program and the shared libraries it loads, which keep their paths.
 *
 * @param {string} program its path on the host.
 * @param {string} root the folder that will be `/`.
 * @param {string} path where it goes below that.
 */
export function copyProgram(program, root, path) {
  place(program, join(root, path));
  chmodSync(join(root, path), 0o755);
  copyLibraries(program, root);
}

/** Copies the shared libraries that a program or a library loads. A static program has none. */
export function copyLibraries(program, root) {
  for (const library of sharedLibraries(program)) place(library, join(root, library));
}

function sharedLibraries(program) {
  try {
    return [
      ...run("ldd", [program])
        .toString()
        .matchAll(/(\/\S+) \(0x/g),
    ].map(([, library]) => library);
  } catch {
    return []; // ldd fails on a static program
  }
}

function place(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}
