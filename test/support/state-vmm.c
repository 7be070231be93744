/*
 * A VMM that puts its VM into states and tells what its own ioctls make of them: what readings from outside are
 * held against.
 *
 * Arguments: full or split, the number of vCPUs (up to 32), then any of: x2apic (all local APICs in that mode),
 * x2apic-ids (KVM_CAP_X2APIC_API with 32-bit ids), pit.
 *
 * Commands on standard input, a line each, answered by a line:
 *
 *   random SEED     random bytes into every chip, and a random state into every vCPU
 *   state           the bytes of everything: pic1=, pic2=, ioapic=, lapic[N]=, vcpu[N]= in hexadecimal
 *   lapic N         one local APIC
 *   timer N COUNT   starts vCPU N's local APIC timer, one shot, vector 0x40, masked
 *   line GSI LEVEL  KVM_IRQ_LINE
 *   route SEED N    a random table with N MSIs at GSIs from 24 on: answers with gsi/type/a/b/c for each entry
 *   irqfds N        N irqfds at GSIs from 24 on, or from 16 on every fourth one resampling (full only): gsi/fd/resamplefd
 *   run, pause      puts the vCPUs into KVM_RUN, and takes them out; vCPU 0 counts, vCPU 1 halts with IF clear,
 *                   the others do either
 *   count           what vCPU 0 has counted to
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_VCPUS 32
#define MOST_ROUTES 1024
#define COUNTER 0x2000

static int kvm, vm, full, x2apic, vcpu_count;
static int vcpus[MOST_VCPUS];
static uint8_t *guest;
static uint64_t seed;
static atomic_int paused = 1, outside;
static pthread_t threads[MOST_VCPUS];

static int must(int result, const char *what) {
    if (result >= 0) return result;
    perror(what);
    exit(1);
}

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void fill(void *at, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)at)[i] = next();
}

static void set_cpuid(int vcpu) {
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[256];
    } all = {.head.nent = 256};
    must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &all), "KVM_GET_SUPPORTED_CPUID");
    for (uint32_t i = 0; i < all.head.nent; i++)
        if (all.entries[i].function == 1) all.entries[i].ecx |= 1 << 21;
    must(ioctl(vcpu, KVM_SET_CPUID2, &all), "KVM_SET_CPUID2");
}

static void make_vcpu(int n) {
    vcpus[n] = must(ioctl(vm, KVM_CREATE_VCPU, n), "KVM_CREATE_VCPU");
    set_cpuid(vcpus[n]);
    struct kvm_sregs sregs;
    must(ioctl(vcpus[n], KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs.base = sregs.cs.selector = 0;
    if (x2apic) sregs.apic_base |= 1 << 10;
    must(ioctl(vcpus[n], KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = n % 2 ? 0x1010 : 0x1000, .rflags = 2};
    must(ioctl(vcpus[n], KVM_SET_REGS, &regs), "KVM_SET_REGS");
    struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
    must(ioctl(vcpus[n], KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
}

static void make_vm(int pit, int ids) {
    kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    if (full) must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    else must(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
    struct kvm_enable_cap wide = {.cap = KVM_CAP_X2APIC_API, .args = {KVM_X2APIC_API_USE_32BIT_IDS}};
    if (ids) must(ioctl(vm, KVM_ENABLE_CAP, &wide), "KVM_CAP_X2APIC_API");
    struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
    if (pit) must(ioctl(vm, KVM_CREATE_PIT2, &config), "KVM_CREATE_PIT2");
    guest = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* Real mode. 0x1000: inc dword [0x2000]; jmp back. 0x1010: cli; hlt; jmp back. */
    memcpy(guest + 0x1000, "\x66\xff\x06\x00\x20\xeb\xf9", 7);
    memcpy(guest + 0x1010, "\xfa\xf4\xeb\xfd", 4);
    struct kvm_userspace_memory_region region = {0, 0, 0, 0x10000, (uintptr_t)guest};
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    for (int n = 0; n < vcpu_count; n++) make_vcpu(n);
}

static void random_lapic(int n) {
    struct kvm_lapic_state lapic, random;
    must(ioctl(vcpus[n], KVM_GET_LAPIC, &lapic), "KVM_GET_LAPIC");
    memcpy(&random, &lapic, sizeof random);
    fill(random.regs + 0x40, sizeof random.regs - 0x40);
    /* The timer stands still, and the x2APIC's LDR follows from its id. */
    *(uint32_t *)(random.regs + 0x320) = 0x10000 | (next() & 0xff);
    memset(random.regs + 0x380, 0, 0x20);
    /* Writes of the command register go out as they are; bit 12 is busy. */
    random.regs[0x301] &= ~0x10;
    must(ioctl(vcpus[n], KVM_SET_LAPIC, &random), "KVM_SET_LAPIC");
}

