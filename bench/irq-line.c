/* KVM_IRQ_LINE_STATUS in a loop; prints calls a second. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

int main(void) {
	enum { CALLS = 1000000 };
	int vm = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0);
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0)
		return 1;
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int n = 0; n < CALLS; n++) {
		struct kvm_irq_level line = { .irq = 4, .level = n & 1 };
		if (ioctl(vm, KVM_IRQ_LINE_STATUS, &line) < 0)
			return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	double seconds = (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9;
	printf("%.0f\n", CALLS / seconds);
	return 0;
}
