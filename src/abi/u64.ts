/**
 * A 64-bit register in JSON: a number while it is exact, else a hexadecimal string. Numbers in JSON are
 * doubles, so from 2^53 on they would lose their low bits.
 */
export type U64 = number | `0x${string}`;

/** Reads a little-endian u64. */
export function readU64(view: DataView, offset: number): U64 {
  return toU64(view.getBigUint64(offset, true));
}

/** The form of a number that JSON keeps exact. */
export function toU64(value: bigint): U64 {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : `0x${value.toString(16)}`;
}

/** Writes a little-endian u64; the inverse of {@link readU64}. */
export function writeU64(view: DataView, offset: number, value: U64): void {
  view.setBigUint64(offset, BigInt(value), true);
}

/** A view of the same bytes, wherever they start in their buffer. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
