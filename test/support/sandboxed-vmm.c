/*
 * A VMM whose seccomp filter allows just what it does itself: `sandboxed-vmm WAY [parked]`.
 *
 * Its main thread waits in the system call that WAY names, again and again; its vCPU is in KVM_RUN, or with
 * "parked" waits in the same way. Everything else kills the process, restart_syscall(2) and rt_sigreturn(2)
 * included. It prints the addresses of its counters: `rounds` of the main thread, `trouble` when a wait ended
 * early or with an error, and `escapes`, the forbidden calls that succeeded.
 *
 * "forbidden" makes two threads try a forbidden call all the time. `other_call` and `int80` are where a borrowed
 * thread finds other code than was there: one makes a forbidden call, one enters the kernel by `int $0x80`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 40

static int vm, vcpu, parked;
/* What a thread waits for: main for standard input and SIGUSR1, a parked vCPU for what never comes. */
static __thread int input, epoll, signals;
static atomic_int rounds, trouble, started, armed;
/* Not static: assembly names them. */
atomic_int escapes;
static int never;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static struct timespec in_a_while(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += WAIT_MS * 1000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

static const struct timespec A_WHILE = {0, WAIT_MS * 1000000};

static void take_byte(long n) {
    char byte;
    if (n != 1 || read(input, &byte, 1) != 1) trouble = 1;
}

static void slept(long result, int error, int64_t since) {
    if (result != 0 && errno != error) trouble = 2;
    if (now_us() - since < WAIT_MS * 1000 - 1000) trouble = 3;
}

static void wait_poll(void) {
    struct pollfd in = {input, POLLIN, 0};
    take_byte(syscall(SYS_poll, &in, 1, -1));
}
static void wait_ppoll(void) {
    struct pollfd in = {input, POLLIN, 0};
    take_byte(syscall(SYS_ppoll, &in, 1, NULL, NULL, 8));
}
static void wait_read(void) {
    char byte;
    if (read(input, &byte, 1) != 1) trouble = 4;
}
static void wait_epoll(void) {
    struct epoll_event event;
    long n;
    /* signal(7): never restarted after a stop. */
    while ((n = syscall(SYS_epoll_wait, epoll, &event, 1, -1)) < 0 && errno == EINTR) continue;
    take_byte(n);
}
static void wait_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(input, &set);
    take_byte(syscall(SYS_select, input + 1, &set, NULL, NULL, NULL));
}
static void wait_pselect(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(input, &set);
    take_byte(syscall(SYS_pselect6, input + 1, &set, NULL, NULL, NULL, NULL));
}
static void wait_signalfd(void) {
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != sizeof info) trouble = 5;
}
static void wait_futex(void) {
    syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, NULL);
    trouble = 6;
}

static void wait_poll_timed(void) {
    int64_t t = now_us();
    slept(syscall(SYS_poll, NULL, 0, WAIT_MS), 0, t);
}
static void wait_ppoll_timed(void) {
    struct timespec left = A_WHILE;
    int64_t t = now_us();
    slept(syscall(SYS_ppoll, NULL, 0, &left, NULL, 8), 0, t);
}
static void wait_select_timed(void) {
    struct timeval left = {0, WAIT_MS * 1000};
    int64_t t = now_us();
    slept(syscall(SYS_select, 0, NULL, NULL, NULL, &left), 0, t);
}
static void wait_futex_timed(void) {
    int64_t t = now_us();
    slept(syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, &A_WHILE), ETIMEDOUT, t);
}
static void wait_futex_absolute(void) {
    int64_t t = now_us();
    struct timespec end = in_a_while();
    slept(syscall(SYS_futex, &never, FUTEX_WAIT_BITSET_PRIVATE, 0, &end, NULL, ~0), ETIMEDOUT, t);
    if (now_us() - t > 1000 * (WAIT_MS + 500)) trouble = 7;
}
static void wait_nanosleep(void) {
    int64_t t = now_us();
    slept(syscall(SYS_nanosleep, &A_WHILE, NULL), 0, t);
}
static void wait_clock_nanosleep(void) {
    int64_t t = now_us();
    slept(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &A_WHILE, NULL), 0, t);
}
static void wait_clock_nanosleep_absolute(void) {
    int64_t t = now_us();
    struct timespec end = in_a_while();
    slept(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL), 0, t);
}

