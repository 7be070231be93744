/*
 * VMMs of unusual shapes, which what finds VMs is tried on: `odd-vmm SHAPE [NUMBER]`.
 *
 *   two        two VMs: the first with two vCPUs, the second with one, whose code is at 0x2000; each is halted
 *              in KVM_RUN
 *   two-busy   the same, but vCPU 0 of each never leaves the guest by itself
 *   two-idle   the same, and nobody runs them
 *   many N     N VMs without chips
 *   main-gone  one VM with two vCPUs, whose main thread has ended
 *   copied     one VM whose descriptor was copied, and the first one closed
 *   forked     a child has the descriptor too, and prints its own pid
 *   orphaned   the same, and the process that made the VM ends
 *
 * Prints "ready pid=P fds=F,F,..." with the VMs' descriptors. Ends with its standard input.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int kvm;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int make_vm(void) {
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0) die("KVM_CREATE_VM");
    return vm;
}

/* Real mode, from 0x1000 or 0x2000: cli; hlt; or jmp to itself. */
static int make_machine(int busy) {
    static const uint8_t halt[] = {0xfa, 0xf4}, loop[] = {0xeb, 0xfe};
    int vm = make_vm();
    if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) die("KVM_CREATE_IRQCHIP");
    uint8_t *guest = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memcpy(guest + 0x1000, busy ? loop : halt, 2);
    memcpy(guest + 0x2000, busy ? loop : halt, 2);
    struct kvm_userspace_memory_region region = {0, 0, 0, 0x10000, (uintptr_t)guest};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) die("KVM_SET_USER_MEMORY_REGION");
    return vm;
}

static int make_vcpu(int vm, int number, int rip) {
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, number);
    if (vcpu < 0) die("KVM_CREATE_VCPU");
    struct kvm_sregs sregs;
    ioctl(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    ioctl(vcpu, KVM_SET_SREGS, &sregs);
    struct kvm_regs regs = {.rip = rip, .rflags = 2};
    ioctl(vcpu, KVM_SET_REGS, &regs);
    return vcpu;
}

static void *run(void *argument) {
    int vcpu = (int)(intptr_t)argument;
    for (;;) ioctl(vcpu, KVM_RUN, 0);
    return NULL;
}

static void start(int vcpu) {
    pthread_t thread;
    pthread_create(&thread, NULL, run, (void *)(intptr_t)vcpu);
}

static void *wait_for_end(void *unused) {
    (void)unused;
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    _exit(0);
}

static void ready(pid_t pid, int first, int second) {
    printf("ready pid=%d fds=%d", pid, first);
    if (second >= 0) printf(",%d", second);
    puts("");
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *shape = argc > 1 ? argv[1] : "";
    kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) die("/dev/kvm");
    if (strncmp(shape, "two", 3) == 0) {
        int busy = strcmp(shape, "two-busy") == 0;
        int a = make_machine(busy), b = make_machine(busy);
        /* In an order that tells nothing. */
        int a1 = make_vcpu(a, 1, 0x1000), b0 = make_vcpu(b, 0, 0x2000), a0 = make_vcpu(a, 0, 0x1000);
        if (strcmp(shape, "two-idle") != 0) start(b0), start(a1), start(a0);
        ready(getpid(), a, b);
    } else if (strcmp(shape, "many") == 0) {
        int first = make_vm();
        for (int n = atoi(argv[2]); n > 1; n--) make_vm();
        ready(getpid(), first, -1);
    } else if (strcmp(shape, "main-gone") == 0) {
        int vm = make_machine(0);
        start(make_vcpu(vm, 0, 0x1000));
        start(make_vcpu(vm, 1, 0x1000));
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_end, NULL);
        ready(getpid(), vm, -1);
        pthread_exit(NULL);
    } else if (strcmp(shape, "copied") == 0) {
        int vm = make_machine(0);
        start(make_vcpu(vm, 0, 0x1000));
        int first = dup(vm), second = dup(vm);
        close(vm);
        ready(getpid(), first, second);
    } else {
        int vm = make_machine(0), child = fork();
        if (child == 0) wait_for_end(NULL);
        ready(child, vm, -1);
        if (strcmp(shape, "orphaned") == 0) return 0;
    }
    wait_for_end(NULL);
}
