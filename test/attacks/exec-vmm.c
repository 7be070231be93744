/*
 * A VMM that does not stay: it makes a VM with one vCPU in KVM_RUN, and after some 30 to 150 ms it becomes itself
 * anew by execve(2), elsewhere in memory. `exec-vmm COUNT` starts; its rounds are counted in argv. Standard output
 * gets one byte for each round.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int vcpu;

static void *run(void *unused) {
    for (;;) ioctl(vcpu, KVM_RUN, 0);
    return unused;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    /* A stop of its thread makes this fail: mm_take_all_locks gives up on any signal. QEMU makes it again, too. */
    int vm;
    do vm = ioctl(kvm, KVM_CREATE_VM, 0);
    while (vm < 0 && errno == EINTR);
    if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP) < 0) return 3;
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    uint8_t *guest = mmap(0, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {.guest_phys_addr = 0x1000, .memory_size = 0x1000, .userspace_addr = (uintptr_t)guest};
    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    /* jmp . */
    memcpy(guest, "\xeb\xfe", 2);
    size_t size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    struct kvm_sregs sregs;
    ioctl(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    ioctl(vcpu, KVM_SET_SREGS, &sregs);
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
    ioctl(vcpu, KVM_SET_REGS, &regs);
    pthread_t thread;
    pthread_create(&thread, 0, run, 0);
    (void)!write(1, ".", 1);
    srand(getpid() ^ atoi(argv[1]));
    usleep(30000 + rand() % 120000);
    char round[16];
    snprintf(round, sizeof round, "%d", atoi(argv[1]) + 1);
    execl("/proc/self/exe", argv[0], round, (char *)0);
    return 4;
}
