/* Runs a model by ONNX Runtime's library as often as is asked: ort_aarch64 MODEL RUNS INPUT OUTPUT, where INPUT is a text of lines
 * "name type rank extents... file" and OUTPUT takes the bytes of the first output. Its C API has no header in the wheel, so the
 * few functions of its table that are used stand here by their places, which never change. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const void *const *(*api)(uint32_t version); const char *(*version)(void); } base;
const base *OrtGetApiBase(void);
typedef void *status;

static const void *const *api;
enum { GET_ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_SESSION_OPTIONS = 10, SEVERITY = 22, THREADS = 24,
    OUTPUT_COUNT = 31, OUTPUT_NAME = 37, TENSOR_WITH_DATA = 49, DATA = 51, ELEMENTS = 64, SHAPE_OF = 65,
    MEMORY = 69, ALLOCATOR = 78 };

static void good(status s) {
    if (!s) return;
    fprintf(stderr, "%s\n", ((const char *(*)(status))api[GET_ERROR_MESSAGE])(s));
    exit(1);
}
#define CALL(place, types, ...) good(((status (*) types)api[place])(__VA_ARGS__))

int main(int argc, char **argv) {
    void *env, *options, *session, *memory, *allocator, *shape;
    void *inputs[64];
    char names[64][256], file[4096];
    const char *input_names[64];
    size_t count = 0, outputs, elements;
    int type, rank;
    if (argc != 5) return 2;
    api = OrtGetApiBase()->api(1);
    CALL(CREATE_ENV, (int, const char *, void **), 3, "bench", &env);
    CALL(CREATE_SESSION_OPTIONS, (void **), &options);
    CALL(SEVERITY, (void *, int), options, 3);
    CALL(THREADS, (void *, int), options, 1);
    CALL(CREATE_SESSION, (void *, const char *, void *, void **), env, argv[1], options, &session);
    CALL(MEMORY, (int, int, void **), 0, 0, &memory);
    CALL(ALLOCATOR, (void **), &allocator);
    FILE *list = fopen(argv[3], "r");
    if (!list) return 3;
    while (count < 64 && fscanf(list, "%255s %d %d", names[count], &type, &rank) == 3) {
        int64_t extents[16];
        for (int i = 0; i < rank && i < 16; i++) if (fscanf(list, "%ld", &extents[i]) != 1) return 3;
        if (fscanf(list, "%4095s", file) != 1) return 3;
        FILE *from = fopen(file, "rb");
        if (!from || fseek(from, 0, SEEK_END)) return 3;
        size_t bytes = (size_t)ftell(from);
        void *data = malloc(bytes + 1);
        rewind(from);
        if (!data || fread(data, 1, bytes, from) != bytes) return 3;
        fclose(from);
        CALL(TENSOR_WITH_DATA, (void *, void *, size_t, const int64_t *, size_t, int, void **), memory, data, bytes, extents,
             (size_t)rank, type, &inputs[count]);
        input_names[count] = names[count];
        count++;
    }
    fclose(list);
    CALL(OUTPUT_COUNT, (void *, size_t *), session, &outputs);
    if (outputs > 64) return 4;
    const char *output_names[64];
    void *results[64] = { 0 };
    for (size_t i = 0; i < outputs; i++)
        CALL(OUTPUT_NAME, (void *, size_t, void *, char **), session, i, allocator, (char **)&output_names[i]);
    int runs = atoi(argv[2]);
    for (int i = 0; i < runs; i++) {
        memset(results, 0, sizeof results);
        CALL(RUN, (void *, void *, const char *const *, void *const *, size_t, const char *const *, size_t, void **), session,
             NULL, input_names, inputs, count, output_names, outputs, results);
    }
    if (runs) {
        float *data;
        CALL(SHAPE_OF, (void *, void **), results[0], &shape);
        CALL(ELEMENTS, (void *, size_t *), shape, &elements);
        CALL(DATA, (void *, void **), results[0], (void **)&data);
        FILE *to = fopen(argv[4], "wb");
        if (!to || fwrite(data, 4, elements, to) != elements || fclose(to)) return 5;
    }
    /* Nothing is taken down: that is not counted. */
    fflush(NULL);
    _Exit(0);
}