static void random_vcpu(int n) {
    random_lapic(n);
    struct kvm_regs regs;
    must(ioctl(vcpus[n], KVM_GET_REGS, &regs), "KVM_GET_REGS");
    fill(&regs, offsetof(struct kvm_regs, rip));
    regs.rip = next() & 0xffff;
    regs.rflags = 2 | (next() & 0xed5);
    regs.rflags &= ~0x100;
    must(ioctl(vcpus[n], KVM_SET_REGS, &regs), "KVM_SET_REGS");
    struct kvm_vcpu_events events;
    must(ioctl(vcpus[n], KVM_GET_VCPU_EVENTS, &events), "KVM_GET_VCPU_EVENTS");
    events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    int what = next() % 4;
    events.exception.injected = what == 1;
    events.exception.nr = next() % 2 ? 13 : 6;
    events.interrupt.injected = what == 2;
    events.interrupt.nr = next();
    events.interrupt.soft = 0;
    events.interrupt.shadow = next() & 3;
    events.nmi.injected = what == 3;
    events.nmi.pending = next() % 2;
    events.nmi.masked = next() % 2;
    must(ioctl(vcpus[n], KVM_SET_VCPU_EVENTS, &events), "KVM_SET_VCPU_EVENTS");
    struct kvm_mp_state state = {next() % 2 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_HALTED};
    must(ioctl(vcpus[n], KVM_SET_MP_STATE, &state), "KVM_SET_MP_STATE");
}

static void set_random(void) {
    for (int n = 0; n < vcpu_count; n++) random_vcpu(n);
    for (int id = 0; full && id < 3; id++) {
        struct kvm_irqchip chip = {.chip_id = id};
        must(ioctl(vm, KVM_GET_IRQCHIP, &chip), "KVM_GET_IRQCHIP");
        if (id < 2) fill(&chip.chip.pic, sizeof chip.chip.pic);
        else {
            chip.chip.ioapic.ioregsel = next();
            chip.chip.ioapic.irr = next();
            /* INIT and SMI would change vCPUs later. */
            for (int pin = 0; pin < 24; pin++)
                do chip.chip.ioapic.redirtbl[pin].bits = next();
                while (chip.chip.ioapic.redirtbl[pin].fields.delivery_mode > 1);
        }
        must(ioctl(vm, KVM_SET_IRQCHIP, &chip), "KVM_SET_IRQCHIP");
    }
    for (int gsi = 0; full && gsi < 24; gsi++) {
        struct kvm_irq_level line = {.irq = gsi, .level = next() & 1};
        must(ioctl(vm, KVM_IRQ_LINE, &line), "KVM_IRQ_LINE");
    }
}

static void hex(const void *at, size_t size) {
    for (size_t i = 0; i < size; i++) printf("%02x", ((const uint8_t *)at)[i]);
}

static void print_lapic(int n) {
    struct kvm_lapic_state lapic;
    must(ioctl(vcpus[n], KVM_GET_LAPIC, &lapic), "KVM_GET_LAPIC");
    printf("lapic[%d]=", n);
    hex(&lapic, sizeof lapic);
}

