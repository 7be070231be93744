import { parseEventfd } from "../../os/eventfd.ts";
import { listFolder, readLink, readText } from "../../os/files.ts";
import { listPids, readStatus } from "../../os/proc.ts";
import type { EventfdHolder } from "../../vm/facts.ts";

/** Who has eventfds open, by their ids. */
export type Holders = ReadonlyMap<number, EventfdHolder[]>;

/**
 * Looks through the descriptors of all processes that this user may see. An eventfd is one of those that read
 * `anon_inode:[eventfd]`, and its fdinfo has its id (fs/eventfd.c, eventfd_show_fdinfo).
 *
 * @param vmm the process that has the VM.
 */
export function findHolders(vmm: number, ids: ReadonlySet<number>): Holders {
  const holders = new Map<number, EventfdHolder[]>([...ids].map((id) => [id, []]));
  for (const pid of ids.size === 0 ? [] : listPids()) {
    const links = linksOf(pid);
    const found = links
      .filter(({ link }) => link === "anon_inode:[eventfd]")
      .flatMap(({ fd }) => ({ fd, list: holders.get(eventfdId(pid, fd) ?? -1) }))
      .filter(({ list }) => list !== undefined);
    if (found.length === 0) continue;
    const comm = readStatus(pid)?.comm ?? "";
    const is = kindOf(pid, { vmm, comm, usesVfio: links.some(({ link }) => link.startsWith("/dev/vfio/")) });
    for (const { fd, list } of found) list!.push({ pid, comm, fd: Number(fd), is });
  }
  return holders;
}

function kindOf(
  pid: number,
  { vmm, comm, usesVfio }: { vmm: number; comm: string; usesVfio: boolean },
): EventfdHolder["is"] {
  if (pid === vmm) return "vmm";
  if (comm.startsWith("vhost-")) return "vhost";
  return usesVfio ? "vfio" : "process";
}

function linksOf(pid: number): { fd: string; link: string }[] {
  const folder = `/proc/${pid}/fd`;
  return (listFolder(folder) ?? []).map((fd) => ({ fd, link: readLink(`${folder}/${fd}`) ?? "" }));
}

function eventfdId(pid: number, fd: string): number | undefined {
  return parseEventfd(readText(`/proc/${pid}/fdinfo/${fd}`) ?? "")?.id;
}
