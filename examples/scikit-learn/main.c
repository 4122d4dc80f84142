/* Runs a model of scikit-learn on all flowers and compares labels and probabilities with its own: see run.sh. */
#include <math.h>
#include <stdio.h>

#include "../npy.h"
#include "model.h"

enum { FLOWERS = model_OUTPUT_0_ELEMENTS, KINDS = model_OUTPUT_1_ELEMENTS / model_OUTPUT_0_ELEMENTS };

static float flowers[model_INPUT_0_ELEMENTS], probabilities[FLOWERS * KINDS], expected[FLOWERS * KINDS];
static int64_t labels[FLOWERS], expected_labels[FLOWERS];
static unsigned char arena[model_ARENA_BYTES + model_ARENA_ALIGN];

int main(int argc, char **argv) {
    if (argc != 4 || !read_npy(argv[1], flowers, sizeof flowers) ||
        !read_npy(argv[2], expected_labels, sizeof expected_labels) ||
        !read_npy(argv[3], expected, sizeof expected)) {
        fprintf(stderr, "usage: %s FLOWERS.npy LABELS.npy PROBABILITIES.npy\n", argv[0]);
        return 2;
    }
    const void *inputs[] = {flowers};
    void *outputs[] = {labels, probabilities};
    void *aligned = (void *)(((uintptr_t)arena + model_ARENA_ALIGN - 1) & ~(uintptr_t)(model_ARENA_ALIGN - 1));
    int status = model_run(inputs, outputs, aligned);
    if (status != model_OK) {
        fprintf(stderr, "model_run: status %d\n", status);
        return 1;
    }
    int same = 0;
    double farthest = 0.0;
    for (int i = 0; i < FLOWERS; i++) same += labels[i] == expected_labels[i];
    for (int i = 0; i < FLOWERS * KINDS; i++) farthest = fmax(farthest, fabs(probabilities[i] - expected[i]));
    printf("%d of %d labels are those of scikit-learn, probabilities differ by %.1e at most\n", same, FLOWERS, farthest);
    return same == FLOWERS && farthest < 1e-5 ? 0 : 1;
}
