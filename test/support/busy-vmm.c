/*
 * A VMM that is busy, and that notices when something is done to it: what attaching is tried on.
 *
 * vCPU 0 counts in guest memory, vCPU 1 waits in KVM_RUN to be started, a thread checks its registers,
 * flags, vector registers and red zone all the time, others sleep in system calls that are restarted in
 * different ways, and a timer sends signals. Commands on standard input:
 *
 *   chips           the VMM's own view: pic1, pic2 and ioapic as hexadecimal bytes
 *   status          the rounds that each thread has done, and what went wrong ("ok" when nothing)
 *   gap             the longest time in microseconds that a thread saw between two looks at the clock,
 *                   since this was last asked
 *   pause, resume   take the vCPUs out of KVM_RUN, and put them back
 *   exec            become sleep(1)
 *
 * Arguments: "calm" leaves out the checks, which take a whole CPU; "heap-stack" puts the main thread on a
 * stack from malloc(3), and the vCPUs' threads; "uffd-stack" on one whose
 * lower pages userfaultfd(2) never fills; "seccomp" forbids all threads every ioctl but KVM_RUN; with "spin" and "sleep" vCPU 0
 * writes to a port all the time, and its thread is at work for milliseconds on each exit, or asleep.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define VCPUS 2
#define COUNTER 0x2000

static int vm;
static int vcpus[VCPUS];
static uint8_t *guest;
static atomic_int paused;
static atomic_long checks, sleeps, polls, pipes, runs, alarms;
static atomic_long longest_gap;
static _Atomic(const char *) trouble;

static void fail(const char *what) { trouble = what; }

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* long check_registers(long rounds): 0, or the number of what had changed. */
__asm__(".text\n"
        ".globl check_registers\n"
        "check_registers:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  mov $0x1111111111111111, %rbx; mov $0x2222222222222222, %rbp\n"
        "  mov $0x8888888888888888, %r8;  mov $0x9999999999999999, %r9\n"
        "  mov $0x1010101010101010, %r10; mov $0x1212121212121212, %r11\n"
        "  mov $0x1313131313131313, %r12; mov $0x1414141414141414, %r13\n"
        "  mov $0x1515151515151515, %r14; mov $0x1616161616161616, %r15\n"
        "  movq %r8, %xmm0; movq %r9, %xmm7; movq %r10, %xmm15\n"
        "  mov %r11, -8(%rsp); mov %r12, -64(%rsp); mov %r13, -120(%rsp); mov %r14, -128(%rsp)\n"
        "  mov %rdi, %rcx; xor %esi, %esi\n"
        "1:\n"
        "  mov $1, %eax; mov $0x1111111111111111, %rdx; cmp %rdx, %rbx; jne 2f\n"
        "  mov $2, %eax; mov $0x2222222222222222, %rdx; cmp %rdx, %rbp; jne 2f\n"
        "  mov $3, %eax; movq %xmm0, %rdx; cmp %rdx, %r8; jne 2f\n"
        "  mov $4, %eax; movq %xmm7, %rdx; cmp %rdx, %r9; jne 2f\n"
        "  mov $5, %eax; movq %xmm15, %rdx; cmp %rdx, %r10; jne 2f\n"
        "  mov $6, %eax; cmp %r11, -8(%rsp); jne 2f\n"
        "  mov $7, %eax; cmp %r12, -64(%rsp); jne 2f\n"
        "  mov $8, %eax; cmp %r13, -120(%rsp); jne 2f\n"
        "  mov $9, %eax; cmp %r14, -128(%rsp); jne 2f\n"
        "  mov $10, %eax; mov $0x1616161616161616, %rdx; cmp %rdx, %r15; jne 2f\n"
        "  stc; nop; nop; adc $0, %rsi\n"
        "  dec %rcx; jnz 1b\n"
        "  mov $11, %eax; cmp %rdi, %rsi; jne 2f\n"
        "  xor %eax, %eax\n"
        "2:\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n");
extern long check_registers(long rounds);

