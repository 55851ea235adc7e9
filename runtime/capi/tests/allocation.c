/* After edgepack_session_new nothing is allocated, not even for an error: allocation PACKAGE
 *
 * To be linked with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign, which leads what the static
 * library asks for through here.
 */
#include <edgepack.h>
#include <stdio.h>
#include <stdlib.h>

static volatile long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

static void count(void)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST);
}

void *__wrap_malloc(size_t size)
{
    count();
    return __real_malloc(size);
}

void *__wrap_calloc(size_t elements, size_t size)
{
    count();
    return __real_calloc(elements, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    count();
    return __real_realloc(memory, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    count();
    return __real_posix_memalign(memory, alignment, size);
}

int main(int argc, char **argv)
{
    static float values[4096], copy[4096];
    edgepack_model *model;
    edgepack_session *session;
    if (argc != 2 || edgepack_model_open(argv[1], &model) != EDGEPACK_STATUS_OK ||
        edgepack_session_new(model, 2, &session) != EDGEPACK_STATUS_OK)
        return 2;
    size_t elements = edgepack_model_input(model, 0)->elements, bytes = edgepack_model_output(model, 0)->bytes;
    long before = allocations;
    int wrong = before == 0 || elements > 4096 || bytes > sizeof copy;
    for (int run = 0; run < 100 && !wrong; run++) {
        const void *data;
        wrong |= edgepack_session_set_input_f32(session, 0, values, elements) != EDGEPACK_STATUS_OK;
        wrong |= edgepack_session_run(session) != EDGEPACK_STATUS_OK;
        wrong |= edgepack_session_output(session, 0, &data, NULL) != EDGEPACK_STATUS_OK;
        wrong |= edgepack_session_copy_output(session, 0, copy, bytes) != EDGEPACK_STATUS_OK;
        wrong |= edgepack_session_selftest(session, NULL) != EDGEPACK_STATUS_OK;
        wrong |= edgepack_session_set_input_f32(session, 0, NULL, elements) != EDGEPACK_STATUS_ARGUMENT;
        wrong |= edgepack_session_set_input_f32(session, 1, values, elements) != EDGEPACK_STATUS_ARGUMENT;
        wrong |= edgepack_session_copy_output(session, 9, copy, bytes) != EDGEPACK_STATUS_ARGUMENT;
        wrong |= edgepack_last_error()[0] == 0 || edgepack_session_isa(session)[0] == 0;
    }
    long after = allocations;
    edgepack_session_free(session);
    edgepack_model_free(model);
    printf("%ld allocations to load, %ld in 100 rounds\n", before, after - before);
    return wrong || after != before;
}
