import { expect, test } from "vitest";
import { parseTask } from "../../src/tracefs/tasks.ts";
import { findTracefs } from "../../src/tracefs/tracefs.ts";

const mount = (path: string, type: string, root = "/") =>
  `36 25 0:12 ${root} ${path} rw,nosuid shared:15 - ${type} none rw\n`;

test("tracefs is found where it is mounted", () => {
  const mounts = mount("/sys", "sysfs") + mount("/sys/kernel/tracing", "tracefs");
  expect(findTracefs(mounts)).toBe("/sys/kernel/tracing");
});

test("tracefs is found under a path with blanks", () => {
  expect(findTracefs(mount("/mnt/my\\040traces", "tracefs"))).toBe("/mnt/my traces");
});

test("a mount of one of its folders is not tracefs", () => {
  expect(findTracefs(mount("/mnt", "tracefs", "/instances/x"))).toBeUndefined();
  expect(findTracefs(mount("/mnt", "ext4"))).toBeUndefined();
});

const status = (name: string, tgid: number) => `Name:\t${name}\nTgid:\t${tgid}\nPid:\t11\n`;
const stat = (name: string, flags: number) => `11 (${name}) S 1 0 0 0 -1 ${flags} 0`;

test.each([
  ["a thread belongs to its process", "CPU 0/KVM", 10, 0x400040, 10],
  ["a thread of the kernel's own belongs to none", "kworker/0:1", 11, 0x200040, null],
  ["the timer of a VM works for the VM's process", "kvm-pit/4242", 11, 0x200040, 4242],
  ["so do the workers of its devices", "vhost-4242", 11, 0x200040, 4242],
  ["a name may hold anything", "a) S 1 (b", 10, 0x400040, 10],
])("%s", (_, name, tgid, flags, process) => {
  expect(parseTask(status(name, tgid), stat(name, flags))).toEqual({ comm: name, process });
});