static void *checker(void *unused) {
    (void)unused;
    for (;; checks++)
        if (check_registers(20000) != 0) fail("a register, flag or red zone byte changed");
    return NULL;
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void *sleeper(void *unused) {
    (void)unused;
    for (;; sleeps++) {
        struct timespec t = {0, 3000000};
        int64_t before = now_us();
        /* Only a handler may interrupt it, and all handlers run in the main thread. */
        if (nanosleep(&t, NULL) != 0) fail("nanosleep was interrupted");
        if (now_us() - before < 3000) fail("nanosleep ended early");
    }
    return NULL;
}

static void *poller(void *unused) {
    (void)unused;
    for (;; polls++) {
        int64_t before = now_us();
        struct timespec t = {0, 2000000};
        int n = polls % 2 ? poll(NULL, 0, 2) : ppoll(NULL, 0, &t, NULL);
        if (n != 0) fail("poll did not answer 0");
        if (now_us() - before < 1900) fail("poll ended early");
    }
    return NULL;
}

static int there[2], back[2];

static void *echo(void *unused) {
    (void)unused;
    char byte;
    for (;;) {
        if (read(there[0], &byte, 1) != 1) fail("a blocking read was interrupted");
        if (write(back[1], &byte, 1) != 1) fail("a write was interrupted");
    }
    return NULL;
}

static void *pinger(void *unused) {
    (void)unused;
    for (;; pipes++) {
        char byte = (char)pipes, answer = 0;
        if (write(there[1], &byte, 1) != 1) fail("a write was interrupted");
        if (read(back[0], &answer, 1) != 1) fail("a blocking read was interrupted");
        if (answer != byte) fail("a byte changed on its way");
        usleep(500);
    }
    return NULL;
}

static void *clock_watcher(void *unused) {
    (void)unused;
    int64_t last = now_us();
    for (;;) {
        usleep(200);
        int64_t now = now_us();
        if (now - last > longest_gap) longest_gap = now - last;
        last = now;
    }
    return NULL;
}

static void on_alarm(int signal) {
    (void)signal;
    alarms++;
}

static void on_kick(int signal) { (void)signal; }

enum { NONE, SPIN, SLEEP };
static int on_exit_do = NONE;

static void handle_exit(void) {
    int64_t until = now_us() + 3000;
    if (on_exit_do == SLEEP) usleep(3000);
    while (on_exit_do == SPIN && now_us() < until)
        ;
}

static pthread_mutex_t pausing = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resumed = PTHREAD_COND_INITIALIZER;

static void *run_vcpu(void *argument) {
    int n = (int)(intptr_t)argument;
    for (;; runs++) {
        pthread_mutex_lock(&pausing);
        while (paused) pthread_cond_wait(&resumed, &pausing);
        pthread_mutex_unlock(&pausing);
        if (runs > 0) handle_exit();
        if (ioctl(vcpus[n], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN) {
            fail("KVM_RUN failed");
            sleep(1);
        }
    }
    return NULL;
}

static void make_vm(void) {
    /* Real mode, from 0x1000: inc dword [0x2000]; jmp back. */
    static const uint8_t code[] = {0x66, 0xff, 0x06, 0x00, 0x20, 0xeb, 0xf9};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) die("/dev/kvm");
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0) die("KVM_CREATE_VM");
    if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) die("KVM_CREATE_IRQCHIP");
    guest = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memcpy(guest + 0x1000, code, sizeof code);
    /* out %al, $0x80; jmp back. */
    if (on_exit_do != NONE) memcpy(guest + 0x1000, "\xe6\x80\xeb\xfc", 4);
    struct kvm_userspace_memory_region region = {0, 0, 0, 0x10000, (uintptr_t)guest};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) die("KVM_SET_USER_MEMORY_REGION");
    for (int n = 0; n < VCPUS; n++) {
        vcpus[n] = ioctl(vm, KVM_CREATE_VCPU, n);
        if (vcpus[n] < 0) die("KVM_CREATE_VCPU");
    }
    struct kvm_sregs sregs;
    ioctl(vcpus[0], KVM_GET_SREGS, &sregs);
    sregs.cs.base = sregs.cs.selector = 0;
    ioctl(vcpus[0], KVM_SET_SREGS, &sregs);
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
    ioctl(vcpus[0], KVM_SET_REGS, &regs);
    struct kvm_irqchip pic = {.chip_id = 0};
    ioctl(vm, KVM_GET_IRQCHIP, &pic);
    pic.chip.pic.imr = 0xa5;
    pic.chip.pic.irq_base = 0x20;
    ioctl(vm, KVM_SET_IRQCHIP, &pic);
    struct kvm_irq_level level = {.irq = 5, .level = 1};
    ioctl(vm, KVM_IRQ_LINE, &level);
}

static void print_chip(int id, const char *name, size_t size) {
    struct kvm_irqchip chip = {.chip_id = id};
    ioctl(vm, KVM_GET_IRQCHIP, &chip);
    printf("%s=", name);
    for (size_t i = 0; i < size; i++) printf("%02x", ((uint8_t *)&chip.chip)[i]);
    putchar(' ');
}

static pthread_t vcpu_threads[VCPUS];

