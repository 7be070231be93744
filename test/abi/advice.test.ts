import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  advice,
  changing,
  looking,
  reading,
  shellWord,
  spell,
  type VmAddress,
} from "../../src/abi/advice.ts";
import { addressOf } from "../../src/sources/open.ts";

const unmask = advice`unmask it, or ${changing("set", "ioapic.redirtbl[4].mask=false")}`;

describe("advice", () => {
  it.each<[string, VmAddress, string]>([
    ["the default session", addressOf({}, {}), "`kvm-irq set 'ioapic.redirtbl[4].mask=false'`"],
    ["a session", addressOf({ session: "ci" }, {}), "`kvm-irq -s ci set 'ioapic.redirtbl[4].mask=false'`"],
    [
      "the session of the environment",
      addressOf({}, { KVM_IRQ_SESSION: "ci" }),
      "`kvm-irq -s ci set 'ioapic.redirtbl[4].mask=false'`",
    ],
    [
      "the default session where the environment names another",
      addressOf({ session: "default" }, { KVM_IRQ_SESSION: "ci" }),
      "`kvm-irq -s default set 'ioapic.redirtbl[4].mask=false'`",
    ],
    [
      "a process with several VMs",
      addressOf({ pid: 4242, vmFd: 12 }, {}),
      "`kvm-irq --pid 4242 --vm-fd 12 --yes set 'ioapic.redirtbl[4].mask=false'`",
    ],
    [
      "a file",
      addressOf({ snapshot: "a.json" }, {}),
      "`set 'ioapic.redirtbl[4].mask=false'` on the VM itself (a snapshot can't be changed)",
    ],
    ["the VM of a script", {}, "`set 'ioapic.redirtbl[4].mask=false'`"],
  ])("names %s", (_, address, command) => {
    expect(spell(unmask, address)).toBe(`unmask it, or ${command}`);
  });

  it("reads a file that is there, and sends who needs the VM itself to it", () => {
    const address = addressOf({ snapshot: "it's here.json" }, {});
    expect(spell(advice`${reading("dump")}; ${looking("dump", "--json")}`, address)).toBe(
      "`kvm-irq --snapshot 'it'\\''s here.json' dump`; `dump --json` on the VM itself",
    );
  });

  it("asks for no --yes to look at the VM of a process", () => {
    expect(spell(advice`${looking("dump")}`, addressOf({ pid: 1 }))).toBe("`kvm-irq --pid 1 dump`");
  });

  it.each(["a b", "it's", "$HOME", "`id`", "*", "", "~", "a\nb", "[x]", "-n", "ü"])(
    "quotes %j so that a shell takes it as it is",
    (word) => {
      const printed = execFileSync("sh", ["-c", `printf '%s' ${shellWord(word)}`], { encoding: "utf8" });
      expect(printed).toBe(word);
    },
  );

  it("is the only place that writes commands on a VM: none stands in a text with the program's name", () => {
    const onVm = "pulse|hold|release|msi|route|irqfd|dump|restore|set|expect|explain|watch|trace|run";
    const escaped = readdirSync("src", { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .flatMap((name) => {
        const text = readFileSync(`src/${name}`, "utf8");
        return [...text.matchAll(new RegExp(`(?<!\\[)\`kvm-irq (${onVm})\\b(?! --(help|all)).*`, "g"))].map(
          ([hit]) => `${name}: ${hit}`,
        );
      });
    expect(escaped).toEqual([]);
  });
});
