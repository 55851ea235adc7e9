/* edgepack: runs packages (.epk) from C. Written by cbindgen from runtime/capi/src: do not edit.
 *
 * Errors: functions return an edgepack_status, 0 for success; edgepack_last_error() has the text.
 * Arguments are checked: NULL, a wrong index, length, type or value is EDGEPACK_STATUS_ARGUMENT.
 * Threads: a model may be shared by all threads, a session belongs to one thread at a time.
 * Memory: nothing is allocated after edgepack_session_new, but by islands; where there is no memory
 * left for a model or session, the process is aborted.
 * Versions: functions, codes and fields at the end of structures may be added within a version of
 * the shared library (its soname); nothing else changes.
 */

#ifndef EDGEPACK_H
#define EDGEPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of this interface: greater where functions or fields of structures have been added at their end.
 * What a program was compiled with must not be greater than `edgepack_abi_version()`.
 */
#define EDGEPACK_ABI_VERSION 1

/**
 * Sizes that an edgepack_tensor has room for.
 */
#define EDGEPACK_MAX_RANK 8

/**
 * What a function returns: 0 for success. Codes may be added; they do not change.
 */
typedef enum {
  /**
   * Done.
   */
  EDGEPACK_STATUS_OK = 0,
  /**
   * An argument is NULL that must not be, misaligned, beyond a number of inputs or outputs, or of another
   * length, type or value than the package takes.
   */
  EDGEPACK_STATUS_ARGUMENT = 1,
  /**
   * The file could not be read.
   */
  EDGEPACK_STATUS_IO = 2,
  /**
   * The bytes are no valid package of this version.
   */
  EDGEPACK_STATUS_PACKAGE = 3,
  /**
   * The package needs what this build of the library does not have.
   */
  EDGEPACK_STATUS_UNSUPPORTED = 4,
  /**
   * The environment variable EDGEPACK_ISA names something else than instruction sets.
   */
  EDGEPACK_STATUS_ENVIRONMENT = 5,
  /**
   * The system gave no more threads.
   */
  EDGEPACK_STATUS_THREADS = 6,
  /**
   * The self-test gave other outputs than the workstation has: package or library are damaged.
   */
  EDGEPACK_STATUS_SELFTEST = 7,
  /**
   * A step could not be run on these values (islands only).
   */
  EDGEPACK_STATUS_RUN = 8,
  /**
   * Another thread is using the session.
   */
  EDGEPACK_STATUS_BUSY = 9,
  /**
   * A mistake in edgepack: please report it. The session is to be freed.
   */
  EDGEPACK_STATUS_INTERNAL = 10,
} edgepack_status;

/**
 * The type of elements.
 */
typedef enum {
  /**
   * int8_t, with scale and zero point.
   */
  EDGEPACK_TYPE_I8 = 0,
  /**
   * float.
   */
  EDGEPACK_TYPE_F32 = 1,
  /**
   * int32_t.
   */
  EDGEPACK_TYPE_I32 = 2,
  /**
   * int64_t.
   */
  EDGEPACK_TYPE_I64 = 3,
  /**
   * uint8_t: 0 or 1.
   */
  EDGEPACK_TYPE_BOOL = 4,
  /**
   * uint8_t.
   */
  EDGEPACK_TYPE_U8 = 5,
  /**
   * int16_t.
   */
  EDGEPACK_TYPE_I16 = 6,
  /**
   * uint16_t.
   */
  EDGEPACK_TYPE_U16 = 7,
  /**
   * uint32_t.
   */
  EDGEPACK_TYPE_U32 = 8,
  /**
   * uint64_t.
   */
  EDGEPACK_TYPE_U64 = 9,
  /**
   * IEEE 754 binary16.
   */
  EDGEPACK_TYPE_F16 = 10,
  /**
   * double.
   */
  EDGEPACK_TYPE_F64 = 11,
} edgepack_type;

/**
 * A package that was checked. It may be used by any number of threads at once.
 */
typedef struct edgepack_model edgepack_model;

/**
 * Memory, kernels and threads to run a model with. It belongs to one thread at a time: it may be handed from one to
 * another, but a call while another thread is in one is refused with EDGEPACK_STATUS_BUSY. Nothing is allocated after
 * edgepack_session_new, but by islands.
 */
