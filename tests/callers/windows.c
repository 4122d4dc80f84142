/* Runs a model and walks from each of its instructions to main by Windows' tables. */
#include <windows.h>
#include <stdio.h>
#include "m.h"

int main(void);
static long steps, lost;
static volatile int on;

static int walk(CONTEXT context) {
    for (int depth = 0; depth < 64 && context.Rip; depth++) {
        DWORD64 base, frame;
        void *data;
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(context.Rip, &base, 0);
        if (function && base + function->BeginAddress == (DWORD64)&main) return 1;
        if (function) {
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, context.Rip, function, &context, &data, &frame, 0);
        } else {
            context.Rip = *(DWORD64 *)context.Rsp;
            context.Rsp += 8;
        }
    }
    return 0;
}

static LONG CALLBACK step(EXCEPTION_POINTERS *e) {
    if (e->ExceptionRecord->ExceptionCode != EXCEPTION_SINGLE_STEP) return EXCEPTION_CONTINUE_SEARCH;
    if (on) {
        steps++;
        if (!walk(*e->ContextRecord) && !lost++)
            printf("lost at m_run%+lld\n", (long long)(e->ContextRecord->Rip - (DWORD64)&m_run));
        e->ContextRecord->EFlags |= 0x100;
    }
    return EXCEPTION_CONTINUE_EXECUTION;
}

int main(void) {
    static _Alignas(m_ARENA_ALIGN) unsigned char arena[m_ARENA_BYTES + m_ARENA_ALIGN];
    static unsigned char input[m_INPUT_0_BYTES], output[m_OUTPUT_0_BYTES];
    const void *inputs[] = { input };
    void *outputs[] = { output };
    AddVectoredExceptionHandler(1, step);
    on = 1;
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
    int status = m_run(inputs, outputs, arena);
    on = 0;
    printf("%ld places, %ld of them without a way to main\n", steps, lost);
    return status ? status : lost != 0 || steps == 0;
}
