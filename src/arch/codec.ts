import { sizesOf } from "../registers/struct.ts";
import { type ChipId, type ChipImage, type Chips, parseChipId, type VcpuState } from "../vm/chip.ts";
import type { ArchCodec, Controller } from "./arch.ts";

/** Whether each vCPU has one: it is read with ioctls of the vCPU, or its registers' numbers have the vCPU's in them. */
export function isPerVcpu({ access }: Controller): boolean {
  return "vcpu" in access || ("device" in access && access.base !== undefined);
}

/** The vCPU that a chip or a state belongs to; `undefined` for what all vCPUs share. */
export function vcpuOf({ controller }: Pick<ArchCodec, "controller">, id: ChipId): number | undefined {
  const one = controller(id);
  return one !== undefined && isPerVcpu(one) ? parseChipId(id).vcpu : undefined;
}

/** An architecture's codec, made of the declarations of its chips and of its vCPUs' state. */
export function codecOf<C extends Chips, V extends VcpuState>(
  chipKinds: readonly Controller[],
  vcpu?: Controller,
): ArchCodec<C, V> {
  const all = vcpu === undefined ? chipKinds : [...chipKinds, vcpu];
  const byKind = new Map(all.map((one) => [one.kind, one]));
  /** What was asked for once is asked for again, also while a thread is stopped. */
  const byId = new Map<ChipId, Controller>();
  const controller = (id: ChipId) => {
    const known = byId.get(id);
    if (known !== undefined) return known;
    const found = byKind.get(parseChipId(id).kind);
    if (found === undefined || isPerVcpu(found) !== id.endsWith("]")) return undefined;
    byId.set(id, found);
    return found;
  };
  const image = (kind: string, { layout }: Controller, state: VcpuState): ChipImage => ({
    id: `${kind}[${state.vcpu}]`,
    bytes: layout.encode(state as never),
  });
  return {
    chipWords: [
      ...all.flatMap(({ kind, group }, at) =>
        group === undefined || all[at + 1]?.group === group ? [kind] : [kind, group],
      ),
      "all",
    ],
    chips: (vcpus) =>
      chipKinds.flatMap((one) =>
        isPerVcpu(one) ? Array.from({ length: vcpus }, (_, n) => `${one.kind}[${n}]`) : [one.kind],
      ),
    chipFilter(word) {
      if (word === "all") return (id) => parseChipId(id).kind !== vcpu?.kind;
      if (all.some(({ group }) => group === word)) return (id) => controller(id)?.group === word;
      if (byKind.has(word)) return (id) => parseChipId(id).kind === word;
      return controller(word) === undefined ? undefined : (id) => id === word;
    },
    controller,
    decode(images) {
      const state: Record<string, unknown> = {};
      const vcpus: VcpuState[] = [];
      for (const { id, bytes, unread = [] } of images) {
        const one = controller(id)!;
        const decoded = one.layout.decode(bytes);
        for (const path of unread) leaveOut(decoded, path.split("."));
        if (!isPerVcpu(one)) {
          state[one.kind] = decoded;
          continue;
        }
        if (one !== vcpu) state[one.kind] ??= [];
        const list = one === vcpu ? vcpus : (state[one.kind] as VcpuState[]);
        list.push({ vcpu: parseChipId(id).vcpu, ...decoded });
      }
      return (vcpus.length === 0 ? { chips: state } : { chips: state, vcpus }) as { chips: C; vcpus?: V[] };
    },
    encode: (chips) =>
      chipKinds
        .toSorted((a, b) => Number(a.last ?? false) - Number(b.last ?? false))
        .flatMap((one) => {
          const state = chips[one.kind];
          if (state === undefined) return [];
          if (isPerVcpu(one)) return (state as VcpuState[]).map((each) => image(one.kind, one, each));
          return [{ id: one.kind, bytes: one.layout.encode(state as never) }];
        }),
    encodeVcpu: (state) => image(vcpu!.kind, vcpu!, state),
  };
}

function leaveOut(state: Record<string, unknown>, [key, ...rest]: string[]): void {
  if (rest.length === 0) delete state[key!];
  else leaveOut(state[key!] as Record<string, unknown>, rest);
}

/** Bytes of a chip image or a vCPU image, the usual number first. */
export function imageSizes({ controller }: ArchCodec, id: ChipId): number[] {
  const one = controller(id);
  return one === undefined ? [] : sizesOf(one.layout);
}

/** Decoded state with all the fields that such chips and vCPUs have, and nothing but zeros in them. */
export function blankState(arch: ArchCodec, ids: readonly ChipId[]): { chips: Chips; vcpus?: VcpuState[] } {
  return arch.decode(ids.map((id) => ({ id, bytes: new Uint8Array(imageSizes(arch, id)[0] ?? 0) })));
}
