/*
 * From the rise of GSI 4 to its handler's count in the guest's memory, nanoseconds, one a line.
 *
 *     guest-latency IMAGE COUNT
 *
 * IMAGE is src/arch/x86/guest/guest.S, assembled.
 */
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

enum { SIZE = 0x10000, START = 0x1000, COUNTS = 0x5000, READY = 0x5400, VECTOR = 0x34, GSI = 4 };

static void *run(void *vcpu)
{
	for (;;)
		ioctl((int)(intptr_t)vcpu, KVM_RUN, 0);
	return NULL;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void set(int vm, int level)
{
	struct kvm_irq_level line = { .irq = GSI, .level = level };
	if (ioctl(vm, KVM_IRQ_LINE_STATUS, &line) < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int vm = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0);
	char *memory = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (read(open(argv[1], O_RDONLY), memory + START, SIZE - START) <= 0)
		return 1;
	struct kvm_userspace_memory_region region = { .memory_size = SIZE, .userspace_addr = (uint64_t)memory };
	if (ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 ||
	    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return 1;
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	struct kvm_sregs sregs;
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.ds.base = sregs.ss.base = 0;
	sregs.cs.selector = sregs.ds.selector = sregs.ss.selector = 0;
	sregs.fs.base = 0xfee00000;
	sregs.gs.base = 0xfec00000;
	struct kvm_regs regs = { .rbx = 1, .rip = START, .rflags = 2 };
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return 1;
	pthread_t thread;
	pthread_create(&thread, NULL, run, (void *)(intptr_t)vcpu);
	volatile uint32_t *ready = (void *)(memory + READY);
	volatile uint32_t *count = (void *)(memory + COUNTS + VECTOR * 4);
	while (!*ready)
		;
	for (int n = atoi(argv[2]); n > 0; n--) {
		uint32_t before = *count;
		usleep(1000);
		uint64_t start = now();
		set(vm, 1);
		while (*count == before)
			;
		printf("%llu\n", (unsigned long long)(now() - start));
		set(vm, 0);
	}
	return 0;
}
