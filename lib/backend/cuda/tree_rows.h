/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_TREE_ROWS_H
#define SG_CUDA_TREE_ROWS_H

#include "backend/cuda/device.h"
#include "backend/tree_rows_math.h"

/* A tree's rows on the device, between the .cu files that make them up. Layout, formulas and the order of
 * sums are those of the CPU, so results have its bits.
 *
 * Functions here queue kernels on the stream and return at once; pointers are to device memory. */

/* What kernels see; real is float or double, by the precision. Row `states` is the bias. */
struct sg_cuda_tree_table {
    sg_tree_rows_config config;
    size_t tiles;
    void *theta, *m, *v;               /* real [states + 1][vocabulary]; m and v may be NULL */
    double *mass, *peak;               /* [states][tiles] */
    double *offset, *total, *log_norm; /* [states] */
    double *gradient, *drift;          /* [vocabulary], of the bias */
    double *norm2, *rate; /* [states + 1]: squared norms of gradients, coupled-adam's rates */
    double *second;       /* [states + 1]: coupled-adam's v; NULL: not kept */
    double *factor;       /* of the clip */
    void *room;           /* [states + 1][tiles] things to add up */
};

/* Listed states, or with list NULL those from `first` on. */
struct sg_cuda_tree_states {
    const size_t *list;
    size_t first, count;
};

/* sg_tree_samples on the device, and where each tile's begin: those of tile t of listed state k are
 * span[k][t] .. span[k][t + 1] - 1. */
struct sg_cuda_tree_samples {
    size_t count;
    const size_t *state, *start;
    const double *diffuse, *pushes;
    const int32_t *tokens;
    size_t *span; /* [count][tiles + 1] */
};

/* From the greatest logits and masses of tiles: offsets, totals, normalisers. And from the logits. */
cudaError_t sg_cuda_tree_queue_settle(const sg_cuda_tree_table &tree, sg_cuda_tree_states states,
                                      sg_cuda_stream *stream);
cudaError_t sg_cuda_tree_queue_normalise(const sg_cuda_tree_table &tree, sg_cuda_tree_states states,
                                         sg_cuda_stream *stream);
/* Every state at these logits, [vocabulary], the bias at 0. */
cudaError_t sg_cuda_tree_queue_fill(const sg_cuda_tree_table &tree, const double *logits,
                                    sg_cuda_stream *stream);
/* A row of one of the arrays, from and to doubles; with_bias: z of a state; array NULL: coupled-adam's v. */
cudaError_t sg_cuda_tree_queue_read(const sg_cuda_tree_table &tree, const void *array, size_t row,
                                    bool with_bias, double *numbers, sg_cuda_stream *stream);
cudaError_t sg_cuda_tree_queue_write(const sg_cuda_tree_table &tree, size_t row,
                                     const double *theta, sg_cuda_stream *stream);
/* All of it but `room`: responses have paths.length places each. sampler: of the host, or NULL. */
cudaError_t sg_cuda_tree_queue_walk(const sg_cuda_tree_table &tree, const sg_tree_paths &paths,
                                    const sg_tree_walk &walk, const sg_row_sampler *sampler,
                                    sg_cuda_stream *stream);
cudaError_t sg_cuda_tree_queue_log_prob(const sg_cuda_tree_table &tree, size_t n,
                                        const size_t *state, const int32_t *tokens,
                                        double *log_prob, sg_cuda_stream *stream);
cudaError_t sg_cuda_tree_queue_head(const sg_cuda_tree_table &tree, size_t first, size_t count,
                                    double *log_prob, sg_cuda_stream *stream);
cudaError_t sg_cuda_tree_queue_observe(const sg_cuda_tree_table &tree, size_t first, size_t count,
                                       sg_tree_look *look, sg_cuda_stream *stream);

/* Fills the spans. */
cudaError_t sg_cuda_tree_queue_spans(const sg_cuda_tree_table &tree,
                                     const sg_cuda_tree_samples &samples, sg_cuda_stream *stream);
/* The gradient of the bias; with norms those of all gradients, the clip's factor and coupled-adam's rates. */
cudaError_t sg_cuda_tree_queue_gradient(const sg_cuda_tree_table &tree,
                                        const sg_cuda_tree_samples &samples,
                                        const sg_tree_step &step, bool norms,
                                        sg_cuda_stream *stream);
/* Everything listed moves, and is normalised. sums: [count + 1], or NULL. */
cudaError_t sg_cuda_tree_queue_step(const sg_cuda_tree_table &tree,
                                    const sg_cuda_tree_samples &samples, const sg_tree_step &step,
                                    bool norms, sg_tree_sums *sums, sg_cuda_stream *stream);

#endif
