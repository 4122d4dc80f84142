/* Runs a decoder token by token, with its cache, and compares scores and tokens with ONNX Runtime's: see run.sh. */
#include <math.h>
#include <stdio.h>

#include "../npy.h"
#include "decoder.h"

enum { STEPS = 31, TOKENS = decoder_OUTPUT_0_ELEMENTS, CACHES = decoder_INPUTS - 1 };

static int64_t expected_tokens[STEPS];
static float expected[STEPS][TOKENS], scores[TOKENS];
/* Keys and values of the layers: what a step reads and what it writes, in turn. */
static float caches[2][CACHES][decoder_OUTPUT_1_ELEMENTS];
static unsigned char arena[decoder_ARENA_BYTES + decoder_ARENA_ALIGN];

int main(int argc, char **argv) {
    if (argc != 3 || !read_npy(argv[1], expected_tokens, sizeof expected_tokens) ||
        !read_npy(argv[2], expected, sizeof expected)) {
        fprintf(stderr, "usage: %s TOKENS.npy SCORES.npy\n", argv[0]);
        return 2;
    }
    void *aligned = (void *)(((uintptr_t)arena + decoder_ARENA_ALIGN - 1) & ~(uintptr_t)(decoder_ARENA_ALIGN - 1));
    int64_t token = expected_tokens[0];
    int same = 0;
    double farthest = 0.0;
    for (int step = 0; step < STEPS; step++) {
        const void *inputs[decoder_INPUTS] = {&token};
        void *outputs[decoder_OUTPUTS] = {scores};
        for (int i = 0; i < CACHES; i++) {
            inputs[i + 1] = caches[step % 2][i];
            outputs[i + 1] = caches[(step + 1) % 2][i];
        }
        /* The cache has an element for each token before this one. */
        decoder_sizes sizes = {step};
        same += token == expected_tokens[step];
        int status = decoder_run(inputs, outputs, aligned, &sizes);
        if (status != decoder_OK) {
            fprintf(stderr, "decoder_run: status %d\n", status);
            return 1;
        }
        token = 0;
        for (int i = 0; i < TOKENS; i++) {
            farthest = fmax(farthest, fabs(scores[i] - expected[step][i]));
            if (scores[i] > scores[token]) token = i;
        }
    }
    printf("%d of %d tokens are those of ONNX Runtime, scores differ by %.1e at most\n", same, STEPS, farthest);
    return same == STEPS && farthest < 1e-4 ? 0 : 1;
}