static void try_forbidden(void) {
    /* A quick one: the more attempts, the smaller the hole that shows. */
    if (syscall(SYS_getppid) > 0) escapes++;
}

static const struct way {
    const char *name;
    void (*wait)(void);
    int call;
} WAYS[] = {
    {"poll", wait_poll, SYS_poll},
    {"poll-timed", wait_poll_timed, SYS_poll},
    {"ppoll", wait_ppoll, SYS_ppoll},
    {"ppoll-timed", wait_ppoll_timed, SYS_ppoll},
    {"epoll", wait_epoll, SYS_epoll_wait},
    {"select", wait_select, SYS_select},
    {"select-timed", wait_select_timed, SYS_select},
    {"pselect", wait_pselect, SYS_pselect6},
    {"read", wait_read, SYS_read},
    {"signalfd", wait_signalfd, SYS_read},
    {"futex", wait_futex, SYS_futex},
    {"futex-timed", wait_futex_timed, SYS_futex},
    {"futex-absolute", wait_futex_absolute, SYS_futex},
    {"nanosleep", wait_nanosleep, SYS_nanosleep},
    {"clock-nanosleep", wait_clock_nanosleep, SYS_clock_nanosleep},
    {"clock-nanosleep-absolute", wait_clock_nanosleep_absolute, SYS_clock_nanosleep},
    {"forbidden", try_forbidden, SYS_poll},
};
static const struct way *way;

void other_call(void), int80(void);
__asm__(".text\n"
        "other_call:\n"
        "  mov $110, %eax; syscall\n" /* getppid */
        "  test %rax, %rax; jle 1f; lock incl escapes(%rip)\n"
        "1: ret\n"
        "int80:\n"
        "  int $0x80\n"
        "  ret\n");

static void wait_for(int fd, int signal) {
    input = fd;
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    /* A file takes no epoll; then nobody asks for that way. */
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, 0);
}

static void *run_vcpu(void *unused) {
    (void)unused;
    int silent[2];
    if (pipe(silent) != 0) die("pipe");
    wait_for(silent[0], SIGUSR2);
    for (started++; !armed;) continue;
    for (;;) {
        if (parked || way->wait == try_forbidden) way->wait();
        else if (ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN) trouble = 8;
    }
    return NULL;
}

static void make_vm(void) {
    static const uint8_t code[] = {0xeb, 0xfe};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) die("/dev/kvm");
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) die("KVM_CREATE_IRQCHIP");
    uint8_t *guest = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memcpy(guest + 0x1000, code, sizeof code);
    struct kvm_userspace_memory_region region = {0, 0, 0, 0x10000, (uintptr_t)guest};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) die("KVM_SET_USER_MEMORY_REGION");
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0) die("KVM_CREATE_VCPU");
    struct kvm_mp_state halted = {KVM_MP_STATE_HALTED};
    if (ioctl(vcpu, KVM_SET_MP_STATE, &halted) < 0) die("KVM_SET_MP_STATE");
    struct kvm_irqchip pic = {.chip_id = 0};
    ioctl(vm, KVM_GET_IRQCHIP, &pic);
    pic.chip.pic.imr = 0xa5;
    ioctl(vm, KVM_SET_IRQCHIP, &pic);
}

static void filter_system_calls(void) {
    int refusal = way->wait == try_forbidden ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS;
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, way->call, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, refusal),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("PR_SET_NO_NEW_PRIVS");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) die("seccomp");
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++)
        if (argc > 1 && strcmp(argv[1], WAYS[i].name) == 0) way = &WAYS[i];
    if (way == NULL) die("no such way");
    parked = argc > 2 && strcmp(argv[2], "parked") == 0;
    make_vm();
    wait_for(0, SIGUSR1);
    pthread_t thread;
    pthread_create(&thread, NULL, run_vcpu, NULL);
    /* What a new thread calls before its function is not allowed either. */
    while (!started) usleep(1000);
    printf("ready vm_fd=%d rounds=%p trouble=%p escapes=%p other_call=%p int80=%p\n", vm, (void *)&rounds,
           (void *)&trouble, (void *)&escapes, (void *)other_call, (void *)int80);
    fflush(stdout);
    filter_system_calls();
    armed = 1;
    for (;; rounds++) way->wait();
}