typedef struct edgepack_session edgepack_session;

/**
 * An input or output. The library makes these and may add fields at the end.
 */
typedef struct {
  /**
   * The model's name of it, in UTF-8.
   */
  const char *name;
  /**
   * The type of its elements in the package. An input of int8 is given as float, too, or as pixels.
   */
  edgepack_type dtype;
  /**
   * How many of `sizes` count.
   */
  uint32_t rank;
  /**
   * The model's shape, outermost size first; unused ones are 1.
   */
  uint32_t sizes[EDGEPACK_MAX_RANK];
  /**
   * Number of elements.
   */
  size_t elements;
  /**
   * Bytes of all elements of `dtype`.
   */
  size_t bytes;
  /**
   * Of int8: a value is `(element - zero_point) * scale`. Else 0.
   */
  float scale;
  /**
   * See `scale`.
   */
  int32_t zero_point;
  /**
   * Of an input: whether it takes raw pixels [N, H, W, C], RGB.
   */
  bool takes_pixels;
  /**
   * Of an output: whether its bytes are the same on every processor.
   */
  bool exact;
} edgepack_tensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the interface that the library has, for a program that was compiled with another header.
 */
uint32_t edgepack_abi_version(void);

/**
 * The version of edgepack, as "0.1.0"; never NULL, never freed.
 */
const char *edgepack_version(void);

/**
 * Maps a package into memory and checks all of it. The file must not be changed while a model of it lives: replace
 * it by renaming another one into its place.
 *
 * `path` is of the file; `*model` becomes the model, or NULL.
 *
 * Required:
 * `path` is a string that ends with 0; `model` is valid for a write.
 */
edgepack_status edgepack_model_open(const char *path,
                                    edgepack_model **model);

/**
 * Copies a package and checks all of it.
 *
 * `bytes` are `size` bytes of a package, at any address; `*model` becomes the model, or NULL.
 *
 * Required:
 * `bytes` is valid for reads of `size` bytes; `model` is valid for a write.
 */
edgepack_status edgepack_model_from_memory(const void *bytes, size_t size, edgepack_model **model);

/**
 * Frees a model; NULL is nothing. Its sessions stay as they are, what edgepack_model_input gave does not.
 *
 * Required:
 * `model` is NULL or of edgepack_model_open or edgepack_model_from_memory, and not used again.
 */
void edgepack_model_free(edgepack_model *model);

/**
 * Number of inputs; 0 for NULL.
 *
 * Required:
 * `model` is NULL or a model.
 */
size_t edgepack_model_input_count(const edgepack_model *model);

/**
 * Number of outputs; 0 for NULL.
 *
 * Required:
 * `model` is NULL or a model.
 */
size_t edgepack_model_output_count(const edgepack_model *model);

/**
 * An input, as long as the model lives; NULL (see edgepack_last_error) where there is none with this index.
 *
 * Required:
 * `model` is NULL or a model.
 */
const edgepack_tensor *edgepack_model_input(const edgepack_model *model,
                                            size_t index);

/**
 * An output, as long as the model lives; NULL (see edgepack_last_error) where there is none with this index.
 *
 * Required:
 * `model` is NULL or a model.
 */
const edgepack_tensor *edgepack_model_output(const edgepack_model *model,
                                             size_t index);

/**
 * Makes what a model is run with. The session keeps what it needs of the model, which may be freed.
 *
 * `threads` share a run, the caller's among them: at most 16; 0 and 1 are one. The outputs are the same for any
 * number. `*session` becomes the session, or NULL.
 *
 * Required:
 * `model` is NULL or a model; `session` is valid for a write.
 */
edgepack_status edgepack_session_new(const edgepack_model *model,
                                     uint32_t threads,
                                     edgepack_session **session);

/**
 * Frees a session and ends its threads; NULL is nothing.
 *
 * Required:
 * `session` is NULL or of edgepack_session_new, and not used again.
 */
void edgepack_session_free(edgepack_session *session);

/**
 * Sets an input to `count` values in the model's own shape, as it was trained with. Every input is set before each
 * run: a run uses its memory for other things.
 *
 * Required:
 * `session` is NULL or a session; `values` is valid for reads of `count` floats.
 */
