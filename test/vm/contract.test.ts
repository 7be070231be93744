import { afterEach, describe, expect, it } from "vitest";
import { X86_64 } from "../../src/arch/x86/index.ts";
import { ModelMachine } from "../../src/arch/x86/model/machine.ts";
import { applyPreset } from "../../src/arch/x86/presets.ts";
import type { Machine } from "../../src/vm/machine.ts";
import type { Route } from "../../src/vm/routing.ts";
import {
  ioapic,
  lapic,
  pendingNmis,
  pic,
  pulse,
  setEntry,
  setIoapic,
  setLapic,
  setPic,
} from "../support/edit.ts";
import { haveKvm } from "../support/kvm.ts";

/** What every machine does: the real KVM, and the model that follows it. */
describe.each([
  { backend: "model", skip: false },
  { backend: "kvm", skip: !haveKvm },
])("a machine of backend $backend", ({ backend, skip }) => {
  const made: Machine[] = [];
  async function machine(vcpus: number): Promise<Machine> {
    const one = backend === "model" ? new ModelMachine(vcpus) : await kvmMachine(vcpus);
    made.push(one);
    return one;
  }
  async function kvmMachine(vcpus: number): Promise<Machine> {
    const { KvmMachine } = await import("../../src/kvm/kvm-machine.ts");
    return new KvmMachine(vcpus);
  }
  const test = it.skipIf(skip);
  afterEach(() => {
    for (const one of made.splice(0)) one.close();
  });

  describe("status of a fresh VM's lines", () => {
    const cases: [gsi: number, rise: number, again: number, fall: number][] = [
      [0, 1, 1, 2],
      [4, 1, 1, 2],
      [15, 1, 1, 2],
      [16, -1, 0, 1],
      [23, -1, 0, 1],
      [24, -1, -1, -1],
      [0xffff_ffff, -1, -1, -1],
    ];
    for (const [gsi, ...answers] of cases) {
      test(`GSI ${gsi} rises, rises again and falls: ${answers.join(", ")}`, async () => {
        const vm = await machine(0);
        expect([1, 1, 0].map((level) => vm.setIrqLine(gsi, level as 0 | 1))).toEqual(answers);
      });
    }
  });

  describe("the PICs", () => {
    test("an edge stays in IRR after the line has dropped", async () => {
      const vm = await machine(1);
      expect(pulse(vm, 4)).toBe(1);
      expect(pic(vm, "pic1")).toMatchObject({ irr: 0x10, last_irr: 0 });
    });

    test("a second edge while IRR is set is coalesced", async () => {
      const vm = await machine(1);
      pulse(vm, 4);
      // The IOAPIC's pin is masked and its line has dropped since: it ignores the rise.
      expect(pulse(vm, 4)).toBe(0);
    });

    test("a level input follows its line", async () => {
      const vm = await machine(1);
      setPic(vm, "pic1", { elcr: 0x20 });
      vm.setIrqLine(5, 1);
      expect(pic(vm, "pic1").irr).toBe(0x20);
      vm.setIrqLine(5, 0);
      expect(pic(vm, "pic1").irr).toBe(0);
    });

    test("a masked input is ignored but collects IRR", async () => {
      const vm = await machine(1);
      setPic(vm, "pic1", { imr: 0x10 });
      expect(vm.setIrqLine(4, 1)).toBe(-1);
      expect(pic(vm, "pic1").irr).toBe(0x10);
    });

    test("the slave's request reaches the master's input 2", async () => {
      const vm = await machine(1);
      vm.setIrqLine(9, 1);
      expect(pic(vm, "pic2").irr).toBe(2);
      expect(pic(vm, "pic1")).toMatchObject({ irr: 4, last_irr: 0 });
    });

    const held: [what: string, change: object, reachesMaster: boolean][] = [
      ["masked there", { imr: 2 }, false],
      ["below one in service", { isr: 1 }, false],
      ["itself in service", { isr: 2 }, false],
      ["above one in service", { isr: 4 }, true],
      ["above one in service by rotation", { isr: 1, priority_add: 1 }, true],
    ];
    for (const [what, change, reachesMaster] of held) {
      test(`the slave ${reachesMaster ? "asks" : "does not ask"} for an input that is ${what}`, async () => {
        const vm = await machine(1);
        setPic(vm, "pic2", change);
        vm.setIrqLine(9, 1);
        expect(pic(vm, "pic1").irr).toBe(reachesMaster ? 4 : 0);
      });
    }

    test("setting any chip lets a waiting slave tell the master", async () => {
      const vm = await machine(1);
      vm.setIrqLine(9, 1);
      setPic(vm, "pic1", { irr: 0 });
      expect(pic(vm, "pic1").irr).toBe(4);
    });
  });

  describe("the IOAPIC", () => {
    test("an edge is delivered once, and the next is coalesced until the line drops", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setEntry(vm, 20, { vector: 0x34 });
      expect([1, 1, 0, 1].map((level) => vm.setIrqLine(20, level as 0 | 1))).toEqual([1, 0, 1, 1]);
      expect(lapic(vm).irr).toEqual([0x34]);
    });

    test("a delivered edge is not shown in IRR, a coalesced one is", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setEntry(vm, 20, { vector: 0x34 });
      vm.setIrqLine(20, 1);
      expect(ioapic(vm).irr).toBe(0);
      vm.setIrqLine(20, 1);
      expect(ioapic(vm).irr).toBe(1 << 20);
    });

    test("a level interrupt sets remote IRR and TMR, and then waits for its EOI", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setEntry(vm, 21, { vector: 0x35, trig_mode: "level" });
      expect(vm.setIrqLine(21, 1)).toBe(1);
      expect(ioapic(vm).redirtbl[21]).toMatchObject({ remote_irr: true });
      expect(lapic(vm)).toMatchObject({ irr: [0x35], tmr: [0x35] });
      expect(vm.setIrqLine(21, 1)).toBe(-1);
    });

    test("setting the state delivers what irr holds", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setEntry(vm, 20, { vector: 0x34 });
      setIoapic(vm, { irr: 1 << 20 });
      expect(lapic(vm).irr).toEqual([0x34]);
      expect(ioapic(vm).irr).toBe(0);
    });

    test("setting the state of a level line that is up keeps it, and remote IRR holds it back", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setEntry(vm, 21, { vector: 0x35, trig_mode: "level" });
      vm.setIrqLine(21, 1);
      setLapic(vm, 0, { irr: [] });
      setIoapic(vm, {});
      expect(ioapic(vm).irr).toBe(1 << 21);
      expect(lapic(vm).irr).toEqual([]);
    });

    test("the RTC's pin is coalesced until each CPU has ended it", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setPic(vm, "pic2", { imr: 0xff });
      setEntry(vm, 8, { vector: 0x38 });
      expect([pulse(vm, 8), pulse(vm, 8)]).toEqual([1, 0]);
      setLapic(vm, 0, { irr: [] });
      expect(pulse(vm, 8)).toBe(1);
    });
  });

  describe("destinations", () => {
    const LOGICAL = { dest_mode: "logical" } as const;
    const LOWEST = { ...LOGICAL, delivery_mode: "lowest-priority" } as const;
    const flat = (ldr: number) => ({ ldr: ldr * 2 ** 24 });
    const cluster = (ldr: number) => ({ ...flat(ldr), dfr: 0x0fff_ffff });
    const cases: [what: string, lapics: object[], entry: object, status: number, reached: number[]][] = [
      ["a physical id", [{}, {}, {}], { dest_id: 2 }, 1, [2]],
      ["an id that no APIC has", [{}, {}], { dest_id: 9 }, 0, []],
      ["a software-disabled APIC", [{}, { svr: 0xff }], { dest_id: 1 }, 0, []],
      ["a broadcast", [{}, {}, {}], { dest_id: 0xff }, 3, [0, 1, 2]],
      ["flat logical ids", [flat(1), flat(2), flat(4)], { ...LOGICAL, dest_id: 5 }, 2, [0, 2]],
      ["no logical id", [flat(1), flat(2)], { ...LOGICAL, dest_id: 4 }, 0, []],
      ["clusters", [cluster(0x11), cluster(0x12), cluster(0x21)], { ...LOGICAL, dest_id: 0x13 }, 2, [0, 1]],
      ["a mixture of models", [flat(1), cluster(1)], { ...LOGICAL, dest_id: 1 }, 2, [0, 1]],
      ["lowest priority, even vector", [flat(1), flat(2)], { ...LOWEST, dest_id: 3, vector: 0x30 }, 1, [0]],
      ["lowest priority, odd vector", [flat(1), flat(2)], { ...LOWEST, dest_id: 3, vector: 0x31 }, 1, [1]],
      [
        "lowest priority and a bit without an APIC",
        [flat(1)],
        { ...LOWEST, dest_id: 3, vector: 0x31 },
        0,
        [],
      ],
      [
        "a physical lowest-priority broadcast",
        [{}, {}],
        { ...LOWEST, dest_mode: "physical", dest_id: 0xff },
        2,
        [0, 1],
      ],
      ["ExtINT", [{}], { delivery_mode: "extint" }, 0, []],
    ];
    for (const [what, lapics, entry, status, reached] of cases) {
      test(`${what}: status ${status}, vCPUs [${reached}]`, async () => {
        const vm = await machine(lapics.length);
        lapics.forEach((change, vcpu) => {
          setLapic(vm, vcpu, change);
        });
        setEntry(vm, 20, { vector: 0x30, ...entry });
        expect(vm.setIrqLine(20, 1)).toBe(status);
        expect(lapics.flatMap((_, vcpu) => (lapic(vm, vcpu).irr.length > 0 ? [vcpu] : []))).toEqual(reached);
      });
    }

    test("of a fresh VM, the last vCPU is in nobody's reach but a broadcast's", async () => {
      const vm = await machine(2);
      setEntry(vm, 20, { delivery_mode: "nmi", dest_id: 1 });
      expect(pulse(vm, 20)).toBe(0);
      setEntry(vm, 20, { delivery_mode: "nmi", dest_id: 0xff });
      expect(pulse(vm, 20)).toBe(2);
    });
  });

  describe("the local APICs", () => {
    test("version and PPR are the chip's own, whatever is set", async () => {
      const vm = await machine(1);
      setLapic(vm, 0, { version: 0x1234, ppr: 0xaa, tpr: 0x50 });
      expect(lapic(vm)).toMatchObject({ version: 0x50014, ppr: 0x50 });
    });

    test("PPR takes in-service vectors into account once some were set before", async () => {
      const vm = await machine(1);
      setLapic(vm, 0, { isr: [0x61] });
      expect(lapic(vm).ppr).toBe(0);
      setLapic(vm, 0);
      expect(lapic(vm).ppr).toBe(0x60);
    });

    test("an NMI waits at the vCPU", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      setEntry(vm, 20, { delivery_mode: "nmi" });
      expect(pulse(vm, 20)).toBe(1);
      expect(pendingNmis(vm)).toBe(1);
    });

    test("reading a vCPU makes it take a pending INIT, which resets its local APIC", async () => {
      const vm = await machine(2);
      setLapic(vm, 1);
      setEntry(vm, 20, { delivery_mode: "init", dest_id: 1 });
      pulse(vm, 20);
      expect(lapic(vm, 1).svr).toBe(0x1ff);
      const { vcpus } = X86_64.decode([{ id: "vcpu[1]", bytes: vm.readChip("vcpu[1]") }]);
      expect(vcpus).toMatchObject([{ mp_state: "init_received" }]);
      expect(lapic(vm, 1).svr).toBe(0xff);
    });
  });

  describe("messages", () => {
    const APIC_0 = 0xfee0_0000;
    const cases: [
      what: string,
      vcpus: number,
      address: number,
      data: number,
      status: number,
      to: number[],
    ][] = [
      ["to a physical id", 2, 0xfee0_1000, 0x41, 1, [1]],
      ["to nobody", 2, 0xfee0_9000, 0x41, 0, []],
      ["to all", 3, 0xfeef_f000, 0x41, 3, [0, 1, 2]],
      ["to all, with the hint", 2, 0xfeef_f008, 0x41, 1, [1]],
      ["of a level, asserted", 1, APIC_0, 0xc041, 1, [0]],
      ["of a level, deasserted", 1, APIC_0, 0x8041, 1, [0]],
      ["of a VM without vCPUs", 0, APIC_0, 0x41, -1, []],
      ["of mode ExtINT", 1, APIC_0, 0x741, 0, []],
    ];
    for (const [what, vcpus, address, data, status, reached] of cases) {
      test(`one ${what}: status ${status}, vCPUs [${reached}]`, async () => {
        const vm = await machine(vcpus);
        const all = Array.from({ length: vcpus }, (_, vcpu) => vcpu);
        for (const vcpu of all) setLapic(vm, vcpu);
        expect(vm.signalMsi({ address, data })).toBe(status);
        expect(all.filter((vcpu) => lapic(vm, vcpu).irr.includes(0x41))).toEqual(reached);
      });
    }

    test("a second one is delivered too: nothing is coalesced", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      const message = { address: APIC_0, data: 0x41 };
      expect([vm.signalMsi(message), vm.signalMsi(message)]).toEqual([1, 1]);
    });

    test("a level-triggered one sets TMR", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      vm.signalMsi({ address: APIC_0, data: 0xc041 });
      expect(lapic(vm)).toMatchObject({ irr: [0x41], tmr: [0x41] });
    });

    test("an address that is no local APIC's is refused, and nothing is sent", async () => {
      const vm = await machine(1);
      setLapic(vm, 0);
      expect(() => vm.signalMsi({ address: 0xfed0_0000, data: 0x41 })).toThrow("not the address of an MSI");
      expect(lapic(vm).irr).toEqual([]);
    });
  });

  describe("a routing", () => {
    const APIC_0 = 0xfee0_0000;
    const opened = async () => {
      const vm = await machine(1);
      applyPreset(vm, "ioapic");
      return vm;
    };

    test("is the default of a fresh VM", async () => {
      expect((await machine(0)).routing).toBe("default");
    });

    test("takes a GSI to another pin, and GSIs that it lacks nowhere", async () => {
      const vm = await opened();
      vm.setRouting([{ gsi: 100, chip: "ioapic", pin: 7 }]);
      expect([pulse(vm, 100), pulse(vm, 7)]).toEqual([1, -1]);
      expect(lapic(vm).irr).toEqual([0x37]);
    });

    test("makes each rise of a GSI an MSI, and no fall", async () => {
      const vm = await opened();
      vm.setRouting([{ gsi: 4095, msi: { address: APIC_0, data: 0x51 } }]);
      expect([1, 1, 0].map((level) => vm.setIrqLine(4095, level as 0 | 1))).toEqual([1, 1, -1]);
      expect(lapic(vm).irr).toEqual([0x51]);
    });

    test("takes one GSI to a pin of each chip, and their answers add up", async () => {
      const vm = await opened();
      setPic(vm, "pic1", { imr: 0 });
      setPic(vm, "pic2", { imr: 0 });
      vm.setRouting([
        { gsi: 1, chip: "pic1", pin: 4 },
        { gsi: 1, chip: "pic2", pin: 5 },
        { gsi: 1, chip: "ioapic", pin: 5 },
      ]);
      expect(vm.setIrqLine(1, 1)).toBe(3);
      expect([pic(vm, "pic1").irr & 0x10, pic(vm, "pic2").irr, lapic(vm).irr]).toEqual([0x10, 0x20, [0x35]]);
    });

    test("is put back to the default, and may be empty", async () => {
      const vm = await opened();
      vm.setRouting([]);
      expect(vm.setIrqLine(4, 1)).toBe(-1);
      vm.setRouting("default");
      expect(vm.setIrqLine(4, 1)).toBe(1);
      expect(vm.routing).toBe("default");
    });

    test("may have 4096 entries", async () => {
      const vm = await opened();
      vm.setRouting(Array.from({ length: 4096 }, (_, gsi) => ({ gsi, chip: "ioapic", pin: gsi % 24 })));
      expect(vm.setIrqLine(4084, 1)).toBe(1);
    });

    const bad: [what: string, routes: Route[], message: string][] = [
      ["a pin beyond the IOAPIC's", [{ gsi: 1, chip: "ioapic", pin: 24 }], "ioapic has no pin 24"],
      ["a pin beyond a PIC's", [{ gsi: 1, chip: "pic2", pin: 8 }], "pic2 has no pin 8"],
      ["a GSI beyond a table's", [{ gsi: 4096, chip: "ioapic", pin: 1 }], "GSI 4096 can't be routed"],
      ["an MSI to another address", [{ gsi: 1, msi: { address: 0, data: 0 } }], "not the address of an MSI"],
      [
        "one chip twice",
        [
          { gsi: 1, chip: "ioapic", pin: 1 },
          { gsi: 1, chip: "ioapic", pin: 2 },
        ],
        "GSI 1 goes to ioapic twice",
      ],
      [
        "a pin and an MSI",
        [
          { gsi: 1, chip: "ioapic", pin: 1 },
          { gsi: 1, msi: { address: APIC_0, data: 0 } },
        ],
        "GSI 1 has an MSI and another way",
      ],
      [
        "too many",
        Array.from({ length: 4097 }, (_, n) => ({ gsi: n % 4096, chip: "ioapic", pin: 1 })),
        "4097 routes are too many",
      ],
    ];
    for (const [what, routes, message] of bad) {
      test(`with ${what} is refused, and the old one stays`, async () => {
        const vm = await opened();
        expect(() => vm.setRouting(routes)).toThrow(message);
        expect(vm.routing).toBe("default");
        expect(vm.setIrqLine(4, 1)).toBe(1);
      });
    }
  });

  describe("refusals", () => {
    test("a vCPU that is not there", async () => {
      const vm = await machine(1);
      expect(() => vm.readChip("lapic[1]")).toThrow("there is no vCPU 1: this VM has 1");
    });

    test("a vCPU's state can't be written", async () => {
      const vm = await machine(1);
      const image = { id: "vcpu[0]" as const, bytes: vm.readChip("vcpu[0]") };
      expect(() => vm.writeChip(image)).toThrow("can be read, not written");
    });

    test("a local APIC's state of another size", async () => {
      const vm = await machine(1);
      expect(() => vm.writeChip({ id: "lapic[0]", bytes: new Uint8Array(10) })).toThrow("1024 bytes, not 10");
    });

    for (const gsi of [-1, 1.5, 2 ** 32]) {
      test(`${gsi} is not a GSI`, async () => {
        const vm = await machine(1);
        expect(() => vm.setIrqLine(gsi, 1)).toThrow(`${gsi} is not a GSI`);
      });
    }
  });

  test.each(["pic1", "pic2", "ioapic", "lapic[0]"] as const)(
    "%s takes all of its bytes and no more",
    async (id) => {
      const vm = await machine(1);
      const before = vm.readChip(id);
      for (const size of [0, before.length - 1, before.length + 1]) {
        const bytes = new Uint8Array(size);
        expect(() => vm.writeChip({ id, bytes })).toThrow(RangeError);
      }
      expect(vm.readChip(id)).toEqual(before);
    },
  );

  test("each preset gives a pulse somewhere to arrive", async () => {
    const vm = await machine(1);
    applyPreset(vm, "ioapic");
    expect(pulse(vm, 16)).toBe(1);
    applyPreset(vm, "pic");
    expect(pic(vm, "pic2")).toMatchObject({ irq_base: 0x28, imr: 0 });
  });
});