static void print_vcpu(int n) {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    struct kvm_mp_state state;
    must(ioctl(vcpus[n], KVM_GET_REGS, &regs), "KVM_GET_REGS");
    must(ioctl(vcpus[n], KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    must(ioctl(vcpus[n], KVM_GET_VCPU_EVENTS, &events), "KVM_GET_VCPU_EVENTS");
    must(ioctl(vcpus[n], KVM_GET_MP_STATE, &state), "KVM_GET_MP_STATE");
    printf(" vcpu[%d]=", n);
    hex(&regs, sizeof regs);
    hex(&sregs, sizeof sregs);
    hex(&events, sizeof events);
    hex(&state, sizeof state);
}

static void print_state(void) {
    static const char *const names[] = {"pic1", "pic2", "ioapic"};
    for (int n = 0; n < vcpu_count; n++) print_lapic(n), print_vcpu(n), putchar(' ');
    for (int id = 0; full && id < 3; id++) {
        struct kvm_irqchip chip = {.chip_id = id};
        must(ioctl(vm, KVM_GET_IRQCHIP, &chip), "KVM_GET_IRQCHIP");
        printf("%s=", names[id]);
        hex(&chip.chip, id < 2 ? sizeof chip.chip.pic : sizeof chip.chip.ioapic);
        putchar(' ');
    }
}

static void start_timer(int n, uint32_t count) {
    struct kvm_lapic_state lapic;
    must(ioctl(vcpus[n], KVM_GET_LAPIC, &lapic), "KVM_GET_LAPIC");
    *(uint32_t *)(lapic.regs + 0xf0) = 0x1ff;
    *(uint32_t *)(lapic.regs + 0x320) = 0x10040;
    *(uint32_t *)(lapic.regs + 0x380) = *(uint32_t *)(lapic.regs + 0x390) = count;
    *(uint32_t *)(lapic.regs + 0x3e0) = 0xb;
    must(ioctl(vcpus[n], KVM_SET_LAPIC, &lapic), "KVM_SET_LAPIC");
}

static void set_routes(int msis) {
    static struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entries[MOST_ROUTES];
    } table;
    memset(&table, 0, sizeof table);
    int n = 0;
    for (int gsi = 0; full && gsi < 24; gsi++) {
        struct kvm_irq_routing_entry pin = {.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};
        if (next() % 4 != 0) pin.u.irqchip.irqchip = 2, pin.u.irqchip.pin = next() % 24, table.entries[n++] = pin;
        if (gsi < 16 && next() % 2) pin.u.irqchip.irqchip = gsi / 8, pin.u.irqchip.pin = next() % 8, table.entries[n++] = pin;
    }
    for (int i = 0; i < msis; i++) {
        struct kvm_irq_routing_entry *msi = &table.entries[n++];
        msi->gsi = 24 + i;
        msi->type = KVM_IRQ_ROUTING_MSI;
        msi->u.msi.address_lo = 0xfee00000 | (next() & 0xffffc);
        msi->u.msi.address_hi = x2apic ? (next() & 0xffff) << 8 : 0;
        msi->u.msi.data = next() & 0xc7ff;
    }
    table.head.nr = n;
    must(ioctl(vm, KVM_SET_GSI_ROUTING, &table), "KVM_SET_GSI_ROUTING");
    for (int i = 0; i < n; i++) {
        struct kvm_irq_routing_entry *e = &table.entries[i];
        if (e->type == KVM_IRQ_ROUTING_IRQCHIP)
            printf("%u/pin/%u/%u ", e->gsi, e->u.irqchip.irqchip, e->u.irqchip.pin);
        else printf("%u/msi/%u/%u/%u ", e->gsi, e->u.msi.address_lo, e->u.msi.address_hi, e->u.msi.data);
    }
}

static void bind_irqfds(int count) {
    for (int i = 0; i < count; i++) {
        int resamples = full && i % 4 == 3;
        struct kvm_irqfd irqfd = {.fd = eventfd(0, 0), .gsi = resamples ? 16 + i % 8 : 24 + i};
        if (resamples) irqfd.flags = KVM_IRQFD_FLAG_RESAMPLE, irqfd.resamplefd = eventfd(0, 0);
        must(ioctl(vm, KVM_IRQFD, &irqfd), "KVM_IRQFD");
        printf("%u/%d/%d ", irqfd.gsi, irqfd.fd, resamples ? (int)irqfd.resamplefd : -1);
    }
}

static void on_kick(int signal) { (void)signal; }

static void *run_vcpu(void *argument) {
    int n = (int)(intptr_t)argument;
    for (;;) {
        outside++;
        while (paused) usleep(1000);
        outside--;
        if (ioctl(vcpus[n], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN) perror("KVM_RUN"), exit(1);
    }
    return NULL;
}

static void set_paused(int to) {
    static int started;
    if (!started && !to)
        for (intptr_t n = 0; n < vcpu_count; n++) pthread_create(&threads[n], NULL, run_vcpu, (void *)n);
    started |= !to;
    paused = to;
    while (to && started && outside < vcpu_count) {
        for (int n = 0; n < vcpu_count; n++) pthread_kill(threads[n], SIGUSR1);
        usleep(1000);
    }
}

int main(int argc, char **argv) {
    int pit = 0, ids = 0;
    if (argc < 3) return 2;
    full = strcmp(argv[1], "full") == 0;
    vcpu_count = atoi(argv[2]);
    for (int i = 3; i < argc; i++) {
        pit |= strcmp(argv[i], "pit") == 0;
        ids |= strcmp(argv[i], "x2apic-ids") == 0;
        x2apic |= strncmp(argv[i], "x2apic", 6) == 0;
    }
    struct sigaction kick = {.sa_handler = on_kick};
    sigaction(SIGUSR1, &kick, NULL);
    make_vm(pit, ids);
    printf("ready vm_fd=%d\n", vm);
    fflush(stdout);
    char line[128], word[16];
    long long a, b;
    while (fgets(line, sizeof line, stdin)) {
        a = b = 0;
        if (sscanf(line, "%15s %lld %lld", word, &a, &b) < 1) continue;
        if (strcmp(word, "random") == 0) seed = a, set_random();
        else if (strcmp(word, "state") == 0) print_state();
        else if (strcmp(word, "lapic") == 0) print_lapic(a);
        else if (strcmp(word, "timer") == 0) start_timer(a, b);
        else if (strcmp(word, "route") == 0) seed = a, set_routes(b);
        else if (strcmp(word, "irqfds") == 0) bind_irqfds(a);
        else if (strcmp(word, "run") == 0) set_paused(0);
        else if (strcmp(word, "pause") == 0) set_paused(1);
        else if (strcmp(word, "count") == 0) printf("%u", *(volatile uint32_t *)(guest + COUNTER));
        else if (strcmp(word, "line") == 0) {
            struct kvm_irq_level level = {.irq = a, .level = b};
            must(ioctl(vm, KVM_IRQ_LINE, &level), "KVM_IRQ_LINE");
        }
        puts("");
        fflush(stdout);
    }
    return 0;
}
