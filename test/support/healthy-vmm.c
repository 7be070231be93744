/*
 * A VMM with nothing wrong in it: its guest halts between interrupts and handles each of them. What explain
 * says of it is a false alarm.
 *
 * Arguments: how interrupts come, the number of vCPUs (up to 8), and how many come to each vCPU in a second.
 *
 *   edge      IOAPIC pins 3 to 10, pulsed
 *   level     IOAPIC pins 16 to 23, raised until the guest's handler writes to its device
 *   mask      the same at vCPU 0's pin, which the handler masks while its device takes half a millisecond
 *   msi       KVM_SIGNAL_MSI and irqfds with MSI routes in turn
 *   pic       GSI 3 through the PIC and LINT0, to vCPU 0
 *   pit       the kernel's PIT in mode 2 through the PIC, to vCPU 0
 *   never     edge, but no vCPU ever runs
 *
 * Commands on standard input: "count" answers with the interrupts handled and "ok", or what went wrong; "pause"
 * takes the vCPUs out of KVM_RUN for good, while interrupts go on coming.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST_VCPUS 8
#define COUNTER 0x3000
#define CODE 0x4000
#define STACKS 0x8000
#define DEVICE_PORT 0x80
#define TROUBLE_PORT 0xf4

/* Real mode, at CODE; %es begins at the local APIC, %fs at the IOAPIC. */
__asm__(".section .rodata\n"
        ".code16\n"
        "guest_idle: sti; hlt; jmp guest_idle\n"
        "guest_edge:\n"
        "  pushw %cx; movw $200, %cx\n"
        "1: loop 1b\n"
        "  popw %cx; lock incl 0x3000; movl $0, %es:0xb0; iretw\n"
        "guest_level: outb %al, $0x80; lock incl 0x3000; movl $0, %es:0xb0; iretw\n"
        "guest_mask:\n"
        "  pushl %eax; movl $0x30, %fs:0; movl %fs:0x10, %eax; orl $0x10000, %eax; movl %eax, %fs:0x10\n"
        "  movl $0, %es:0xb0; outb %al, $0x80\n"
        "  movl $0x30, %fs:0; andl $~0x15000, %eax; movl %eax, %fs:0x10\n"
        "  popl %eax; lock incl 0x3000; iretw\n"
        "guest_pic: pushw %ax; movb $0x20, %al; outb %al, $0x20; popw %ax; lock incl 0x3000; iretw\n"
        "guest_trouble: outb %al, $0xf4; iretw\n"
        "guest_end: nop\n"
        ".code64\n"
        ".text\n");
extern const uint8_t guest_idle[], guest_edge[], guest_level[], guest_mask[], guest_pic[], guest_trouble[],
    guest_end[];

static int vm, vcpu_count, rate;
static int vcpus[MOST_VCPUS], kicks[MOST_VCPUS];
static struct kvm_run *runs[MOST_VCPUS];
static pthread_t threads[MOST_VCPUS];
static uint8_t *guest;
static const char *kind;
static atomic_int paused;
static _Atomic(const char *) trouble;

static int is(const char *name) { return strcmp(kind, name) == 0; }
static int has_lines_until_served(void) { return is("level") || is("mask"); }

static int must(int result, const char *what) {
    if (result >= 0) return result;
    perror(what);
    exit(1);
}

static void set_line(int gsi, int level) {
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    must(ioctl(vm, KVM_IRQ_LINE, &line), "KVM_IRQ_LINE");
}

static void set_gate(int vector, const uint8_t *handler) {
    uint16_t gate[2] = {CODE + (uint16_t)(handler - guest_idle), 0};
    memcpy(guest + vector * 4, gate, sizeof gate);
}

static void load_guest(void) {
    memcpy(guest + CODE, guest_idle, guest_end - guest_idle);
    for (int vector = 0; vector < 256; vector++) set_gate(vector, guest_trouble);
    for (int n = 0; n < 16; n++) {
        set_gate(0x20 + n, guest_pic);
        set_gate(0x30 + n, guest_edge);
        set_gate(0x40 + n, is("mask") ? guest_mask : guest_level);
        set_gate(0x50 + n, guest_edge);
    }
}

static void set_chips(void) {
    struct kvm_irqchip chip = {.chip_id = 0};
    must(ioctl(vm, KVM_GET_IRQCHIP, &chip), "KVM_GET_IRQCHIP");
    chip.chip.pic.irq_base = 0x20;
    chip.chip.pic.imr = is("pic") ? 0xf7 : is("pit") ? 0xfe : 0xff;
    must(ioctl(vm, KVM_SET_IRQCHIP, &chip), "KVM_SET_IRQCHIP");
    chip.chip_id = 1;
    must(ioctl(vm, KVM_GET_IRQCHIP, &chip), "KVM_GET_IRQCHIP");
    chip.chip.pic.irq_base = 0x28;
    chip.chip.pic.imr = 0xff;
    must(ioctl(vm, KVM_SET_IRQCHIP, &chip), "KVM_SET_IRQCHIP");
    chip.chip_id = 2;
    must(ioctl(vm, KVM_GET_IRQCHIP, &chip), "KVM_GET_IRQCHIP");
    for (int n = 0; n < vcpu_count; n++) {
        int level = has_lines_until_served(), pin = level ? 16 + n : 3 + n;
        if (!level && !is("edge") && !is("never")) continue;
        chip.chip.ioapic.redirtbl[pin].bits =
            (uint64_t)n << 56 | (level ? 0x8000 | (0x40 + n) : 0x30 + n);
    }
    must(ioctl(vm, KVM_SET_IRQCHIP, &chip), "KVM_SET_IRQCHIP");
}

