/* Prints the sine of a few numbers as the model computes it. Every package builds this program. */
#include <stdio.h>

#include <sine.h>

static unsigned char memory[sine_ARENA_BYTES + sine_ARENA_ALIGN];

static int table(void) {
    void *arena = (void *)(((uintptr_t)memory + sine_ARENA_ALIGN - 1) / sine_ARENA_ALIGN * sine_ARENA_ALIGN);
    for (int i = 0; i <= 6; i++) {
        float x = (float)i, y = 0;
        const void *inputs[] = {&x};
        void *outputs[] = {&y};
        int status = sine_run(inputs, outputs, arena);
        if (status != sine_OK) return status;
        printf("sine of %d: %d thousandths\n", i, (int)(y * 1000 + (y < 0 ? -0.5f : 0.5f)));
    }
    return 0;
}

#ifdef ESP_PLATFORM
void app_main(void) { table(); }
#else
int main(void) { return table(); }
#endif