edgepack_status edgepack_session_set_input_f32(edgepack_session *session,
                                               size_t index,
                                               const float *values,
                                               size_t count);

/**
 * Sets an input to `count` bytes of raw pixels [N, H, W, C], RGB, where the package records a preprocessing
 * (`takes_pixels`). As for edgepack_session_set_input_f32 otherwise.
 *
 * Required:
 * `session` is NULL or a session; `pixels` is valid for reads of `count` bytes.
 */
edgepack_status edgepack_session_set_input_pixels(edgepack_session *session,
                                                  size_t index,
                                                  const uint8_t *pixels,
                                                  size_t count);

/**
 * Sets an input to `count` int8 elements with the input's scale and zero point, in the order in which the package
 * holds them: [N, H, W, C] for images. As for edgepack_session_set_input_f32 otherwise.
 *
 * Required:
 * `session` is NULL or a session; `elements` is valid for reads of `count` bytes.
 */
edgepack_status edgepack_session_set_input_i8(edgepack_session *session,
                                              size_t index,
                                              const int8_t *elements,
                                              size_t count);

/**
 * Sets an input to `count` elements of an edgepack_type, in the model's own shape: integers, truth values, and what
 * islands take. As for edgepack_session_set_input_f32 otherwise.
 *
 * Required:
 * `session` is NULL or a session; `elements` is valid for reads of `count` elements.
 */
edgepack_status edgepack_session_set_input(edgepack_session *session,
                                           size_t index,
                                           uint32_t dtype,
                                           const void *elements,
                                           size_t count);

/**
 * Runs the model on the inputs that were set.
 *
 * Required:
 * `session` is NULL or a session.
 */
edgepack_status edgepack_session_run(edgepack_session *session);

/**
 * An output of the last run where it lies, in the model's own shape: `*data` becomes its address, at a multiple of
 * its elements' size, and `*bytes` its size (`bytes` may be NULL). Both stay valid, and the elements as they are,
 * until an input is set, or a run or self-test starts, or the session is freed.
 *
 * Required:
 * `session` is NULL or a session; `data` is valid for a write, `bytes` too or NULL.
 */
edgepack_status edgepack_session_output(const edgepack_session *session,
                                        size_t index,
                                        const void **data,
                                        size_t *bytes);

/**
 * Copies an output of the last run, in the model's own shape, to `data`, which has room for `bytes` bytes: exactly
 * those of the output.
 *
 * Required:
 * `session` is NULL or a session; `data` is valid for writes of `bytes` bytes.
 */
edgepack_status edgepack_session_copy_output(const edgepack_session *session,
                                             size_t index,
                                             void *data,
                                             size_t bytes);

/**
 * Runs the package's own samples and compares the outputs with the workstation's, bit for bit:
 * EDGEPACK_STATUS_SELFTEST where they differ. `*samples` becomes their number (`samples` may be NULL). Inputs are to
 * be set anew after it.
 *
 * Required:
 * `session` is NULL or a session; `samples` is NULL or valid for a write.
 */
edgepack_status edgepack_session_selftest(edgepack_session *session,
                                          size_t *samples);

/**
 * Threads that share a run; 0 for NULL, and while another thread uses the session.
 *
 * Required:
 * `session` is NULL or a session.
 */
uint32_t edgepack_session_threads(const edgepack_session *session);

/**
 * Bytes of the memory in which the session runs, besides packed weights; 0 for NULL, and while another thread uses
 * the session.
 *
 * Required:
 * `session` is NULL or a session.
 */
size_t edgepack_session_arena_bytes(const edgepack_session *session);

/**
 * The instruction sets in use, as "neon,dotprod", as long as the session lives; NULL for NULL, and while another
 * thread uses the session. The environment variable EDGEPACK_ISA lowers what new sessions use.
 *
 * Required:
 * `session` is NULL or a session.
 */
const char *edgepack_session_isa(const edgepack_session *session);

/**
 * What went wrong in the last call on this thread that did not succeed, in UTF-8; "" where there was none. Never
 * NULL; valid until the next call on this thread that does not succeed.
 */
const char *edgepack_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EDGEPACK_H */
