import { statSync } from "node:fs";
import { userInfo } from "node:os";
import { readText } from "../os/files.ts";

/** What decides who may open a device. */
export interface DeviceAccess {
  path: string;
  /** The permission bits of its mode, such as 0o660. */
  mode: number;
  gid: number;
  /** Its group's name, where it has one. */
  group: string | undefined;
}

/** The user who may not. */
export interface DeviceUser {
  /** The groups of this process, by number. */
  gids: readonly number[];
  /** The groups that it gets at the next login, by name. */
  groups: readonly string[];
}

const ROOT = 0;
const READ_WRITE_GROUP = 0o060;
const READ_WRITE_OTHERS = 0o006;
/** The group that distributions' udev rules give /dev/kvm to. */
const KVM_GROUP = "kvm";

/**
 * What lets a user open a device that its mode keeps from him, as commands to type.
 *
 * @param knownGroups the names of this machine's groups.
 */
export function accessRemedy(
  { path, mode, gid, group }: DeviceAccess,
  { gids, groups }: DeviceUser,
  knownGroups: readonly string[],
): string {
  const open = (mode & READ_WRITE_GROUP) === READ_WRITE_GROUP;
  if (gids.includes(gid) ? open : (mode & READ_WRITE_OTHERS) === READ_WRITE_OTHERS) {
    return `the mode of ${path} lets this user in: it is a security module (SELinux, AppArmor) that does not`;
  }
  if (open && group === undefined) {
    return `join group ${gid}, which owns it and has no name here (in a container: \`--group-add ${gid}\`), or run as root`;
  }
  // To be in root's group is more than to use KVM.
  const goal = gid === ROOT || group === undefined ? KVM_GROUP : group;
  const steps = [
    ...(goal === group || knownGroups.includes(goal) ? [] : [`groupadd -r ${goal}`]),
    ...(goal === group ? [] : [`chgrp ${goal} ${path}`]),
    ...(open ? [] : [`chmod 660 ${path}`]),
    ...(groups.includes(goal) ? [] : [`usermod -aG ${goal} $USER`]),
  ].map((step) => `sudo ${step}`);
  const inGroupNow = goal === group && gids.includes(gid);
  const login = inGroupNow ? "" : `${steps.length === 0 ? "" : ", then "}log in again`;
  return `${steps.length === 0 ? "" : `\`${steps.join(" && ")}\``}${login}, or run as root`;
}

/** {@link accessRemedy} for this user and this machine. */
export function accessRemedyHere(path: string): string {
  const { mode, gid } = statSync(path);
  const known = knownGroups();
  const group = known.find((one) => one.gid === gid)?.name;
  const own = process.getgid?.();
  const gids = [...(process.getgroups?.() ?? []), ...(own === undefined ? [] : [own])];
  const user = userName();
  const groups = known.filter((one) => one.gid === own || one.members.includes(user)).map(({ name }) => name);
  return accessRemedy(
    { path, mode: mode & 0o777, gid, group },
    { gids, groups },
    known.map(({ name }) => name),
  );
}

/** The lines of /etc/group, group(5). */
function knownGroups(): { name: string; gid: number; members: string[] }[] {
  return (readText("/etc/group") ?? "")
    .split("\n")
    .map((line) => line.split(":"))
    .filter((fields) => fields.length === 4)
    .map(([name, , gid, members]) => ({ name: name!, gid: Number(gid), members: members!.split(",") }));
}

/** Empty for a user without an entry in the password file. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "";
  }
}
