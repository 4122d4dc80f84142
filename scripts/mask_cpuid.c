/* What `cpuid` says, without AVX-512, VNNI and what came with them: for a library whose `cpuid` instructions have become `ud2`.
 * See mask_cpuid.py, which makes such a copy and loads this first. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

/* Bits of leaf 7. EBX: AVX512F, DQ, IFMA, PF, ER, CD, BW, VL. ECX: VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ. EDX: 4VNNIW, 4FMAPS,
 * VP2INTERSECT, AMX, FP16. Of its second part EAX: AVX-VNNI, AVX512_BF16; EDX: AVX-VNNI-INT8, -INT16. */
enum {
    EBX = 1 << 16 | 1 << 17 | 1 << 21 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 30,
    ECX = 1 << 1 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 14,
    EDX = 1 << 2 | 1 << 3 | 1 << 8 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25,
    EAX_1 = 1 << 4 | 1 << 5,
    EDX_1 = 1 << 4 | 1 << 10,
};

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX], a, b, c, d;
    (void)info;
    if (code[0] != 0x0f || code[1] != 0x0b) {
        signal(signal_number, SIG_DFL);
        return;
    }
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {
        b &= ~((unsigned)EBX | 1u << 31);
        c &= ~(unsigned)ECX;
        d &= ~(unsigned)EDX;
    } else if (leaf == 7 && part == 1) {
        a &= ~(unsigned)EAX_1;
        d &= ~(unsigned)EDX_1;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action = {0};
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, NULL);
}