static void answer(const char *command) {
    if (strcmp(command, "chips") == 0) {
        print_chip(0, "pic1", 16);
        print_chip(1, "pic2", 16);
        print_chip(2, "ioapic", 216);
        puts("");
    } else if (strcmp(command, "status") == 0) {
        const char *what = trouble;
        printf("checks=%ld sleeps=%ld polls=%ld pipes=%ld alarms=%ld runs=%ld trouble=%s\n", checks,
               sleeps, polls, pipes, alarms, runs, what ? what : "ok");
    } else if (strcmp(command, "gap") == 0) {
        printf("%ld\n", atomic_exchange(&longest_gap, 0));
    } else if (strcmp(command, "pause") == 0) {
        paused = 1;
        for (int n = 0; n < VCPUS; n++) pthread_kill(vcpu_threads[n], SIGUSR1);
        usleep(10000);
        puts("paused");
    } else if (strcmp(command, "resume") == 0) {
        pthread_mutex_lock(&pausing);
        paused = 0;
        pthread_cond_broadcast(&resumed);
        pthread_mutex_unlock(&pausing);
        puts("resumed");
    } else if (strcmp(command, "exec") == 0) {
        puts("bye");
        fflush(stdout);
        execlp("sleep", "sleep", "1000", NULL);
    }
    fflush(stdout);
}

static int on_userfaultfd;

/* Waits with little of the stack's pages left that are there. */
static __attribute__((noinline)) int wait_deep(struct pollfd *in, const sigset_t *mask) {
    volatile char room[12 << 10];
    (void)room;
    room[0] = 0;
    return ppoll(in, 1, NULL, mask);
}

static void serve(void) {
    char line[64];
    size_t length = 0;
    for (;;) {
        /* Signals come here, and none may be lost: ppoll lets them in, everything else keeps them out. */
        sigset_t none;
        sigemptyset(&none);
        struct pollfd in = {0, POLLIN, 0};
        int n = on_userfaultfd ? wait_deep(&in, &none) : ppoll(&in, 1, NULL, &none);
        if (n < 0 && errno != EINTR) fail("ppoll failed");
        if (n <= 0) continue;
        char byte;
        if (read(0, &byte, 1) != 1) exit(0);
        if (byte != '\n') {
            if (length < sizeof line - 1) line[length++] = byte;
            continue;
        }
        line[length] = 0;
        length = 0;
        answer(line);
    }
}

static void filter_system_calls(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("PR_SET_NO_NEW_PRIVS");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        die("seccomp");
}

/* With a guard below, as stacks have it; of its pages only the upper four are there. */
static void *stack_on_userfaultfd(size_t size) {
    uint8_t *stack = mmap(NULL, size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack += 4096;
    mprotect(stack, size, PROT_READ | PROT_WRITE);
    memset(stack + size - (16 << 10), 1, 16 << 10);
    on_userfaultfd = 1;
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    if (ioctl(fd, UFFDIO_API, &api) != 0) die("UFFDIO_API");
    struct uffdio_register range = {.range = {(uintptr_t)stack, size}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(fd, UFFDIO_REGISTER, &range) != 0) die("UFFDIO_REGISTER");
    return stack;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    on_exit_do = strcmp(mode, "spin") == 0 ? SPIN : strcmp(mode, "sleep") == 0 ? SLEEP : NONE;
    make_vm();
    if (pipe(there) != 0 || pipe(back) != 0) die("pipe");
    struct sigaction alarm_action = {.sa_handler = on_alarm}, kick_action = {.sa_handler = on_kick};
    sigaction(SIGALRM, &alarm_action, NULL);
    sigaction(SIGUSR1, &kick_action, NULL);
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm_only, NULL);
    void *(*const workers[])(void *) = {sleeper, poller, echo, pinger, clock_watcher, checker};
    int calm = strcmp(mode, "calm") == 0 || on_exit_do != NONE;
    pthread_t thread;
    for (size_t i = 0; i < sizeof workers / sizeof *workers - calm; i++)
        pthread_create(&thread, NULL, workers[i], NULL);
    int heap = strcmp(mode, "heap-stack") == 0, uffd = strcmp(mode, "uffd-stack") == 0;
    for (intptr_t n = 0; n < VCPUS; n++) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        if (heap) pthread_attr_setstack(&attributes, aligned_alloc(4096, 1 << 17), 1 << 17);
        pthread_create(&vcpu_threads[n], &attributes, run_vcpu, (void *)n);
    }
    struct itimerval every = {{0, 5000}, {0, 5000}};
    setitimer(ITIMER_REAL, &every, NULL);
    if (strcmp(mode, "seccomp") == 0) filter_system_calls();
    printf("ready vm_fd=%d counter=%p\n", vm, (void *)(guest + COUNTER));
    fflush(stdout);
    if (heap || uffd) {
        static ucontext_t here, there_context;
        getcontext(&there_context);
        there_context.uc_stack.ss_sp = heap ? malloc(1 << 16) : stack_on_userfaultfd(1 << 16);
        there_context.uc_stack.ss_size = 1 << 16;
        there_context.uc_link = &here;
        makecontext(&there_context, serve, 0);
        swapcontext(&here, &there_context);
    }
    serve();
}
