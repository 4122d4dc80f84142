/* Finds squares in a picture, prints their boxes and compares them with ONNX Runtime's: see run.sh. */
#include <math.h>
#include <stdio.h>

#include "../npy.h"
#include "detector.h"

enum { EXPECTED = 5, MOST = detector_OUTPUT_1_ELEMENTS };

static const char *const names[] = {"red", "green", "blue"};
static uint8_t picture[detector_INPUT_0_ELEMENTS];
static float expected_boxes[EXPECTED][4], expected_scores[EXPECTED], boxes[MOST][4], scores[MOST];
static int64_t expected_classes[EXPECTED], classes[MOST];
static unsigned char arena[detector_ARENA_BYTES + detector_ARENA_ALIGN];

int main(int argc, char **argv) {
    if (argc != 5 || !read_npy(argv[1], picture, sizeof picture) ||
        !read_npy(argv[2], expected_boxes, sizeof expected_boxes) ||
        !read_npy(argv[3], expected_scores, sizeof expected_scores) ||
        !read_npy(argv[4], expected_classes, sizeof expected_classes)) {
        fprintf(stderr, "usage: %s PICTURE.npy BOXES.npy SCORES.npy CLASSES.npy\n", argv[0]);
        return 2;
    }
    void *aligned = (void *)(((uintptr_t)arena + detector_ARENA_ALIGN - 1) & ~(uintptr_t)(detector_ARENA_ALIGN - 1));
    const void *inputs[] = {picture};
    void *outputs[] = {boxes, scores, classes};
    /* How many boxes are left is counted by the call, which tells it here. */
    detector_sizes sizes = {0};
    int status = detector_run(inputs, outputs, aligned, &sizes);
    if (status != detector_OK) {
        fprintf(stderr, "detector_run: status %d\n", status);
        return 1;
    }
    int found = (int)detector_OUTPUT_1_ELEMENTS_OF(&sizes), same = found == EXPECTED;
    double farthest = 0.0;
    for (int i = 0; i < found; i++) {
        const float *box = boxes[i];
        printf("%-5s %.3f  %4.1f %4.1f  %4.1f %4.1f\n", names[classes[i]], scores[i], box[0], box[1], box[2], box[3]);
        if (!same) continue;
        same = classes[i] == expected_classes[i];
        farthest = fmax(farthest, fabs(scores[i] - expected_scores[i]));
        for (int j = 0; j < 4; j++) farthest = fmax(farthest, fabs(box[j] - expected_boxes[i][j]));
    }
    printf("%d of %d boxes are %s of ONNX Runtime, at most %.1e apart\n", found, EXPECTED, same ? "those" : "not those",
           farthest);
    return same && farthest < 1e-3 ? 0 : 1;
}
