import { spawnSync } from "node:child_process";
import { haveKvm } from "./kvm.ts";

/** A /dev with the devices that programs count on and no kvm; "$0" is a folder to make it in. */
const OTHER_DEV = `
mount -t tmpfs none "$0" && mkdir "$0/pts" "$0/shm" && ln -s /proc/self/fd "$0/fd" &&
for device in null zero full random urandom tty; do : >"$0/$device" && mount --bind /dev/$device "$0/$device" || exit 9; done
mount --rbind "$0" /dev || exit 9
exec "$@"`;

/** What a command is to be prefixed with so that it finds no /dev/kvm: nothing where there is none. */
export function withoutKvm(folder: string): string[] {
  return haveKvm ? ["unshare", "--mount", ...mapRoot(), "sh", "-c", OTHER_DEV, folder] : [];
}

/** Whether this user can be shown a machine without /dev/kvm. */
export const canHideKvm: boolean =
  !haveKvm ||
  spawnSync("unshare", ["--mount", ...mapRoot(), "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

function mapRoot(): string[] {
  return process.getuid?.() === 0 ? [] : ["--map-root-user"];
}
