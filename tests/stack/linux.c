/* Runs a model on a painted stack, at every place modulo 64 that a stack pointer may have, and on x86-64 one instruction at a
 * time: nothing beyond what the header says is written, and the stack pointer goes as low as it says. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include "m.h"

enum { PAINT = 0xa5, BEYOND = 4096, ROOM = (m_STACK_BYTES + 63) / 64 * 64 };
static _Alignas(64) unsigned char stack[BEYOND + ROOM + 4096];
static _Alignas(m_ARENA_ALIGN) unsigned char arena[m_ARENA_BYTES];
static _Alignas(16) unsigned char input[m_INPUT_0_BYTES], output[m_OUTPUT_0_BYTES];
static const void *inputs[] = { input };
static void *outputs[] = { output };
static uintptr_t lowest;

#ifdef __x86_64__
static volatile int on;
static void step(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = (uintptr_t)registers[REG_RSP];
    if (at >= (uintptr_t)stack && at < (uintptr_t)stack + sizeof stack && at < lowest) lowest = at;
    registers[REG_EFL] = on ? registers[REG_EFL] | 0x100 : registers[REG_EFL] & ~0x100;
}

/* A call of m_run with another stack. */
static int run(unsigned char *top) {
    int status;
    void *scratch = arena;
    register unsigned char *below __asm__("rbx") = top;
    __asm__ volatile("xchg %%rbx, %%rsp\n\tcall m_run\n\tmov %%rbx, %%rsp"
                     : "=a"(status), "+d"(scratch), "+r"(below)
                     : "D"(inputs), "S"(outputs)
                     : "rcx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return status;
}
#else
static int run(unsigned char *top) {
    register long a __asm__("x0") = (long)inputs, b __asm__("x1") = (long)outputs, c __asm__("x2") = (long)arena;
    register unsigned char *below __asm__("x19") = top;
    __asm__ volatile("mov x20, sp\n\tmov sp, x19\n\tbl m_run\n\tmov sp, x20"
                     : "+r"(a), "+r"(b), "+r"(c), "+r"(below)
                     :
                     : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
                       "x20", "x30", "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10",
                       "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
                       "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    return (int)a;
}
#endif

int main(void) {
    static unsigned char handlers[1 << 16];
    stack_t other = { .ss_sp = handlers, .ss_size = sizeof handlers };
    sigaltstack(&other, 0);
    long deepest = 0, touched = 0;
    for (int above = 0; above < 64; above += 16) {
        unsigned char *top = stack + sizeof stack - 64 - above;
        memset(stack, PAINT, sizeof stack);
        lowest = (uintptr_t)top;
#ifdef __x86_64__
        struct sigaction action = { .sa_sigaction = step, .sa_flags = SA_SIGINFO | SA_ONSTACK };
        sigaction(SIGTRAP, &action, 0);
        on = 1;
        raise(SIGTRAP);
#endif
        int status = run(top);
#ifdef __x86_64__
        on = 0;
        raise(SIGTRAP);
#endif
        if (status) return 2;
        const unsigned char *at = stack;
        while (at < top && *at == PAINT) at++;
        if (top - at > touched) touched = top - at;
        if ((long)((uintptr_t)top - lowest) > deepest) deepest = (long)((uintptr_t)top - lowest);
    }
    printf("%ld said, %ld taken, %ld written\n", (long)m_STACK_BYTES, deepest, touched);
    return 0;
}
