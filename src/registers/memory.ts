/**
 * Structures of a running kernel, declared field by field by the names that its own type information has. What reads
 * them stands in sources/kernel; it knows no chip, and these declarations no address.
 *
 * A field takes several paths where kernels have several names for it: the first that the running one has counts. One
 * that it has by no name, or that leads to nothing, is `undefined`.
 */

/** A field, and what reading it gives. */
export type MemoryField<T = unknown> = (
  | { kind: "number" | "wide" | "address"; paths: readonly string[] }
  | { kind: "packed"; paths: readonly string[] }
  | { kind: "behind"; paths: readonly string[]; size: number }
  | { kind: "pointer" | "inside"; paths: readonly string[]; to: Structure }
  | { kind: "list"; paths: readonly string[]; to: Structure; link: string }
  | { kind: "chains"; paths: readonly string[]; to: Structure; link: string; count: string }
  | { kind: "pointers"; paths: readonly string[]; to: Structure }
  | { kind: "around"; paths: readonly string[]; to: Structure }
) & {
  /** Changes by itself, however still the VM is: two looks need not agree on it. */
  moving?: true;
  /** What it gives; for the compiler alone. */
  gives?: T;
};

export type MemoryFields = Readonly<Record<string, MemoryField>>;

/** A structure, by its name in C, with the fields that are looked at. */
export interface Structure<F extends MemoryFields = MemoryFields> {
  readonly type: string;
  readonly fields: F;
}

/** What was read of one. */
export type Node<F extends MemoryFields> = {
  readonly [K in keyof F]?: F[K] extends MemoryField<infer T> ? T | undefined : never;
};
export type NodeOf<S> = S extends Structure<infer F> ? Node<F> : never;

export function structure<F extends MemoryFields>(type: string, fields: F): Structure<F> {
  return { type, fields };
}

/** An integer or enum of at most 32 bits, without its sign. */
export function number(...paths: string[]): MemoryField<number> {
  return { kind: "number", paths };
}

/** An integer of 64 bits, without its sign. */
export function wide(...paths: string[]): MemoryField<bigint> {
  return { kind: "wide", paths };
}

/** A pointer that is only compared with others. What it is never leaves the program. */
export function address(...paths: string[]): MemoryField<bigint> {
  return { kind: "address", paths };
}

/** The bytes of one or several fields, one behind the other without what is between them; nothing where one is not there. */
export function packed(...paths: string[]): MemoryField<Uint8Array> {
  return { kind: "packed", paths };
}

/** So many bytes behind a pointer. */
export function behind(path: string, size: number): MemoryField<Uint8Array> {
  return { kind: "behind", paths: [path], size };
}

/** The structure behind a pointer. */
export function pointer<F extends MemoryFields>(to: Structure<F>, ...paths: string[]): MemoryField<Node<F>> {
  return { kind: "pointer", paths, to };
}

/** A structure that is a member. */
export function inside<F extends MemoryFields>(to: Structure<F>, ...paths: string[]): MemoryField<Node<F>> {
  return { kind: "inside", paths, to };
}

/** The structures of a `struct list_head`. @param link their member in it. */
export function listOf<F extends MemoryFields>(
  to: Structure<F>,
  link: string,
  ...paths: string[]
): MemoryField<Node<F>[]> {
  return { kind: "list", paths, to, link };
}

/**
 * The structures of an array of `struct hlist_head` at the end of this one, chain by chain.
 *
 * @param link their member in it. @param count the field with the number of chains.
 */
export function chainsOf<F extends MemoryFields>(
  to: Structure<F>,
  link: string,
  path: string,
  count: string,
): MemoryField<Node<F>[][]> {
  return { kind: "chains", paths: [path], to, link, count };
}

/** The structures that a `struct xarray`, or an array of pointers, points to. */
export function pointersOf<F extends MemoryFields>(
  to: Structure<F>,
  ...paths: string[]
): MemoryField<Node<F>[]> {
  return { kind: "pointers", paths, to };
}

/** The structure that has this one as its member. */
export function around<F extends MemoryFields>(to: Structure<F>, member: string): MemoryField<Node<F>> {
  return { kind: "around", paths: [member], to };
}

/** Marks a field that changes by itself. */
export function moving<T>(field: MemoryField<T>): MemoryField<T> {
  return { ...field, moving: true };
}
