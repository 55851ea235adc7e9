/* Runs a package on raw pixels and writes its outputs: run PACKAGE PIXELS OUTPUTS
 *
 * PIXELS are samples one after the other, each as many bytes as the first input has elements; OUTPUTS become the
 * bytes of all outputs of each.
 *
 *   cc -Wall -Wextra run.c $(pkg-config --cflags --libs edgepack) -o run
 */
#include <edgepack.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program where something did not succeed. */
static void check(edgepack_status status, const char *what)
{
    if (status != EDGEPACK_STATUS_OK) {
        fprintf(stderr, "error: %s: %s (status %d)\n", what, edgepack_last_error(), (int)status);
        exit(2);
    }
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    return file;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s PACKAGE PIXELS OUTPUTS\n", argv[0]);
        return 2;
    }
    if (edgepack_abi_version() < EDGEPACK_ABI_VERSION) {
        fprintf(stderr, "error: libedgepack %s is older than this program\n", edgepack_version());
        return 2;
    }

    edgepack_model *model;
    edgepack_session *session;
    check(edgepack_model_open(argv[1], &model), "package");
    check(edgepack_session_new(model, 1, &session), "session");

    size_t tested;
    check(edgepack_session_selftest(session, &tested), "self-test");
    const edgepack_tensor *input = edgepack_model_input(model, 0);
    printf("edgepack %s, %s: %zu samples tested, input %s of %zu elements, arena of %zu bytes\n",
           edgepack_version(), edgepack_session_isa(session), tested, input->name, input->elements,
           edgepack_session_arena_bytes(session));

    FILE *from = open_file(argv[2], "rb");
    FILE *to = open_file(argv[3], "wb");
    unsigned char *pixels = malloc(input->elements);
    if (pixels == NULL) {
        perror("malloc");
        return 2;
    }
    size_t samples = 0;
    while (fread(pixels, 1, input->elements, from) == input->elements) {
        check(edgepack_session_set_input_pixels(session, 0, pixels, input->elements), "input");
        check(edgepack_session_run(session), "run");
        for (size_t index = 0; index < edgepack_model_output_count(model); index++) {
            const void *data;
            size_t bytes;
            check(edgepack_session_output(session, index, &data, &bytes), "output");
            if (fwrite(data, 1, bytes, to) != bytes) {
                perror(argv[3]);
                return 2;
            }
        }
        samples++;
    }
    printf("%zu samples\n", samples);

    free(pixels);
    fclose(from);
    edgepack_session_free(session);
    edgepack_model_free(model);
    if (fclose(to) != 0) {
        perror(argv[3]);
        return 2;
    }
    return 0;
}
