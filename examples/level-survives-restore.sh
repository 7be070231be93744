#!/bin/sh
# A level-triggered interrupt must outlive a move from one VM to another. Two sessions, each a VM of its
# own: run as `KVM_IRQ_BACKEND=model examples/level-survives-restore.sh` where there is no /dev/kvm.
set -eu
kvm_irq=${KVM_IRQ:-kvm-irq}
trap '$kvm_irq destroy source target >/dev/null 2>&1 || true' EXIT

# GSI 20 is a PCI interrupt: pin 20 of the IOAPIC, level-triggered, vector 0x44. A device raises it.
$kvm_irq create source --preset ioapic --ttl 5m
$kvm_irq -s source hold 20
$kvm_irq -s source expect 'lapic[0].irr=0x44' 'ioapic.redirtbl[20].remote_irr=true'

# The chips' state moves to a fresh VM, and the old one ends.
$kvm_irq create target --ttl 5m
$kvm_irq -s source dump --json | $kvm_irq -s target restore - >/dev/null
$kvm_irq destroy source

# It still waits in the local APIC, and its line is still up.
$kvm_irq -s target expect 'lapic[0].irr=0x44' 'ioapic.redirtbl[20].remote_irr=true' ioapic.irr=0x100000

# While the IOAPIC waits for the EOI it takes no other one; after the EOI the line, still up, delivers again.
$kvm_irq -s target set 'lapic[0].irr=[]' 'ioapic.redirtbl[20].remote_irr=false'
$kvm_irq -s target expect 'lapic[0].irr=0x44' 'ioapic.redirtbl[20].remote_irr=true'

# The device, on the new VM, lowers the line that was raised on the old one.
$kvm_irq -s target release 20
$kvm_irq -s target expect ioapic.irr=0
