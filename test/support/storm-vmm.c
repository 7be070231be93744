/*
 * A VMM that raises and lowers GSI 4 at a rate: load for a trace.
 *
 *     storm-vmm RATE SECONDS [IMAGE]
 *
 * RATE 0 is as fast as it can, SECONDS 0 until standard input ends. IMAGE is src/arch/x86/guest/guest.S, assembled:
 * a guest that takes the interrupts and ends them; without it no guest runs. Prints "ready", begins at the
 * first line on standard input, and at the end prints the pulses, the interrupts that the guest handled, and
 * the nanoseconds that it took.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 0x10000, START = 0x1000, COUNTS = 0x5000, READY = 0x5400, VECTOR = 0x34, GSI = 4 };

static int vm;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

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

static void sleep_until(uint64_t time)
{
	struct timespec t = { time / 1000000000, time % 1000000000 };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void set(int level)
{
	struct kvm_irq_level line = { .irq = GSI, .level = level };
	if (ioctl(vm, KVM_IRQ_LINE, &line) < 0)
		die("KVM_IRQ_LINE");
}

static char *start_guest(const char *image)
{
	char *memory = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (image != NULL && read(open(image, O_RDONLY), memory + START, SIZE - START) <= 0)
		die(image);
	struct kvm_userspace_memory_region region = { .memory_size = SIZE, .userspace_addr = (uint64_t)memory };
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		die("KVM_SET_USER_MEMORY_REGION");
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (image == NULL)
		return memory;
	struct kvm_sregs sregs;
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.ds.base = sregs.ss.base = 0;
	sregs.cs.selector = sregs.ds.selector = sregs.ss.selector = 0;
	sregs.fs.base = 0xfee00000;
	sregs.gs.base = 0xfec00000;
	struct kvm_regs regs = { .rbx = 1, .rip = START, .rflags = 2 };
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		die("KVM_SET_REGS");
	pthread_t thread;
	pthread_create(&thread, NULL, run, (void *)(intptr_t)vcpu);
	while (!*(volatile uint32_t *)(memory + READY))
		usleep(1000);
	return memory;
}

static int input_ended(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char byte;
	return poll(&in, 1, 0) > 0 && read(0, &byte, 1) <= 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	uint64_t rate = atoi(argv[1]), seconds = atoi(argv[2]), pulses = 0;
	prctl(PR_SET_TIMERSLACK, 1);
	vm = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0);
	if (ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0)
		die("/dev/kvm");
	char *memory = start_guest(argc > 3 ? argv[3] : NULL);
	printf("ready\n");
	fflush(stdout);
	char line[16];
	if (read(0, line, sizeof line) <= 0)
		return 1;
	uint64_t start = now();
	uint64_t end = seconds == 0 ? UINT64_MAX : start + seconds * 1000000000;
	while (now() < end && (pulses % 64 != 0 || !input_ended())) {
		set(1);
		set(0);
		pulses++;
		uint64_t next = rate == 0 ? 0 : start + pulses * 1000000000 / rate;
		if (next > now())
			sleep_until(next);
	}
	uint64_t took = now() - start;
	printf("%llu %u %llu\n", (unsigned long long)pulses, *(uint32_t *)(memory + COUNTS + VECTOR * 4),
	       (unsigned long long)took);
	return 0;
}
