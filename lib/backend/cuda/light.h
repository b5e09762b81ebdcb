/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_LIGHT_H
#define SG_CUDA_LIGHT_H

#include "backend/cuda/device.h"
#include "backend/light_update.h"

/* Light rows on the device, between the .cu files that make them up. Rows are those of the CPU
 * (backend/light_row.h) with pointers to device memory, and a warp is the team that works on one. A row that
 * asks for more - what costs O(V), or memory - stops; a block then goes on with it, and the host gives
 * memory.
 *
 * Functions here queue kernels on the stream and return at once; pointers are to device memory. `rows` is
 * the first of the rows that are meant, and [count] arrays start at it. */

struct sg_cuda_light_row {
    sg_light_row row;
    sg_light_base own; /* own.q is NULL until the row has left its prior */
};

/* A prior that rows share. */
struct sg_cuda_light_prior {
    sg_light_base base;
    double offset;
    const int32_t *heavy;
    const double *heavy_q;
    size_t heavy_count;
};

/* Of one row during a call. */
struct sg_cuda_light_job {
    sg_light_update update;
    uint64_t done; /* updates */
    int need;      /* sg_light_need */
    bool carried;  /* a rebase is half done: its q is there */
};

/* A row that stopped. wanted: explicit tokens that it needs room for; 0: a base of its own. */
struct sg_cuda_light_ask {
    size_t row, wanted;
    char *memory;    /* what the host gave */
    size_t capacity; /* of that, in explicit tokens */
};

struct sg_cuda_light_counts {
    unsigned asking, lacking;
};

/* `updates` updates of rows, with given pushes or those of gates. */
struct sg_cuda_light_work {
    sg_cuda_light_row *rows;
    size_t count, n;
    uint64_t updates;
    sg_light_update plan; /* what is the same for all rows */
    const int32_t *tokens;
    const double *pushes; /* [count][n]; with gates: where the pushes of an update are put */
    bool gates;
    sg_gate_kind kind;
    sg_gate_parameters parameter;
    double factor;
    const double *old_log_prob, *advantage; /* [count][n] */
    double *kept;                           /* [count][updates][n], or NULL */
    sg_row_change *change;                  /* [count], or NULL */
    int32_t *slots;                         /* [count][n] */
    sg_cuda_light_job *jobs;                /* [count] */
    sg_cuda_light_ask *asking, *lacking;    /* [count]; who waits for a block, who for the host */
    sg_cuda_light_counts *counts;
    double *sums; /* [blocks][chunks][32], for the blocks of serve */
    size_t chunks;
    unsigned blocks;
};

/* Memory of so many explicit tokens, a multiple of SG_LIGHT_FAN, and their places in it. */
SG_HD static inline size_t sg_cuda_light_room(size_t capacity)
{
    return capacity * (2 * sizeof(double) + sizeof(int32_t)) +
           capacity / SG_LIGHT_FAN * sizeof(double) + sg_light_cells(capacity) * sizeof(int32_t);
}

SG_HD static inline void sg_cuda_light_place(sg_light_row *row, char *memory, size_t capacity)
{
    row->capacity = capacity;
    row->slot_mask = sg_light_cells(capacity) - 1;
    row->q = (double *)memory;
    row->move = row->q + capacity;
    row->block = row->move + capacity;
    row->token = (int32_t *)(row->block + capacity / SG_LIGHT_FAN);
    row->slots = row->token + capacity;
}

/* Chunks of a vocabulary whose powers are added up apart. */
static inline size_t sg_cuda_light_chunks(size_t vocabulary, size_t head)
{
    return (head + SG_LIGHT_CHUNK - 1) / SG_LIGHT_CHUNK +
           (vocabulary - head + SG_LIGHT_CHUNK - 1) / SG_LIGHT_CHUNK;
}

/* All updates of the rows that ask for nothing; the others are in `asking` then. counts are 0 before. */
cudaError_t sg_cuda_light_queue_update(const sg_cuda_light_work &work, sg_cuda_stream *stream);
/* The same for those in `asking`, with what the host gave them: counts->asking rows, at most n.
 * `lacking` waits for the host. */
cudaError_t sg_cuda_light_queue_serve(const sg_cuda_light_work &work, size_t n,
                                      sg_cuda_stream *stream);

/* Rows start from a prior. Each has room for `capacity` explicit tokens, at memory + its number * stride. fresh:
 * there was no row before. */
cudaError_t sg_cuda_light_queue_start(sg_cuda_light_row *rows, size_t count,
                                      sg_cuda_light_prior *prior, char *memory, size_t stride,
                                      size_t capacity, size_t explicit_limit, bool fresh,
                                      sg_cuda_stream *stream);

/* Where the copy of a row has its memory, and the prior that it stands on if it has no base of its own. */
struct sg_cuda_light_copy {
    char *memory;
    size_t capacity;
    double *own;
    sg_cuda_light_prior *prior;
};
cudaError_t sg_cuda_light_queue_copy(sg_cuda_light_row *rows, const sg_cuda_light_row *source,
                                     size_t count, const sg_cuda_light_copy *copies,
                                     sg_cuda_stream *stream);
/* The explicit tokens of one row, their q and block sums have been written: finds their slots. */
cudaError_t sg_cuda_light_queue_seal(sg_cuda_light_row *row, sg_cuda_stream *stream);

cudaError_t sg_cuda_light_queue_get(const sg_cuda_light_row *row, size_t first, size_t n,
                                    double *logits, sg_cuda_stream *stream);
/* log_prob: NULL, or of the drawn tokens. */
cudaError_t sg_cuda_light_queue_draw(const sg_cuda_light_row *rows, size_t count, size_t n,
                                     const double *uniforms, int32_t *tokens, double *log_prob,
                                     sg_cuda_stream *stream);
cudaError_t sg_cuda_light_queue_log_prob(const sg_cuda_light_row *rows, size_t count, size_t n,
                                         const int32_t *tokens, double *log_prob,
                                         sg_cuda_stream *stream);
/* counts: of the last update of these rows, as it ended. */
cudaError_t sg_cuda_light_queue_observe(sg_cuda_light_row *rows, size_t count,
                                        const sg_cuda_light_counts *counts,
                                        sg_row_observation *observation, sg_cuda_stream *stream);
cudaError_t sg_cuda_light_queue_collision(const sg_cuda_light_row *rows, size_t count,
                                          double *collision, sg_cuda_stream *stream);
cudaError_t sg_cuda_light_queue_masses(const sg_cuda_light_row *rows, size_t sets,
                                       const size_t *state, const size_t *start,
                                       const int32_t *tokens, double *mass, sg_cuda_stream *stream);

#endif
