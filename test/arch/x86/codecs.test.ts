import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ioapicOf } from "../../../src/arch/ioapic-layout.ts";
import { X86_64 } from "../../../src/arch/x86/index.ts";
import {
  decodeIoapic,
  decodeRedirectionEntry,
  encodeIoapic,
  encodeRedirectionEntry,
} from "../../../src/arch/x86/ioapic/layout.ts";
import { IOCTL, SIZEOF } from "../../../src/arch/x86/ioctl.ts";
import { decodeLapic, encodeLapic } from "../../../src/arch/x86/lapic/layout.ts";
import { decodeMsi, encodeMsi } from "../../../src/arch/x86/msi.ts";
import { decodePic, encodePic, PIC } from "../../../src/arch/x86/pic/layout.ts";
import { decodeVcpu, encodeVcpu, VCPU_IMAGE } from "../../../src/arch/x86/vcpu/layout.ts";
import { checkChips } from "../../../src/vm/schema.ts";

const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size });

describe("an MSI", () => {
  it("has its fields where the manual says", () => {
    expect(decodeMsi({ address: 0xfee1_200c, data: 0xc431 })).toEqual({
      dest_id: 0x12,
      redirection_hint: true,
      dest_mode: "logical",
      vector: 0x31,
      delivery_mode: "nmi",
      level: "assert",
      trig_mode: "level",
    });
  });

  it.each([0xfedf_ffff, 0xfef0_0000, 0, -1, 2 ** 32, 0xfee0_0000 + 0.5])(
    "can't go to address %d",
    (address) => {
      expect(() => decodeMsi({ address, data: 0 })).toThrow("is not the address of an MSI");
    },
  );
});

describe("ioctl numbers", () => {
  // The values of <linux/kvm.h> on x86-64, as a C compiler prints them.
  it.each([
    ["KVM_GET_API_VERSION", 0x0000ae00],
    ["KVM_CREATE_VM", 0x0000ae01],
    ["KVM_CHECK_EXTENSION", 0x0000ae03],
    ["KVM_GET_VCPU_MMAP_SIZE", 0x0000ae04],
    ["KVM_CREATE_VCPU", 0x0000ae41],
    ["KVM_CREATE_IRQCHIP", 0x0000ae60],
    ["KVM_IRQ_LINE", 0x4008ae61],
    ["KVM_GET_IRQCHIP", 0xc208ae62],
    ["KVM_SET_IRQCHIP", 0x8208ae63],
    ["KVM_IRQ_LINE_STATUS", 0xc008ae67],
    ["KVM_SET_GSI_ROUTING", 0x4008ae6a],
    ["KVM_IRQFD", 0x4020ae76],
    ["KVM_SIGNAL_MSI", 0x4020aea5],
    ["KVM_GET_LAPIC", 0x8400ae8e],
    ["KVM_SET_LAPIC", 0x4400ae8f],
    ["KVM_GET_MP_STATE", 0x8004ae98],
    ["KVM_SET_MP_STATE", 0x4004ae99],
    ["KVM_GET_VCPU_EVENTS", 0x8040ae9f],
    ["KVM_GET_REGS", 0x8090ae81],
    ["KVM_SET_REGS", 0x4090ae82],
    ["KVM_GET_SREGS", 0x8138ae83],
    ["KVM_SET_SREGS", 0x4138ae84],
    ["KVM_GET_MSRS", 0xc008ae88],
    ["KVM_ENABLE_CAP", 0x4068aea3],
    ["KVM_SET_USER_MEMORY_REGION", 0x4020ae46],
    ["KVM_RUN", 0x0000ae80],
    ["KVM_CREATE_PIT2", 0x4040ae77],
    ["KVM_SET_TSS_ADDR", 0x0000ae47],
    ["KVM_SET_IDENTITY_MAP_ADDR", 0x4008ae48],
    ["KVM_GET_STATS_FD", 0x0000aece],
  ] as const)("%s is that of the header", (name, value) => {
    expect(IOCTL[name]).toBe(value);
  });
});

