/* Runs a model and, before each of its instructions or where it reads what it may not, walks from there to main. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>
#include "m.h"

int main(void);
static long steps, lost;

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *found) {
    if (_Unwind_GetRegionStart(context) != (uintptr_t)&main) return _URC_NO_REASON;
    *(int *)found = 1;
    return _URC_END_OF_STACK;
}

static void walk(const char *where, uintptr_t pc) {
    int found = 0;
    _Unwind_Backtrace(frame, &found);
    steps++;
    if (!found && !lost++) printf("lost at m_run%+ld, %s\n", (long)(pc - (uintptr_t)&m_run), where);
}

static int end(void) {
    printf("%ld places, %ld of them without a way to main\n", steps, lost);
    return lost != 0 || steps == 0;
}

static _Alignas(m_ARENA_ALIGN) unsigned char arena[m_ARENA_BYTES + m_ARENA_ALIGN];
static unsigned char output[m_OUTPUT_0_BYTES];

#ifdef __x86_64__
/* The trap flag: a signal behind each instruction. */
static volatile int on;
static void step(int signal, siginfo_t *info, void *context) {
    ucontext_t *at = context;
    (void)signal, (void)info;
    if (on) walk("a step", (uintptr_t)at->uc_mcontext.gregs[REG_RIP]);
    at->uc_mcontext.gregs[REG_EFL] = on ? at->uc_mcontext.gregs[REG_EFL] | 0x100 : at->uc_mcontext.gregs[REG_EFL] & ~0x100;
}

int main(void) {
    static unsigned char input[m_INPUT_0_BYTES];
    const void *inputs[] = { input };
    void *outputs[] = { output };
    struct sigaction action = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
    sigaction(SIGTRAP, &action, 0);
    on = 1;
    raise(SIGTRAP);
    int status = m_run(inputs, outputs, arena);
    on = 0;
    return status ? status : end();
}
#else
static void fault(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    walk("a fault", 0);
    fflush(stdout);
    int status = end();
    fflush(stdout);
    _exit(status);
}

int main(void) {
    void *input = mmap(0, m_INPUT_0_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const void *inputs[] = { input };
    void *outputs[] = { output };
    struct sigaction action = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO };
    sigaction(SIGSEGV, &action, 0);
    m_run(inputs, outputs, arena);
    puts("it ran without its input");
    return 3;
}
#endif
