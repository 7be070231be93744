import { KvmIrqError } from "../../abi/error.ts";
import type { Vector } from "../../abi/numbers.ts";
import { hex } from "../../text/format.ts";
import type { MsiMessage } from "../../vm/routing.ts";
import { DELIVERY_MODES, DEST_MODES, type RedirectionEntry, TRIG_MODES } from "./ioapic/layout.ts";

/** Bits 20 to 31 of every message address (Intel SDM vol. 3, 12.11.1). */
export const MSI_ADDRESS_BASE = 0xfee0_0000;

/** Fields of a message address and of message data (Intel SDM vol. 3, 12.11.1 and 12.11.2). */
export interface Msi {
  /** Address bits 12 to 19: an APIC id in physical mode, a logical destination in logical mode. */
  dest_id: number;
  /** Address bit 3: one of the CPUs addressed is to be picked. */
  redirection_hint: boolean;
  dest_mode: RedirectionEntry["dest_mode"];
  vector: Vector;
  delivery_mode: RedirectionEntry["delivery_mode"];
  /** Data bit 14, which only level-triggered messages have a use for. KVM takes either as a rise. */
  level: MsiLevel;
  trig_mode: RedirectionEntry["trig_mode"];
  /** Bits without a name, each in its place: 0, 1 and 4 to 11 of the address. Left out when zero. */
  reserved_address?: number;
  /** Bits without a name, each in its place: 11 to 13 and 16 to 31 of the data. Left out when zero. */
  reserved_data?: number;
}

export type MsiLevel = (typeof MSI_LEVELS)[number];
export const MSI_LEVELS = ["deassert", "assert"] as const;

const RESERVED_ADDRESS = 0xff3;
const RESERVED_DATA = 0xffff_3800;

/**
 * Checks that a message goes to local APICs.
 *
 * @throws KvmIrqError `bad-msi` for an address outside 0xfee00000 to 0xfeefffff, or data beyond 32 bits.
 */
export function checkMsi({ address, data }: MsiMessage): void {
  if (!isU32(address) || address >>> 20 !== MSI_ADDRESS_BASE >>> 20) {
    throw new KvmIrqError("bad-msi", `0x${address.toString(16)} is not the address of an MSI`, {
      hint: "the addresses are 0xfee00000 to 0xfeefffff: bits 12 to 19 are the destination, bit 3 the redirection hint, bit 2 the destination mode",
    });
  }
  if (!isU32(data)) {
    throw new KvmIrqError("bad-msi", `0x${data.toString(16)} is not the data of an MSI`, {
      hint: "it has 32 bits: 0 to 7 are the vector, 8 to 10 the delivery mode, 15 the trigger mode",
    });
  }
}

function isU32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** Takes a message apart. @throws KvmIrqError `bad-msi`. */
export function decodeMsi(message: MsiMessage): Msi {
  checkMsi(message);
  return fieldsOf(message);
}

/**
 * What KVM makes of a message, whatever its address begins with (`kvm_set_msi_irq` of arch/x86/kvm/irq.c, which looks at bits 2
 * to 19 alone). Bits 8 to 31 of the address's high half are those of the destination (KVM_X2APIC_API_USE_32BIT_IDS).
 */
export function fieldsOf({ address, address_hi = 0, data }: MsiMessage): Msi {
  const reservedAddress = address & RESERVED_ADDRESS;
  const reservedData = (data & RESERVED_DATA) >>> 0;
  return {
    dest_id: (((address >>> 12) & 0xff) | (address_hi & 0xffff_ff00)) >>> 0,
    redirection_hint: (address & 8) !== 0,
    dest_mode: DEST_MODES[(address >>> 2) & 1]!,
    vector: data & 0xff,
    delivery_mode: DELIVERY_MODES[(data >>> 8) & 7]!,
    level: MSI_LEVELS[(data >>> 14) & 1]!,
    trig_mode: TRIG_MODES[(data >>> 15) & 1]!,
    ...(reservedAddress === 0 ? {} : { reserved_address: reservedAddress }),
    ...(reservedData === 0 ? {} : { reserved_data: reservedData }),
  };
}

/**
 * Puts a message together; the exact inverse of {@link decodeMsi}.
 *
 * @throws KvmIrqError `bad-msi` for a vector or destination beyond 8 bits.
 */
export function encodeMsi(msi: Msi): MsiMessage {
  for (const field of ["vector", "dest_id"] as const) {
    const value = msi[field];
    if (Number.isInteger(value) && value >= 0 && value <= 0xff) continue;
    throw new KvmIrqError("bad-msi", `${field} ${value} does not fit an MSI`, {
      hint: "it has 8 bits: 0 to 255",
    });
  }
  const address =
    MSI_ADDRESS_BASE |
    (msi.dest_id << 12) |
    (Number(msi.redirection_hint) << 3) |
    (DEST_MODES.indexOf(msi.dest_mode) << 2) |
    (msi.reserved_address ?? 0);
  const data =
    msi.vector |
    (DELIVERY_MODES.indexOf(msi.delivery_mode) << 8) |
    (MSI_LEVELS.indexOf(msi.level) << 14) |
    (TRIG_MODES.indexOf(msi.trig_mode) << 15) |
    (msi.reserved_data ?? 0);
  return { address: address >>> 0, data: data >>> 0 };
}

/** A message on one line: `vector 0x41, fixed, edge, to physical 0x00`. */
export function describeMsi(message: MsiMessage): string {
  const { vector, delivery_mode, trig_mode, dest_mode, dest_id, redirection_hint } = fieldsOf(message);
  const hint = redirection_hint ? ", one of them (hint)" : "";
  return `vector ${hex(vector)}, ${delivery_mode}, ${trig_mode}, to ${dest_mode} ${hex(dest_id)}${hint}`;
}

/** A composed message is fixed, edge and to APIC 0 unless it is said otherwise. */
interface Composed {
  vector?: Vector;
  dest?: number;
  destMode?: Msi["dest_mode"];
  mode?: Msi["delivery_mode"];
  trigger?: Msi["trig_mode"];
  hint?: true;
}

function composeMsi(given: Composed): MsiMessage | undefined {
  const { vector, dest = 0, destMode = "physical", mode = "fixed", trigger = "edge", hint = false } = given;
  if (vector === undefined) return undefined;
  return encodeMsi({
    dest_id: dest,
    redirection_hint: hint,
    dest_mode: destMode,
    vector,
    delivery_mode: mode,
    level: trigger === "level" ? "assert" : "deassert",
    trig_mode: trigger,
  });
}

export const MSI = {
  words: { address: "0xfee00000 to 0xfeefffff", data: "32 bits: vector, delivery mode, trigger mode" },
  fields: [
    { flags: "--vector <vector>", description: "compose a message with this vector, 0 to 255", most: 255 },
    { flags: "--dest <id>", description: "composed: the destination, 0 to 255 (default: 0)", most: 255 },
    {
      flags: "--dest-mode <mode>",
      description: "composed: what the destination is (default: physical)",
      choices: DEST_MODES,
    },
    {
      flags: "--mode <mode>",
      description: "composed: the delivery mode (default: fixed)",
      choices: DELIVERY_MODES,
    },
    {
      flags: "--trigger <mode>",
      description: "composed: the trigger mode (default: edge)",
      choices: TRIG_MODES,
    },
    { flags: "--hint", description: "composed: the redirection hint, for one of the CPUs addressed" },
  ],
  compose: composeMsi,
  check: checkMsi,
  decode: decodeMsi,
  encode: encodeMsi,
  describe: describeMsi,
};
