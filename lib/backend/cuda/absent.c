/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stands in for the .cu files where there is no CUDA compiler: each question gets the same answer. */
#include "backend/cuda/bandits.h"
#include "backend/cuda/device.h"
#include "backend/cuda/flat.h"
#include "backend/cuda/gates.h"
#include "backend/cuda/head.h"
#include "backend/cuda/machine.h"
#include "backend/cuda/net.h"
#include "backend/light.h"
#include "backend/rows.h"
#include "backend/tree_rows.h"

/* The parameters are those of the headers. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

static sg_status absent(sg_error *error)
{
    return sg_fail(error, SG_EUNSUPPORTED,
                   "this softgate was built without CUDA: put nvcc on the PATH and run make again, "
                   "or use --backend cpu");
}

/* device.h */

bool sg_cuda_built(void)
{
    return false;
}

const char *sg_cuda_targets(void)
{
    return "";
}

sg_status sg_cuda_use(sg_error *error)
{
    return absent(error);
}

sg_cuda_kernels sg_cuda_kernels_chosen(void)
{
    return SG_CUDA_PLAIN;
}

void sg_cuda_kernels_choose(sg_cuda_kernels kernels)
{
}

sg_status sg_cuda_describe(sg_cuda_facts *facts, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_alloc(void **pointer, size_t bytes, const char *what, sg_error *error)
{
    *pointer = NULL;
    return absent(error);
}

void sg_cuda_free(void *pointer)
{
}

sg_status sg_cuda_stream_alloc(sg_cuda_stream **stream, sg_error *error)
{
    *stream = NULL;
    return absent(error);
}

void sg_cuda_stream_free(sg_cuda_stream *stream)
{
}

sg_status sg_cuda_stream_wait(sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_to_device(void *device, const void *host, size_t bytes, sg_cuda_stream *stream,
                            sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_from_device(void *host, const void *device, size_t bytes, sg_cuda_stream *stream,
                              sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_copy(void *to, const void *from, size_t bytes, sg_cuda_stream *stream,
                       sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_zero(void *device, size_t bytes, sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_time(sg_cuda_stream *stream, sg_status (*run)(void *context, sg_error *error),
                       void *context, double *seconds, sg_error *error)
{
    return absent(error);
}

/* machine.h */

sg_status sg_cuda_machine_gflops(double *gflops, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_machine_matmul(sg_matmul matmul, double *gflops, sg_error *error)
{
    *gflops = 0;
    return absent(error);
}

sg_status sg_cuda_machine_rate(sg_cuda_traffic traffic, double *gb_per_s, sg_error *error)
{
    return absent(error);
}

/* gates.h */

sg_status sg_cuda_gates_apply(const sg_objective *objective, size_t n, const float *ratio,
                              const float *advantage, float *value, float *slope, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                        const size_t *start, const float *log_ratio,
                                        const float *advantage, float *value, float *row_slope,
                                        float *slope, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_gates_statistics(size_t count, const sg_objective *objective, size_t n,
                                   const float *ratio, const float *advantage,
                                   sg_gate_statistics *statistics, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_gates_queue(const sg_objective *objective, size_t n, const float *ratio,
                              const float *advantage, float *value, float *slope,
                              sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_gates_queue_sequences(const sg_objective *objective, size_t sequences,
                                        const size_t *start, const float *log_ratio,
                                        const float *advantage, float *value, float *row_slope,
                                        float *slope, const sg_cuda_long_sequences *longer,
                                        sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_long_sequences_find(sg_cuda_long_sequences *found, size_t sequences,
                                      const size_t *start, sg_cuda_stream *stream, sg_error *error)
{
    *found = (sg_cuda_long_sequences){0};
    return absent(error);
}

void sg_cuda_long_sequences_free(sg_cuda_long_sequences *found)
{
}

size_t sg_cuda_gates_statistics_bytes(size_t count, size_t n)
{
    return 0;
}

sg_status sg_cuda_gates_prepare_statistics(size_t count, const sg_objective *objective, size_t n,
                                           void *room, sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_gates_queue_statistics(size_t count, const sg_objective *objective, size_t n,
                                         const float *ratio, const float *advantage, void *room,
                                         sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_gates_fetch_statistics(size_t count, size_t n, const void *room,
                                         sg_gate_statistics *statistics, sg_cuda_stream *stream,
                                         sg_error *error)
{
    return absent(error);
}

/* bandits.h */

sg_status sg_cuda_bandits_run(const sg_bandits *bandits, double *value, double *logits,
                              sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_bandits_alloc(sg_cuda_bandits **made, const sg_bandits *bandits, bool want_logits,
                                sg_error *error)
{
    *made = NULL;
    return absent(error);
}

void sg_cuda_bandits_free(sg_cuda_bandits *bandits)
{
}

sg_cuda_stream *sg_cuda_bandits_stream(const sg_cuda_bandits *bandits)
{
    return NULL;
}

sg_status sg_cuda_bandits_queue(sg_cuda_bandits *bandits, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_bandits_fetch(sg_cuda_bandits *bandits, double *value, double *logits,
                                sg_error *error)
{
    return absent(error);
}

/* rows.h of the folder above */

sg_status sg_cuda_rows_alloc(sg_rows **rows, const sg_rows_config *config, sg_error *error)
{
    return absent(error);
}

sg_cuda_stream *sg_cuda_rows_stream(const sg_rows *rows)
{
    return NULL;
}

/* head.h */

sg_status sg_cuda_head_alloc(sg_cuda_head **head, sg_error *error)
{
    *head = NULL;
    return absent(error);
}

void sg_cuda_head_free(sg_cuda_head *head)
{
}

void sg_cuda_head_limit(sg_cuda_head *head, size_t bytes)
{
}

sg_cuda_stream *sg_cuda_head_stream(const sg_cuda_head *head)
{
    return NULL;
}

sg_status sg_cuda_head_matmul(sg_cuda_head *head, sg_matmul matmul, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_load(sg_cuda_head *head, const sg_cuda_layer *layer, const void *hidden,
                            size_t rows, sg_error *error)
{
    return absent(error);
}

void sg_cuda_head_move(sg_cuda_head *head, const void *weights, const void *bias)
{
}

sg_status sg_cuda_head_forward(sg_cuda_head *head, size_t count, const int32_t *tokens,
                               const uint32_t *row, double *log_prob, double *log_norm,
                               sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_backward(sg_cuda_head *head, const sg_cuda_push *push, void *weights,
                                void *bias, void *hidden, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_queue_forward(sg_cuda_head *head, size_t count, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_queue_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias,
                                      bool hidden, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_draw(sg_cuda_head *head, size_t count, const uint32_t *row,
                            const double *uniform, int32_t *tokens, double *log_prob,
                            sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_observe(sg_cuda_head *head, size_t split, sg_cuda_head_sums *sums,
                               double *log_norm, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_diverge(sg_cuda_head *a, sg_cuda_head *b, double *sums, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_rise(sg_cuda_head *a, sg_cuda_head *b, double sharpness, size_t count,
                            const int32_t *tokens, const uint32_t *row, double *rises,
                            sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_head_logits(sg_cuda_head *head, double sharpness, size_t first, size_t count,
                              void *out, size_t lead, sg_error *error)
{
    return absent(error);
}

/* tree_rows.h of the folder above */

sg_status sg_cuda_tree_rows_alloc(sg_tree_rows **rows, const sg_tree_rows_config *config,
                                  sg_error *error)
{
    return absent(error);
}

/* flat.h */

sg_status sg_cuda_flat_alloc(sg_cuda_flat **flat, sg_precision precision, size_t size,
                             const char *what, sg_error *error)
{
    *flat = NULL;
    return absent(error);
}

void sg_cuda_flat_free(sg_cuda_flat *flat)
{
}

void *sg_cuda_flat_at(const sg_cuda_flat *flat, size_t offset)
{
    return NULL;
}

sg_cuda_stream *sg_cuda_flat_stream(const sg_cuda_flat *flat)
{
    return NULL;
}

sg_status sg_cuda_flat_enter(const sg_cuda_flat *flat, sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_leave(const sg_cuda_flat *flat, sg_cuda_stream *stream, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_put(sg_cuda_flat *flat, size_t offset, size_t n, const void *host,
                           sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_get(sg_cuda_flat *flat, size_t offset, size_t n, void *host, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_zero(sg_cuda_flat *flat, size_t offset, size_t n, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_copy(sg_cuda_flat *flat, const sg_cuda_flat *source, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_emulate(sg_cuda_flat *flat, const sg_cuda_flat *source,
                               const sg_cuda_noise *how, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_norm2(sg_cuda_flat *flat, size_t count, const sg_cuda_slice *slices,
                             double *norm2, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_columns(sg_cuda_flat *flat, size_t offset, size_t rows, size_t columns,
                               double *sums, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_lengths(sg_cuda_flat *flat, size_t offset, size_t rows, size_t columns,
                               double *sum, sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_flat_step(sg_cuda_flat *gradient, const sg_cuda_step *step,
                            sg_cuda_step_norms *norms, sg_error *error)
{
    return absent(error);
}

/* light.h */

sg_status sg_cuda_light_alloc(sg_light_rows **rows, const sg_light_config *config,
                              sg_light_prior *prior, sg_error *error)
{
    *rows = NULL;
    return absent(error);
}

sg_cuda_stream *sg_cuda_light_stream(const sg_light_rows *rows)
{
    return NULL;
}

/* net.h: nobody gets as far as a kernel, as there is no stream to queue it on. */

const sg_net_kernels sg_cuda_net_kernels[2];
