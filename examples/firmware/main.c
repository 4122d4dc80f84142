/* Runs a keyword model on frames of sound and prints the probabilities: on a machine without an operating system by
 * semihosting, on the host by stdio. Both print the same. See run.sh. */
#include "sounds.h"
#include "kws.h"

static kws_INPUT_0_CTYPE input[kws_INPUT_0_ELEMENTS];
static kws_OUTPUT_0_CTYPE output[kws_OUTPUT_0_ELEMENTS];
static _Alignas(kws_ARENA_ALIGN) unsigned char arena[kws_ARENA_BYTES];

#ifdef kws_WEIGHTS_FILE_BYTES
/* Compiled with `--weights file`: kws.weights.bin is not in this program. What starts the machine puts it at an address that
 * is known here as a symbol of the linker script; a program may as well find it in a directory of its flash. */
extern const unsigned char loaded_weights[];
#define RUN(inputs, outputs) kws_run(inputs, outputs, arena, loaded_weights)
#else
#define RUN(inputs, outputs) kws_run(inputs, outputs, arena)
#endif

#if __STDC_HOSTED__
#include <stdio.h>
static void print(const char *text) { fputs(text, stdout); }
#else
/* ARM's semihosting: SYS_WRITE0 prints a string, SYS_EXIT ends the emulator. */
long semihosting(int operation, const void *argument);
static void print(const char *text) { semihosting(0x04, text); }
void finish(int status) {
    const long reason[] = {0x20026 /* the program ended */, status};
    semihosting(0x18, reason);
}

/* What a compiler may call where there is no library. */
void *memcpy(void *to, const void *from, size_t count) {
    for (size_t i = 0; i < count; i++) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}

/* How much of the painted stack was used, in bytes. */
extern const uint64_t stack_begin[], stack_end[];
static size_t used_stack(void) {
    const uint64_t *word = stack_begin;
    while (word < stack_end && *word == 0xa5a5a5a5a5a5a5a5) word++;
    return (size_t)(stack_end - word) * sizeof *word;
}
#endif

static void print_number(uint32_t value) {
    char text[11], *at = text + sizeof text - 1;
    *at = 0;
    do *--at = (char)('0' + value % 10);
    while (value /= 10);
    print(at);
}

int main(void) {
    for (int frame = 0; frame < FRAMES; frame++) {
        for (int i = 0; i < kws_INPUT_0_ELEMENTS; i++)
            input[i] = 32.0f * (float)sounds[frame][i];
        const void *inputs[] = {input};
        void *outputs[] = {output};
        int status = RUN(inputs, outputs);
        if (status != kws_OK) {
            print("kws_run failed with status ");
            print_number((uint32_t)status);
            print("\n");
            return status;
        }
        int best = 0;
        for (int i = 1; i < kws_OUTPUT_0_ELEMENTS; i++)
            if (output[i] > output[best]) best = i;
        print("frame ");
        print_number((uint32_t)frame);
        print(": keyword ");
        print_number((uint32_t)best);
        print(", hundredths of a percent:");
        for (int i = 0; i < kws_OUTPUT_0_ELEMENTS; i++) {
            print(" ");
            print_number((uint32_t)(output[i] * 10000.0f + 0.5f));
        }
        print("\n");
    }
#if !__STDC_HOSTED__
    print("stack: ");
    print_number((uint32_t)used_stack());
    print(" bytes\n");
#endif
    return 0;
}
