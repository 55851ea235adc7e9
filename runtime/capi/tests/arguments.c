/* Wrong arguments, wrong packages and wrong use of threads are codes with a text: arguments PACKAGE
 *
 * PACKAGE takes pixels and has one input and one output of f32, as that of the demo.
 */
#include <edgepack.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void fail(int line, const char *what)
{
    fprintf(stderr, "line %d: %s (last error: %s)\n", line, what, edgepack_last_error());
    failures++;
}

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail(__LINE__, #condition);                                                            \
    } while (0)

/* A status, and a word of the text. */
#define REFUSED(call, status, word)                                                                \
    do {                                                                                           \
        HOLDS((call) == EDGEPACK_STATUS_##status);                                                 \
        HOLDS(strstr(edgepack_last_error(), word) != NULL);                                        \
    } while (0)

enum { RUNS = 300, THREADS = 3 };

/* Whatever threads do to one session at once, each call is done or refused. */
static void *use(void *session)
{
    size_t busy = 0;
    for (int run = 0; run < RUNS; run++) {
        edgepack_status status = edgepack_session_run(session);
        if (status == EDGEPACK_STATUS_BUSY)
            busy++;
        else if (status != EDGEPACK_STATUS_OK)
            return NULL;
    }
    return (void *)(busy + 1);
}

/* A session of its own for each thread, of a model that all share. */
static void *use_own(void *model)
{
    edgepack_session *session;
    size_t samples = 0;
    if (edgepack_session_new(model, 1, &session) != EDGEPACK_STATUS_OK)
        return NULL;
    edgepack_status status = edgepack_session_selftest(session, &samples);
    edgepack_session_free(session);
    return status == EDGEPACK_STATUS_OK && samples > 0 ? model : NULL;
}

static void in_threads(void *(*work)(void *), void *with)
{
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        HOLDS(pthread_create(&threads[index], NULL, work, with) == 0);
    for (int index = 0; index < THREADS; index++) {
        void *done = NULL;
        HOLDS(pthread_join(threads[index], &done) == 0);
        HOLDS(done != NULL);
    }
}

static void packages(const char *path)
{
    edgepack_model *model = (edgepack_model *)path;
    REFUSED(edgepack_model_open(path, NULL), ARGUMENT, "`model` is NULL");
    REFUSED(edgepack_model_open(NULL, &model), ARGUMENT, "`path` is NULL");
    HOLDS(model == NULL);
    REFUSED(edgepack_model_open("/no/such.epk", &model), IO, "/no/such.epk");
    REFUSED(edgepack_model_open("/", &model), IO, "/");
    REFUSED(edgepack_model_open("/dev/null", &model), IO, "/dev/null");
    REFUSED(edgepack_model_from_memory(NULL, 1, &model), ARGUMENT, "`bytes` is NULL");
    REFUSED(edgepack_model_from_memory(path, SIZE_MAX, &model), ARGUMENT, "`size`");
    REFUSED(edgepack_model_from_memory(path, 0, &model), PACKAGE, "memory");
    REFUSED(edgepack_model_from_memory(path, strlen(path), &model), PACKAGE, "memory");
    HOLDS(model == NULL);
    edgepack_model_free(NULL);
    HOLDS(edgepack_model_input_count(NULL) == 0 && edgepack_model_output_count(NULL) == 0);
    HOLDS(edgepack_model_input(NULL, 0) == NULL && edgepack_model_output(NULL, 0) == NULL);
}

/* Each cut of a package, and each with a changed byte, is refused: at some places, for all take long. */
static void damaged_packages(const char *path)
{
    FILE *file = fopen(path, "rb");
    static char bytes[1 << 20];
    size_t size = file == NULL ? 0 : fread(bytes, 1, sizeof bytes, file);
    HOLDS(size > 0 && size < sizeof bytes);
    fclose(file);
    edgepack_model *model;
    for (size_t at = 0; at < size; at += size / 97 + 1) {
        HOLDS(edgepack_model_from_memory(bytes, at, &model) == EDGEPACK_STATUS_PACKAGE && model == NULL);
        bytes[at] ^= 0x10;
        edgepack_status status = edgepack_model_from_memory(bytes, size, &model);
        HOLDS(status == EDGEPACK_STATUS_PACKAGE && model == NULL);
        bytes[at] ^= 0x10;
    }
}

static void sessions(edgepack_model *model)
{
    edgepack_session *session = (edgepack_session *)model;
    REFUSED(edgepack_session_new(model, 1, NULL), ARGUMENT, "`session` is NULL");
    REFUSED(edgepack_session_new(NULL, 1, &session), ARGUMENT, "`model` is NULL");
    HOLDS(session == NULL);
    REFUSED(edgepack_session_new(model, 17, &session), ARGUMENT, "`threads` is 17");
    REFUSED(edgepack_session_new(model, UINT32_MAX, &session), ARGUMENT, "`threads`");
    REFUSED(edgepack_session_run(NULL), ARGUMENT, "`session` is NULL");
    REFUSED(edgepack_session_selftest(NULL, NULL), ARGUMENT, "`session` is NULL");
    edgepack_session_free(NULL);
    HOLDS(edgepack_session_threads(NULL) == 0 && edgepack_session_arena_bytes(NULL) == 0);
    HOLDS(edgepack_session_isa(NULL) == NULL);
}

static void inputs_and_outputs(edgepack_model *model, edgepack_session *session)
{
    const edgepack_tensor *input = edgepack_model_input(model, 0), *output = edgepack_model_output(model, 0);
    HOLDS(edgepack_model_input(model, 1) == NULL && edgepack_model_output(model, SIZE_MAX) == NULL);
    size_t count = input->elements;
    float *values = calloc(count + 1, sizeof *values);
    const uint8_t *pixels = (const uint8_t *)values;
    HOLDS(input->takes_pixels && output->dtype == EDGEPACK_TYPE_F32 && output->exact);
    HOLDS(output->bytes == 4 * output->elements && input->scale > 0 && input->rank > 0);

    HOLDS(edgepack_session_set_input_f32(session, 0, values, count) == EDGEPACK_STATUS_OK);
    REFUSED(edgepack_session_set_input_f32(session, 0, NULL, count), ARGUMENT, "`values` is NULL");
    REFUSED(edgepack_session_set_input_f32(session, 0, values, count - 1), ARGUMENT, "`count`");
    REFUSED(edgepack_session_set_input_f32(session, 0, values, SIZE_MAX), ARGUMENT, "`count`");
    REFUSED(edgepack_session_set_input_f32(session, 1, values, count), ARGUMENT, "`index` is 1");
    REFUSED(edgepack_session_set_input(session, 0, EDGEPACK_TYPE_F32, pixels + 1, count), ARGUMENT, "aligned");
    HOLDS(edgepack_session_set_input_i8(session, 0, (const int8_t *)values, count) == EDGEPACK_STATUS_OK);
    REFUSED(edgepack_session_set_input_i8(session, 0, NULL, count), ARGUMENT, "`elements` is NULL");
    REFUSED(edgepack_session_set_input_pixels(session, 0, pixels, 0), ARGUMENT, "`count` is 0");
    REFUSED(edgepack_session_set_input(session, 0, 12, values, count), ARGUMENT, "`type` is 12");
    REFUSED(edgepack_session_set_input(session, 0, EDGEPACK_TYPE_I32, values, count), ARGUMENT, "f32");
    REFUSED(edgepack_session_set_input(session, 0, EDGEPACK_TYPE_U8, values, count), ARGUMENT, "int8");
    REFUSED(edgepack_session_set_input(session, 0, EDGEPACK_TYPE_U8, NULL, count), ARGUMENT, "NULL");

    HOLDS(edgepack_session_set_input_pixels(session, 0, pixels, count) == EDGEPACK_STATUS_OK);
    HOLDS(edgepack_session_run(session) == EDGEPACK_STATUS_OK);
    const void *data;
    size_t bytes;
    HOLDS(edgepack_session_output(session, 0, &data, &bytes) == EDGEPACK_STATUS_OK);
    HOLDS(bytes == output->bytes);
    HOLDS(edgepack_session_output(session, 0, &data, NULL) == EDGEPACK_STATUS_OK);
    float *copy = malloc(bytes);
    HOLDS(edgepack_session_copy_output(session, 0, copy, bytes) == EDGEPACK_STATUS_OK);
    HOLDS(memcmp(copy, data, bytes) == 0);
    REFUSED(edgepack_session_copy_output(session, 0, copy, bytes - 1), ARGUMENT, "`bytes`");
    REFUSED(edgepack_session_copy_output(session, 0, NULL, bytes), ARGUMENT, "`data` is NULL");
    REFUSED(edgepack_session_copy_output(session, 1, copy, bytes), ARGUMENT, "index 1");
    REFUSED(edgepack_session_output(session, 0, NULL, &bytes), ARGUMENT, "`data` is NULL");
    REFUSED(edgepack_session_output(session, 1, &data, &bytes), ARGUMENT, "index 1");
    REFUSED(edgepack_session_output(NULL, 0, &data, &bytes), ARGUMENT, "`session` is NULL");
    free(copy);
    free(values);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PACKAGE\n", argv[0]);
        return 2;
    }
    edgepack_model *model;
    edgepack_session *session;
    HOLDS(strcmp(edgepack_last_error(), "") == 0);
    HOLDS(edgepack_abi_version() == EDGEPACK_ABI_VERSION && edgepack_version()[0] != 0);
    packages(argv[1]);
    damaged_packages(argv[1]);
    if (edgepack_model_open(argv[1], &model) != EDGEPACK_STATUS_OK) {
        fprintf(stderr, "%s\n", edgepack_last_error());
        return 2;
    }
    sessions(model);
    setenv("EDGEPACK_ISA", "nonsense", 1);
    REFUSED(edgepack_session_new(model, 1, &session), ENVIRONMENT, "nonsense");
    unsetenv("EDGEPACK_ISA");
    if (edgepack_session_new(model, 2, &session) != EDGEPACK_STATUS_OK) {
        fprintf(stderr, "%s\n", edgepack_last_error());
        return 2;
    }
    HOLDS(edgepack_session_threads(session) == 2 && edgepack_session_isa(session)[0] != 0);
    inputs_and_outputs(model, session);
    in_threads(use_own, model);
    /* The session outlives its model. */
    edgepack_model_free(model);
    in_threads(use, session);
    size_t samples = 0;
    HOLDS(edgepack_session_selftest(session, &samples) == EDGEPACK_STATUS_OK && samples > 0);
    edgepack_session_free(session);
    printf("%d failures\n", failures);
    return failures != 0;
}
