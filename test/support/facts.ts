import type { Facts } from "../../src/arch/x86/facts.ts";

/** A VM with devices of each kind: what kernel memory may tell of it, every field there once. */
export function someFacts(): Required<Facts> {
  const from = "kernel memory";
  return {
    routes: {
      from,
      value: [
        { gsi: 4, chip: "pic1", pin: 4 },
        { gsi: 4, chip: "ioapic", pin: 4 },
        { gsi: 20, chip: "ioapic", pin: 20 },
        { gsi: 24, msi: { address: 0xfee00000, data: 0x41 } },
        { gsi: 25, msi: { address: 0xfee01000, address_hi: 0x100, data: 0x42 } },
        { gsi: 26, hv_sint: { vcpu: 0, sint: 2 } },
        { gsi: 27, xen_evtchn: { vcpu: 1, port: 7, priority: 0xffff_ffff } },
      ],
    },
    irqfds: {
      from,
      value: [
        {
          gsi: 24,
          eventfd: {
            id: 31,
            count: 0,
            holders: [
              { pid: 4242, comm: "qemu-system-x86", fd: 33, is: "vmm" },
              { pid: 4250, comm: "vhost-4242", fd: 33, is: "vhost" },
            ],
          },
          entry: { gsi: 24, msi: { address: 0xfee00000, data: 0x41 } },
          producer: true,
        },
        { gsi: 20, eventfd: { id: 40, count: "0xfffffffffffffffe" }, resample: { id: 41 }, entry: null },
      ],
    },
    lines: {
      from,
      value: {
        held: [
          { chip: "ioapic", pin: 20, by: ["line", "resample", "source-3"] },
          { chip: "pic1", pin: 4, by: ["line"] },
        ],
        irr_delivered: [4],
        rtc: { pending_eoi: 1, vcpus: [0] },
        pic_output: true,
      },
    },
    timers: {
      from,
      value: {
        lapic: [
          { vcpu: 0, mode: "tsc-deadline", pending: 1, tscdeadline: 123456, fires_in_ns: -20 },
          { vcpu: 1, mode: "periodic", pending: 0, period_ns: 1_000_000, fires_in_ns: 500_000 },
        ],
        pit: { reinject: true, pending: 2, irq_ack: false },
      },
    },
    apicv: { from, value: { vcpus: [{ vcpu: 0, active: false }], inhibits: ["PIT_REINJ", "bit-40"] } },
    posted: { from, value: [{ vcpu: 0, pir: [0x41], on: true, sn: false }] },
  };
}
