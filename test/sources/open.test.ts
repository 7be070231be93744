import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HOST_ARCH } from "../../src/arch/arches.ts";
import { completionScript } from "../../src/cli/completion/completion.ts";
import { ProcessContext } from "../../src/cli/process-context.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { GROUPS } from "../../src/commands/index.ts";
import { LocalSource } from "../../src/sources/local/source.ts";
import { addressOf, WAYS } from "../../src/sources/open.ts";
import type { Way } from "../../src/sources/way.ts";

interface CoreChoice {
  core?: string;
  coreVm?: number;
  coreKind?: string;
}
const ways = WAYS as Record<string, unknown>;
const program = makeProgram("0", GROUPS);
let source: LocalSource;
let opened: CoreChoice | undefined;

/** A way that nobody has written yet: one entry of the table is all that there is of it. */
const CORE: Way<CoreChoice> = {
  options: {
    core: { flags: "--core <file>", description: "the target: a core file" },
    coreVm: { flags: "--core-vm <n>", description: "which VM of it", range: [0, 9] },
    coreKind: { flags: "--core-kind <kind>", description: "what made it", choices: ["elf", "kdump"] },
  },
  readOnly: ({ core }) => `core ${core}`,
  async open(choice) {
    opened = choice;
    return source;
  },
};

beforeAll(async () => {
  source = new LocalSource((await HOST_ARCH.model!()).make(1));
  ways["core"] = CORE;
});
afterAll(async () => {
  delete ways["core"];
  await source.close();
});

const refusal = (...argv: string[]) => program.parse(argv).catch(({ message }) => message);
const helpOf = async (command: string) => (await program.parse([command, "--help"])) as { help: string };

describe("a way to see a VM that is in the table", () => {
  it("is a target of every command that reads one, by its own options", async () => {
    const parsed = await program.parse(["dump", "--core", "a.core", "--core-vm", "3"]);
    if ("help" in parsed) throw new Error("that is no help");
    const context = new ProcessContext(parsed, program);
    expect(await parsed.run(context)).toMatchObject({ json: { format: "kvm-irq.snapshot" } });
    expect(opened).toMatchObject({ core: "a.core", coreVm: 3 });
  });

  it("is named again by advice as it was chosen", () => {
    expect(addressOf({ core: "a.core", coreVm: 0 } as object)).toEqual({
      options: ["--core", "a.core", "--core-vm", "0"],
      readOnly: true,
    });
  });

  it.each([
    [["dump", "--core", "a", "--pid", "1"], "--pid and --core name two targets; give one"],
    [["dump", "--core-vm", "1"], "--core-vm goes with --core"],
    [["dump", "--core", "a", "--core-vm", "10"], /whole number from 0 to 9/],
    [["dump", "--core", "a", "--core-kind", "x"], /Allowed choices are elf, kdump/i],
    [["pulse", "4", "--core", "a"], /^core a is a file/],
    [["doctor", "--core", "a"], "`doctor` takes no --core"],
    [["destroy", "--core", "a"], "`destroy` takes no --core"],
    [["trace", "--core", "a"], "`trace` takes no --core"],
    [["diff", "a.json", "b.json", "--core", "a"], /as arguments, not as options/],
  ])("is held to what goes together: %j", async (argv, message) => {
    expect(await refusal(...argv)).toMatch(message);
  });

  it("is in the help of the commands that take it, and of no other", async () => {
    expect((await helpOf("dump")).help).toMatch(/--core <file>\s+the target: a core file/);
    for (const other of ["pulse", "doctor", "destroy", "trace", "diff"]) {
      expect((await helpOf(other)).help).not.toContain("--core");
    }
  });

  it("is completed, with files and words where its options say so", async () => {
    const fish = completionScript("fish", await program.syntax());
    expect(fish).toContain("-l core -r -F -d 'the target: a core file'");
    expect(fish).toContain("-l core-kind -x -a 'elf kdump'");
  });
});
