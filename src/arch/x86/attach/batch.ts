/**
 * Code for x86-64 that makes system calls one after the other: `int run(step *first, step **last)`, as bsearch(3) calls
 * its comparison. It stops at the first step that falls short, and leaves its address in `*last`; that of `last` itself
 * where none does. It always returns 1.
 *
 *     f3 0f 1e fa       endbr64
 *     53                push %rbx
 *     55                push %rbp
 *     48 89 fb          mov %rdi, %rbx
 *     48 89 f5          mov %rsi, %rbp
 *     48 39 eb       1: cmp %rbp, %rbx
 *     74 3f             je 3f
 *     48 8b 03          mov (%rbx), %rax        the call's number
 *     48 8b 7b 08       mov 8(%rbx), %rdi       and its arguments
 *     48 8b 73 10       mov 16(%rbx), %rsi
 *     48 8b 53 18       mov 24(%rbx), %rdx
 *     4c 8b 53 20       mov 32(%rbx), %r10
 *     4c 8b 43 28       mov 40(%rbx), %r8
 *     4c 8b 4b 30       mov 48(%rbx), %r9
 *     0f 05             syscall
 *     48 89 43 38       mov %rax, 56(%rbx)      what it returned
 *     48 3b 43 40       cmp 64(%rbx), %rax      and the least that it must
 *     7c 18             jl 3f
 *     48 8b 4b 48       mov 72(%rbx), %rcx      how many bytes must be
 *     e3 0c             jrcxz 2f
 *     48 8b 73 50       mov 80(%rbx), %rsi      the same here
 *     48 8b 7b 58       mov 88(%rbx), %rdi      and there
 *     f3 a6             repe cmpsb
 *     75 06             jne 3f
 *     48 83 c3 60    2: add $96, %rbx
 *     eb bc             jmp 1b
 *     48 89 5d 00    3: mov %rbx, (%rbp)
 *     5d                pop %rbp
 *     5b                pop %rbx
 *     b8 01 00 00 00    mov $1, %eax
 *     c3                ret
 *
 * Behind it stands `void interrupt(int, siginfo_t *, ucontext_t *)`, a signal's handler that ends the call which the
 * code above is in with EINTR, also one that the kernel would make again by itself:
 *
 *     f3 0f 1e fa               endbr64
 *     48 8d 05 c5 ff ff ff      lea (the syscall above), %rax
 *     48 39 82 a8 00 00 00      cmp %rax, 168(%rdx)         rip, on the call that is to be made again
 *     75 13                     jne 1f
 *     48 83 82 a8 00 00 00 02   addq $2, 168(%rdx)
 *     48 c7 82 90 00 00 00 fc ff ff ff   movq $-4, 144(%rdx)        rax
 *     c3                     1: ret
 */
export const BATCH_CODE = /* @__PURE__ */ Buffer.from(
  "f30f1efa53554889fb4889f54839eb743f488b03488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f054889" +
    "4338483b43407c18488b4b48e30c488b7350488b7b58f3a675064883c360ebbc48895d005d5bb801000000c3f30f1efa" +
    "488d05c5ffffff483982a80000007513488382a80000000248c78290000000fcffffffc3",
  "hex",
);

/** Where the handler stands in it. */
export const BATCH_HANDLER = 0x5c;
