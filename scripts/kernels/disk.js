import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { copyLibraries, copyProgram } from "./initramfs.js";
import { MARK } from "./report.js";
import { findProgram, run } from "./tools.js";

/** What of the project is needed to run it and its tests; only those that exist are copied. */
const PROJECT = [
  "package.json",
  "vitest.config.ts",
  "tsconfig.json",
  "bin",
  "dist",
  "examples",
  "src",
  "test",
  "scripts/kernels/patience.js",
  "node_modules",
];
/** Big, and of no use at run time. */
const LEFT_OUT = /\/node_modules\/(@biomejs|@types|typescript|dependency-cruiser|rollup|@rollup)$/;
/** Room in the file system for what tests write. */
const SIZE = 2 * 2 ** 30;

/**
 * The second /init, that of the disk: runs every payload with a time limit and says so on the second
 * serial port, which carries nothing else; the first has the kernel's messages.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root NO_COLOR=1 CI=1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount -t tracefs none /sys/kernel/tracing
mkdir -p /dev/pts /dev/shm && mount -t devpts none /dev/pts && mount -t tmpfs none /dev/shm
ln -s /proc/self/fd /dev/fd
ip link set lo up
cd /project
[ -c /dev/kvm ] || { echo "no /dev/kvm: kvm-amd did not load" >/dev/console; poweroff -f; }
exec >/dev/ttyS1 2>&1
echo "${MARK} ready"
for payload in /payloads/*; do
  name=\${payload##*/[0-9][0-9]-}
  echo "${MARK} begin $name"
  sh $payload </dev/null
  echo "${MARK} end $name $?"
done
echo "${MARK} done"
poweroff -f
`;

/**
 * The root disk: node, the project and the payloads. All kernels boot from the same one; none writes to it.
 *
 * @param {{ project: string, payloads: import("./payloads.js").Payload[], file: string }} options
 */
export function writeDisk({ project, payloads, file }) {
  const root = mkdtempSync(join(tmpdir(), "kvm-irq-disk-"));
  try {
    for (const folder of ["dev", "proc", "sys", "run", "tmp", "root", "etc", "payloads"]) {
      mkdirSync(join(root, folder));
    }
    copyProgram(findProgram("busybox"), root, "/bin/busybox");
    copyProgram(process.execPath, root, "/bin/node");
    for (const path of PROJECT.filter((path) => existsSync(join(project, path)))) {
      cpSync(join(project, path), join(root, "project", path), {
        recursive: true,
        verbatimSymlinks: true,
        filter: (source) => !LEFT_OUT.test(source),
      });
    }
    for (const addon of nativeAddons(root)) copyLibraries(addon, root);
    buildTestPrograms(project, root);
    writeFileSync(join(root, "init"), INIT, { mode: 0o755 });
    writeFileSync(join(root, "etc", "passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    payloads.forEach(({ name, command, limit }, index) => {
      const file = `${String(index).padStart(2, "0")}-${name}`;
      writeFileSync(join(root, "payloads", file), `exec timeout -s KILL ${limit} ${command}\n`);
    });
    writeFileSync(file, "");
    truncateSync(file, SIZE);
    run("mke2fs", ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", root, file]);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** The programs in C of test/support, where its compile() looks for them: the guest has no compiler. */
function buildTestPrograms(project, root) {
  const [from, to] = [join(project, "test", "support"), join(root, "project", ".cache", "attach")];
  mkdirSync(to, { recursive: true });
  for (const source of readdirSync(from).filter((name) => name.endsWith(".c"))) {
    const program = join(to, basename(source, ".c"));
    run("cc", ["-O2", "-pthread", "-o", program, join(from, source)]);
    copyLibraries(program, root);
  }
}

/** Node's add-ons, some of which load libraries that node itself does not. */
function nativeAddons(root) {
  return readdirSync(root, { recursive: true })
    .filter((path) => path.endsWith(".node"))
    .map((path) => join(root, path));
}
