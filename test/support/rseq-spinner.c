/*
 * A thread that never leaves a restartable sequence but through its abort handler, where it enters it again.
 * Prints the addresses of the sequence, its end and its abort handler.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <sys/rseq.h>
#include <unistd.h>

void spin(void *rseq_cs), sequence(void), sequence_end(void), sequence_abort(void);
__asm__(".text\n"
        "spin:\n"
        "  lea descriptor(%rip), %rax\n"
        "  mov %rax, (%rdi)\n"
        "sequence:\n"
        "  jmp sequence\n"
        "sequence_end:\n"
        "  .long 0x53053053\n" /* RSEQ_SIG */
        "sequence_abort:\n"
        "  jmp spin\n"
        ".data\n"
        ".balign 32\n"
        "descriptor:\n"
        "  .long 0, 0\n"
        "  .quad sequence, sequence_end - sequence, sequence_abort\n"
        ".text\n");

int main(void) {
    struct rseq *rseq = (struct rseq *)((uint8_t *)__builtin_thread_pointer() + __rseq_offset);
    printf("sequence=%p end=%p abort=%p registered=%d\n", (void *)sequence, (void *)sequence_end,
           (void *)sequence_abort, __rseq_size != 0);
    fflush(stdout);
    spin(&rseq->rseq_cs);
}
