import { bindLibc, close, I64, NativeBuffer } from "./libc.ts";

/** Numbers of `<asm-generic/unistd.h>`, which x86-64 shares for these: newer than any libc wrapper. */
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
/** `FSOPEN_CLOEXEC` and `FSMOUNT_CLOEXEC` of `<linux/mount.h>`. */
const CLOEXEC = 1;
/** `FSCONFIG_CMD_CREATE`. */
const CMD_CREATE = 6;

const syscall = bindLibc("syscall", [I64, I64, I64, I64, I64, I64], I64);

/**
 * Mounts a file system of that type nowhere: fsopen(2), fsconfig(2) and fsmount(2), Linux 5.2 and later.
 *
 * No one else sees the mount, and it goes when its descriptor is closed, however this process ends. Its
 * files are reached through `/proc/self/fd/<fd>/`.
 *
 * @param type as in `/proc/filesystems`, for a file system that needs no device: `tracefs`.
 * @returns the mount's descriptor; or the errno: EPERM without CAP_SYS_ADMIN, ENODEV when the kernel has no
 *   such file system, ENOSYS before Linux 5.2.
 */
export function mountDetached(type: string): { fd: number } | { errno: number } {
  const name = new NativeBuffer(type.length + 1);
  name.bytes.write(type, "latin1");
  const context = syscall(SYS_FSOPEN, name.address, CLOEXEC, 0, 0, 0);
  if (context.value < 0) return { errno: context.errno };
  try {
    const created = syscall(SYS_FSCONFIG, context.value, CMD_CREATE, 0, 0, 0);
    if (created.value < 0) return { errno: created.errno };
    const mount = syscall(SYS_FSMOUNT, context.value, CLOEXEC, 0, 0, 0);
    return mount.value < 0 ? { errno: mount.errno } : { fd: mount.value };
  } finally {
    close(context.value);
  }
}
