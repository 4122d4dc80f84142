/* Classifies a photo with a compiled model: see run.sh. */
#include <stdio.h>

#include "cifar10.h"

static cifar10_INPUT_0_CTYPE pixels[cifar10_INPUT_0_ELEMENTS];
static cifar10_OUTPUT_0_CTYPE probabilities[cifar10_OUTPUT_0_ELEMENTS];
/* Room to align the arena by hand, so that this is C99. */
static unsigned char arena[cifar10_ARENA_BYTES + cifar10_ARENA_ALIGN];

static const char *const classes[] = {"airplane", "automobile", "bird", "cat", "deer",
                                      "dog", "frog", "horse", "ship", "truck"};

/* Reads a binary PPM of 32 x 32 pixels into [-1, 1], the order being the model's: row, column, colour. */
static int read_photo(const char *path) {
    unsigned char bytes[cifar10_INPUT_0_ELEMENTS];
    int width = 0, height = 0, largest = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    int good = fscanf(file, "P6 %d %d %d", &width, &height, &largest) == 3 && fgetc(file) != EOF && width == 32 &&
               height == 32 && largest == 255 && fread(bytes, 1, sizeof bytes, file) == sizeof bytes;
    fclose(file);
    for (size_t i = 0; good && i < sizeof bytes; i++) pixels[i] = (float)bytes[i] / 127.5f - 1.0f;
    return good;
}

int main(int argc, char **argv) {
    if (argc != 2 || !read_photo(argv[1])) {
        fprintf(stderr, "usage: %s PHOTO.ppm    a binary PPM of 32 x 32 pixels\n", argv[0]);
        return 2;
    }
    const void *inputs[] = {pixels};
    void *outputs[] = {probabilities};
    void *aligned = (void *)(((uintptr_t)arena + cifar10_ARENA_ALIGN - 1) & ~(uintptr_t)(cifar10_ARENA_ALIGN - 1));
    int status = cifar10_run(inputs, outputs, aligned);
    if (status != cifar10_OK) {
        fprintf(stderr, "cifar10_run: status %d\n", status);
        return 1;
    }
    int best = 0;
    for (int i = 1; i < 10; i++)
        if (probabilities[i] > probabilities[best]) best = i;
    printf("%s: %s, probability %.3f\n", argv[1], classes[best], probabilities[best]);
    return 0;
}