describe("decode and encode are inverses over every byte", () => {
  it("MSI", () => {
    const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xf_ffff }), u32, (low, data) => {
        const message = { address: 0xfee0_0000 + low, data };
        expect(encodeMsi(decodeMsi(message))).toEqual(message);
      }),
    );
  });

  it("PIC", () => {
    fc.assert(
      fc.property(bytes(SIZEOF.kvm_pic_state), (image) => {
        expect(encodePic(decodePic(image))).toEqual(image);
      }),
    );
  });

  it.each([
    ["x86", 24],
    ["ia64", 48],
  ])("IOAPIC of %s, with %d pins", (_, pins) => {
    fc.assert(
      fc.property(bytes(ioapicOf(pins).size), (image) => {
        expect(encodeIoapic(decodeIoapic(image, pins))).toEqual(image);
      }),
    );
  });

  it("redirection entry, each bit alone", () => {
    for (let bit = 0; bit < 64; bit++) {
      const low = bit < 32 ? (1 << bit) >>> 0 : 0;
      const high = bit < 32 ? 0 : (1 << (bit - 32)) >>> 0;
      expect(encodeRedirectionEntry(decodeRedirectionEntry(low, high))).toEqual({ low, high });
    }
  });

  it("local APIC", () => {
    fc.assert(
      fc.property(bytes(SIZEOF.kvm_lapic_state), (image) => {
        expect(encodeLapic(decodeLapic(image, 0))).toEqual(image);
      }),
    );
  });

  it("a vCPU's decoded state, through its image", () => {
    fc.assert(
      fc.property(bytes(VCPU_IMAGE.size), (image) => {
        // A flag byte that is neither 0 nor 1 decodes to true, and so comes back as 1.
        const state = decodeVcpu(image, 0);
        expect(decodeVcpu(encodeVcpu(state), 0)).toEqual(state);
      }),
    );
  });
});

describe("whatever the kernel can give fits the snapshot format", () => {
  it("through JSON and back", () => {
    const images = fc
      .tuple(bytes(16), bytes(16), bytes(216), bytes(1024))
      .map(([pic1, pic2, ioapic, lapic]) => [
        { id: "pic1" as const, bytes: pic1 },
        { id: "pic2" as const, bytes: pic2 },
        { id: "ioapic" as const, bytes: ioapic },
        { id: "lapic[0]" as const, bytes: lapic },
      ]);
    fc.assert(
      fc.property(images, (list) => {
        const chips = JSON.parse(JSON.stringify(X86_64.decode(list).chips));
        expect(checkChips(chips)).toEqual([]);
        const back = new Map(X86_64.encode(chips).map(({ id, bytes: image }) => [id, image]));
        for (const { id, bytes: image } of list) expect(back.get(id)).toEqual(image);
      }),
    );
  });
});

describe("names mean the bits that the header gives them", () => {
  it("decoders take no fewer bytes than there are", () => {
    expect(() => decodePic(new Uint8Array(15))).toThrow(RangeError);
    expect(() => decodeIoapic(new Uint8Array(15))).toThrow(RangeError);
    expect(() => decodeLapic(new Uint8Array(15), 0)).toThrow(RangeError);
  });

  it("an MSI has room for 8 bits of vector and destination, and spills no others into its neighbours", () => {
    const msi = decodeMsi({ address: 0xfee0_0000, data: 0x41 });
    for (const wrong of [256, -1, 1.5, Number.NaN]) {
      expect(() => encodeMsi({ ...msi, vector: wrong })).toThrow(/does not fit an MSI/);
      expect(() => encodeMsi({ ...msi, dest_id: wrong })).toThrow(/does not fit an MSI/);
    }
  });

  it("the fields of a PIC stand in the header's order", () => {
    const state = decodePic(Uint8Array.from({ length: 16 }, (_, index) => index));
    expect(Object.values(state)).toEqual(Object.keys(PIC.fields).map((_, index) => index));
    expect(state.isr).toBe(3);
    expect(state.elcr).toBe(14);
  });

  it("a redirection entry", () => {
    // Vector 0x34, lowest priority, logical, level, low, masked, remote IRR, destination 0x0f.
    const entry = decodeRedirectionEntry(
      0x34 | (1 << 8) | (1 << 11) | (1 << 13) | (1 << 14) | (1 << 15) | (1 << 16),
      0x0f000000,
    );
    expect(entry).toEqual({
      vector: 0x34,
      delivery_mode: "lowest-priority",
      dest_mode: "logical",
      delivery_status: "idle",
      polarity: "low",
      remote_irr: true,
      trig_mode: "level",
      mask: true,
      dest_id: 0x0f,
    });
  });

  it("vectors of a local APIC are spread over words 16 bytes apart", () => {
    const image = new Uint8Array(1024);
    image[0x200] = 0x01; // IRR, vectors 0 to 31
    image[0x230 + 3] = 0x80; // IRR, vectors 96 to 127
    image[0x170 + 3] = 0x80; // ISR, the last word
    const { irr, isr, tmr } = decodeLapic(image, 0);
    expect({ irr, isr, tmr }).toEqual({ irr: [0, 127], isr: [255], tmr: [] });
  });
});