static void make_vcpu(int n) {
    vcpus[n] = must(ioctl(vm, KVM_CREATE_VCPU, n), "KVM_CREATE_VCPU");
    runs[n] = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, vcpus[n], 0);
    struct kvm_sregs sregs;
    must(ioctl(vcpus[n], KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs.base = sregs.cs.selector = 0;
    sregs.es.base = 0xfee00000;
    sregs.fs.base = 0xfec00000;
    must(ioctl(vcpus[n], KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = CODE, .rsp = STACKS + (n + 1) * 0x1000 - 16, .rflags = 2};
    must(ioctl(vcpus[n], KVM_SET_REGS, &regs), "KVM_SET_REGS");
    struct kvm_lapic_state lapic;
    must(ioctl(vcpus[n], KVM_GET_LAPIC, &lapic), "KVM_GET_LAPIC");
    *(uint32_t *)(lapic.regs + 0xf0) = 0x1ff;
    *(uint32_t *)(lapic.regs + 0x350) = n == 0 && (is("pic") || is("pit")) ? 0x700 : 0x10700;
    must(ioctl(vcpus[n], KVM_SET_LAPIC, &lapic), "KVM_SET_LAPIC");
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    must(ioctl(vcpus[n], KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
}

static void route_msis(void) {
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entries[MOST_VCPUS];
    } table = {.head.nr = vcpu_count};
    for (int n = 0; n < vcpu_count; n++) {
        table.entries[n] = (struct kvm_irq_routing_entry){.gsi = 24 + n, .type = KVM_IRQ_ROUTING_MSI};
        table.entries[n].u.msi.address_lo = 0xfee00000 | n << 12;
        table.entries[n].u.msi.data = 0x51;
    }
    must(ioctl(vm, KVM_SET_GSI_ROUTING, &table), "KVM_SET_GSI_ROUTING");
    for (int n = 0; n < vcpu_count; n++) {
        kicks[n] = eventfd(0, 0);
        struct kvm_irqfd irqfd = {.fd = kicks[n], .gsi = 24 + n};
        must(ioctl(vm, KVM_IRQFD, &irqfd), "KVM_IRQFD");
    }
}

static void start_pit(void) {
    struct kvm_pit_state2 pit;
    must(ioctl(vm, KVM_GET_PIT2, &pit), "KVM_GET_PIT2");
    pit.channels[0].count = 1193182 / rate;
    pit.channels[0].mode = 2;
    pit.channels[0].gate = 1;
    must(ioctl(vm, KVM_SET_PIT2, &pit), "KVM_SET_PIT2");
}

static void make_vm(void) {
    int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
    must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
    if (is("pit")) must(ioctl(vm, KVM_CREATE_PIT2, &config), "KVM_CREATE_PIT2");
    guest = mmap(NULL, 0x20000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {0, 0, 0, 0x20000, (uintptr_t)guest};
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    load_guest();
    for (int n = 0; n < vcpu_count; n++) make_vcpu(n);
    set_chips();
    if (is("msi")) route_msis();
    if (is("pit")) start_pit();
}

static void handle_exit(int n) {
    if (runs[n]->exit_reason != KVM_EXIT_IO) return;
    if (runs[n]->io.port == TROUBLE_PORT) trouble = "the guest took an exception";
    if (runs[n]->io.port != DEVICE_PORT) return;
    if (is("mask")) usleep(500);
    set_line(16 + n, 0);
}

static void *run_vcpu(void *argument) {
    int n = (int)(intptr_t)argument;
    for (;;) {
        while (paused || is("never")) sleep(1000);
        if (ioctl(vcpus[n], KVM_RUN, 0) == 0) handle_exit(n);
        else if (errno != EINTR && errno != EAGAIN) trouble = "KVM_RUN failed";
    }
    return NULL;
}

static void interrupt(int n, int round) {
    if (is("edge") || is("never")) set_line(3 + n, 1), set_line(3 + n, 0);
    else if (is("level") || (is("mask") && n == 0)) set_line(16 + n, 1);
    else if (is("pic") && n == 0) set_line(3, 1), set_line(3, 0);
    else if (is("msi") && round % 2) must(eventfd_write(kicks[n], 1), "eventfd");
    else if (is("msi")) {
        struct kvm_msi msi = {.address_lo = 0xfee00000 | n << 12, .data = 0x50};
        must(ioctl(vm, KVM_SIGNAL_MSI, &msi), "KVM_SIGNAL_MSI");
    }
}

static void *run_devices(void *unused) {
    (void)unused;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int round = 0;; round++) {
        next.tv_nsec += 1000000000 / rate;
        if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        for (int n = 0; n < vcpu_count; n++) interrupt(n, round);
    }
    return NULL;
}

static void on_kick(int signal) { (void)signal; }

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    kind = argv[1];
    vcpu_count = atoi(argv[2]);
    rate = atoi(argv[3]);
    struct sigaction kick = {.sa_handler = on_kick};
    sigaction(SIGUSR1, &kick, NULL);
    make_vm();
    pthread_t devices;
    for (intptr_t n = 0; n < vcpu_count; n++) pthread_create(&threads[n], NULL, run_vcpu, (void *)n);
    pthread_create(&devices, NULL, run_devices, NULL);
    puts("ready");
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "pause\n") == 0) {
            paused = 1;
            for (int n = 0; n < vcpu_count; n++) pthread_kill(threads[n], SIGUSR1);
            usleep(10000);
        }
        const char *what = trouble;
        printf("%u %s\n", *(volatile uint32_t *)(guest + COUNTER), what ? what : "ok");
        fflush(stdout);
    }
    return 0;
}
