import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { GUEST_IMAGE, GUEST_LAYOUT } from "../../../../src/arch/x86/guest/image.ts";

const LISTING = fileURLToPath(new URL("../../../../src/arch/x86/guest/guest.S", import.meta.url));
const haveAssembler = spawnSync("as", ["--version"]).status === 0 && process.arch === "x64";

function assembled(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "kvm-irq-guest-"));
  try {
    const [object, image] = [join(folder, "guest.o"), join(folder, "guest.bin")];
    for (const [tool, ...args] of [
      ["as", "--32", "-o", object, LISTING],
      ["ld", "-m", "elf_i386", "-Ttext", "0x1000", "-e", "start", "--oformat", "binary", "-o", image, object],
    ] as const) {
      const { status, stderr } = spawnSync(tool, args, { encoding: "utf8" });
      if (status !== 0) throw new Error(`${tool}: ${stderr}`);
    }
    return readFileSync(image);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("the guest's program", () => {
  it.skipIf(!haveAssembler)("is what its listing assembles to (skipped without binutils)", () => {
    expect(Buffer.from(GUEST_IMAGE).toString("hex")).toBe(assembled().toString("hex"));
  });

  it("has its start and its data where the listing says", () => {
    const listing = readFileSync(LISTING, "utf8");
    const symbol = (name: string) => Number(new RegExp(`\\.set ${name}, (0x[0-9a-f]+)`).exec(listing)?.[1]);
    expect([symbol("COUNTS"), symbol("READY")]).toEqual([GUEST_LAYOUT.counts, GUEST_LAYOUT.ready]);
    expect(GUEST_LAYOUT.start + GUEST_IMAGE.length).toBeLessThan(symbol("STUBS"));
  });
});
