/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_FLAT_H
#define SG_CUDA_FLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/round_math.h"
#include "backend/rule_math.h"

/* Numbers that live on the device: parameters of the neural policy, a gradient, moments of an optimiser. The formulas
 * and the order of sums are those of backend/rule_math.h, so all results have the bits of the CPU.
 *
 * Calls queue their work in an order of their own: who uses an array after another waits for it on the device, not on the host. A
 * call that fills an array of the host, or a number, returns when that is there; others return at once, and what fails on
 * the device afterwards is reported by a later call. Arrays named `host` are in pageable memory, and free again when a call returns.
 * An array is used by one thread of the host at a time. Errors: those of device.h. */

#ifdef __cplusplus
extern "C" {
#endif

/* An array, a stream of its own, and room to work in. All 0. `what` names it in messages: "the parameters". */
typedef struct sg_cuda_flat sg_cuda_flat;
sg_status sg_cuda_flat_alloc(sg_cuda_flat **flat, sg_precision precision, size_t size,
                             const char *what, sg_error *error);
void sg_cuda_flat_free(sg_cuda_flat *flat);
void *sg_cuda_flat_at(const sg_cuda_flat *flat, size_t offset); /* an address of the device */

sg_cuda_stream *sg_cuda_flat_stream(const sg_cuda_flat *flat); /* its own */

/* Around the use of an array, to read or to write, on a stream that is not its own: what is queued after enter starts when earlier uses
 * have ended, and later uses start when what was queued before leave has ended. NULL is no array. */
sg_status sg_cuda_flat_enter(const sg_cuda_flat *flat, sg_cuda_stream *stream, sg_error *error);
sg_status sg_cuda_flat_leave(const sg_cuda_flat *flat, sg_cuda_stream *stream, sg_error *error);

sg_status sg_cuda_flat_put(sg_cuda_flat *flat, size_t offset, size_t n, const void *host,
                           sg_error *error);
sg_status sg_cuda_flat_get(sg_cuda_flat *flat, size_t offset, size_t n, void *host,
                           sg_error *error);
sg_status sg_cuda_flat_zero(sg_cuda_flat *flat, size_t offset, size_t n, sg_error *error);
sg_status sg_cuda_flat_copy(sg_cuda_flat *flat, const sg_cuda_flat *source, sg_error *error);

/* flat becomes source, each number times (1 + noise * normal), in the format. Normals of number i: the pair of i / 2 in stream
 * SG_STREAM_NOISE of seed and step, as policy/net_emulate.c has them, but by the device's own logarithm and cosine. */
typedef struct sg_cuda_noise {
    sg_number_format format;
    double noise;
    uint64_t seed;
    uint32_t step;
} sg_cuda_noise;
sg_status sg_cuda_flat_emulate(sg_cuda_flat *flat, const sg_cuda_flat *source,
                               const sg_cuda_noise *how, sg_error *error);

/* ---- tensors */

/* rows x columns numbers at `offset` of an array. Of a step: v is at second_offset, one number a column where
 * it is coupled. */
typedef struct sg_cuda_slice {
    size_t offset, rows, columns, second_offset;
    bool coupled;
} sg_cuda_slice;

/* Squared 2-norm of the slices: their own, one after the other. */
sg_status sg_cuda_flat_norm2(sg_cuda_flat *flat, size_t count, const sg_cuda_slice *slices,
                             double *norm2, sg_error *error);
/* sums[columns] over rows; the sum of the 2-norms of rows. */
sg_status sg_cuda_flat_columns(sg_cuda_flat *flat, size_t offset, size_t rows, size_t columns,
                               double *sums, sg_error *error);
sg_status sg_cuda_flat_lengths(sg_cuda_flat *flat, size_t offset, size_t rows, size_t columns,
                               double *sum, sg_error *error);

/* ---- steps */

typedef enum sg_cuda_rule {
    SG_CUDA_RULE_SGD,
    SG_CUDA_RULE_MOMENTUM,
    SG_CUDA_RULE_ADAM /* with coupled slices, too */
} sg_cuda_rule;

/* A step of the slices. Moments that the rule does not have are NULL. */
typedef struct sg_cuda_step {
    sg_cuda_rule rule;
    sg_rule_numbers numbers;
    double
        clip_norm; /* > 0: numbers.scale is sg_rule_clip of the slices' gradient, found on the device */
    size_t count;
    const sg_cuda_slice *slices;
    sg_cuda_flat *first, *second, *parameters;
} sg_cuda_step;

/* Squared 2-norms of the slices. */
typedef struct sg_cuda_step_norms {
    double gradient, step;
} sg_cuda_step_norms;

/* parameters += step. Where norms are asked for, the gradient becomes the step, and the call waits for them; otherwise it does not
 * wait, and what the slices of the gradient hold afterwards is not said. */
sg_status sg_cuda_flat_step(sg_cuda_flat *gradient, const sg_cuda_step *step,
                            sg_cuda_step_norms *norms, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
