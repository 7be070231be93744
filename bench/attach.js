/**
 * How long a VMM's thread is stopped for a dump of PIC1, PIC2 and IOAPIC, over 500 dumps, for the first dump
 * of 50 programs that have just been started, and beside the same by `gdb -batch`: `node bench/attach.js [dumps]`. Needs root, /dev/kvm and a C compiler. The budget is 1 ms at
 * the median, on a machine that is not overloaded.
 */
import { importSupport } from "../test/support/import.js";

const dumps = Number(process.argv[2] ?? 500);
const { BusyVmm, benchAttach } = await importSupport("attach", "attach-bench");
const vmm = await BusyVmm.start("calm");
const { stopped, first, vcpuExits, guestSpeed, pause } = await benchAttach(vmm, dumps);
await vmm.end();

const us = (value) => (typeof value === "string" ? value : `${value.toFixed(0)} us`);
console.log(`dumps                                ${dumps}`);
console.log(`thread stopped, 10th percentile      ${us(stopped.p10)}`);
console.log(`thread stopped, median               ${us(stopped.median)}`);
console.log(`thread stopped, 99th percentile      ${us(stopped.p99)}`);
console.log(`first stop of a program, 10th perc.  ${us(first.p10)}`);
console.log(`first stop of a program, median      ${us(first.median)}`);
console.log(`vCPUs left KVM_RUN                   ${vcpuExits} times`);
console.log(`guest's speed meanwhile              ${(guestSpeed * 100).toFixed(0)} % of before`);
console.log(`longest pause of another thread      ${us(pause.dumps)}`);
console.log(`  the same with gdb -batch           ${us(pause.gdb)}`);
