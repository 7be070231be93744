# The guest that takes interrupts and counts them, for `as --32` and `ld -m elf_i386 -Ttext 0x1000`.
#
# It starts at its first byte in real mode, CS, DS and SS being 0, FS at the local APIC's page, GS at the
# IOAPIC's, and BX saying what it sets up: 0 the PICs, 1 the IOAPIC and the local APIC. Then it halts for
# ever; each interrupt adds one to its vector's count and gets its EOI. image.ts has the bytes; a test keeps
# the two alike. Real mode, because KVM's instruction emulator, which some hosts run all of it in, knows no
# other IRET.

        .intel_syntax noprefix
        .code16

        .set STUBS, 0x2000      # one `call handler` for each vector, 4 bytes apart
        .set COUNTS, 0x5000     # 256 counts of 32 bits
        .set READY, 0x5400      # 1 once everything is set up
        .set STACK, 0x8000

        .set PIC1, 0x20
        .set PIC2, 0xa0
        .set PIC_VECTOR, 0x20   # of GSI 0; the slave's follow the master's
        .set IOAPIC_VECTOR, 0x30 # of pin 0
        .set IOREGSEL, 0        # in the IOAPIC's page
        .set IOWIN, 0x10
        .set APIC_EOI, 0xb0     # in the local APIC's page
        .set APIC_SVR, 0xf0

start:  mov     sp, STACK
        mov     di, STUBS
        xor     si, si                  # the interrupt vector table
        mov     cx, 256
gate:   mov     byte ptr [di], 0xe8     # call, relative to the next instruction
        mov     ax, offset handler - 3
        sub     ax, di
        mov     [di + 1], ax
        mov     [si], di
        mov     word ptr [si + 2], 0
        add     di, 4
        add     si, 4
        loop    gate

        mov     al, 0x11                # ICW1: edge, cascade, ICW4 follows
        out     PIC1, al
        out     PIC2, al
        mov     al, PIC_VECTOR          # ICW2
        out     PIC1 + 1, al
        mov     al, PIC_VECTOR + 8
        out     PIC2 + 1, al
        mov     al, 4                   # ICW3: the slave is at input 2
        out     PIC1 + 1, al
        mov     al, 2
        out     PIC2 + 1, al
        mov     al, 1                   # ICW4: 8086
        out     PIC1 + 1, al
        out     PIC2 + 1, al
        mov     al, bl                  # OCW1: all open, or with the IOAPIC all masked
        neg     al
        out     PIC1 + 1, al
        out     PIC2 + 1, al
        test    bx, bx
        jz      ready

        mov     dword ptr fs:[APIC_SVR], 0x1ff # enabled, spurious vector 0xff
        xor     ecx, ecx
pin:    lea     eax, [ecx * 2 + 0x11]
        mov     gs:[IOREGSEL], eax      # the entry's high half: to APIC 0
        mov     dword ptr gs:[IOWIN], 0
        dec     eax
        mov     gs:[IOREGSEL], eax      # the low half: fixed, edge below pin 16, level from there on
        lea     eax, [ecx + IOAPIC_VECTOR]
        cmp     cx, 16
        jb      edge
        or      eax, 0x8000
edge:   mov     gs:[IOWIN], eax
        inc     cx
        cmp     cx, 24
        jb      pin

ready:  mov     dword ptr ds:[READY], 1
idle:   sti
        hlt
        jmp     idle

# Called from a vector's stub, whose return address tells the vector.
handler:
        push    eax
        push    bp
        mov     bp, sp
        movzx   eax, word ptr [bp + 6]
        sub     ax, STUBS + 3
        shr     ax, 2
        lock inc dword ptr [eax * 4 + COUNTS]
        cmp     al, 0x20                # exceptions and NMIs have no EOI,
        jb      done
        cmp     al, 0xff                # nor has the spurious interrupt
        je      done
        test    bx, bx
        jnz     lapic
        cmp     al, PIC_VECTOR + 16
        jae     lapic
        cmp     al, PIC_VECTOR + 8
        mov     al, 0x20                # OCW2: non-specific EOI
        jb      master
        out     PIC2, al
master: out     PIC1, al
        jmp     done
lapic:  mov     dword ptr fs:[APIC_EOI], 0
done:   pop     bp
        pop     eax
        add     sp, 2
        iret
