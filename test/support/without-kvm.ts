import { spawnSync } from "node:child_process";

/**
 * A /dev with the devices that programs count on, made in the folder "$0"; `kvm` is not among them unless
 * "$1" names a device to take for it.
 */
const OTHER_DEV = `
mount -t tmpfs none "$0" && mkdir "$0/pts" "$0/shm" && ln -s /proc/self/fd "$0/fd" || exit 9
for device in null zero full random urandom tty; do : >"$0/$device" && mount --bind /dev/$device "$0/$device" || exit 9; done
if [ -n "$1" ]; then : >"$0/kvm" && mount --bind "/dev/$1" "$0/kvm" || exit 9; fi
mount --rbind "$0" /dev || exit 9
shift
exec "$@"`;

/**
 * What a command is to be prefixed with so that it finds no /dev/kvm.
 *
 * @param folder an empty one. @param device what is to be there in its place.
 */
export function withoutKvm(folder: string, device = ""): string[] {
  return ["unshare", "--mount", ...mapRoot(), "sh", "-c", OTHER_DEV, folder, device];
}

/** Whether this user can be shown a machine without /dev/kvm. */
export const canHideKvm: boolean =
  spawnSync("unshare", ["--mount", ...mapRoot(), "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

function mapRoot(): string[] {
  return process.getuid?.() === 0 ? [] : ["--map-root-user"];
}
