/* Runs a model on a painted stack and writes how many bytes below the stack pointer of the call were touched. */
#include "board.c"
#include "m.h"

enum { PAINT = 0xa5, ROOM = 1 << 15 };
static unsigned char stack[ROOM] __attribute__((aligned(16)));

/* A call of m_run with another stack. Nothing is kept in registers of floats meanwhile. */
__attribute__((noinline)) static int run(const void *const *in, void *const *out, void *arena) {
#if defined(__arm__)
    register intptr_t a __asm__("r0") = (intptr_t)in;
    register intptr_t b __asm__("r1") = (intptr_t)out;
    register intptr_t c __asm__("r2") = (intptr_t)arena;
    register unsigned char *top __asm__("r4") = stack + ROOM;
    __asm__ volatile("mov r5, sp\n\tmov sp, r4\n\tbl m_run\n\tmov sp, r5"
                     : "+r"(a), "+r"(b), "+r"(c), "+r"(top) : : "r3", "r5", "r12", "lr", "cc", "memory");
#else
    register intptr_t a __asm__("a0") = (intptr_t)in;
    register intptr_t b __asm__("a1") = (intptr_t)out;
    register intptr_t c __asm__("a2") = (intptr_t)arena;
    register unsigned char *top __asm__("s2") = stack + ROOM;
    __asm__ volatile("mv s3, sp\n\tmv sp, s2\n\tcall m_run\n\tmv sp, s3"
                     : "+r"(a), "+r"(b), "+r"(c), "+r"(top)
                     : : "s3", "ra", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "memory");
#endif
    return (int)a;
}

static int drive(void) {
    const void *in[] = {room(m_INPUT_0_BYTES)};
    void *out[] = {room(m_OUTPUT_0_BYTES)}, *arena = room((m_ARENA_BYTES + 63) / 64 * 64);
    if (!take((void *)in[0], m_INPUT_0_BYTES)) return 102;
    for (int i = 0; i < ROOM; i++) ((volatile unsigned char *)stack)[i] = PAINT;
    int status = run(in, out, arena), untouched = 0;
    while (untouched < ROOM && ((volatile unsigned char *)stack)[untouched] == PAINT) untouched++;
    uint32_t touched = (uint32_t)(ROOM - untouched);
    if (!untouched || !intact()) return 103;
    return status ? status : give(&touched, sizeof touched) ? 0 : 105;
}
