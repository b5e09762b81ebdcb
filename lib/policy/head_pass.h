/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_HEAD_PASS_H
#define SG_HEAD_PASS_H

#include "backend/cuda/head.h"
#include "policy/head.h"
#include "policy/head_kernels.h"
#include "policy/net_matrix.h"

/* What the parts of the output layer share; not for others. Rows are handled SG_HEAD_BLOCK at a
 * time. A tile's row of logits is SG_HEAD_LEAD long: with a power of two the rows would compete for
 * the same lines of the cache. */
enum { SG_HEAD_BLOCK = 96, SG_HEAD_LEAD = SG_HEAD_TILE + 16 };

/* Pieces of memory that are kept from call to call and only grow. */
enum sg_head_room {
    SG_ROOM_SCRATCH,  /* of every thread: weights of a tile packed twice, two blocks of logits */
    SG_ROOM_LOG_MASS, /* [tiles][rows] */
    SG_ROOM_LOG_NORM, /* [rows] */
    SG_ROOM_ORDER,    /* samples by tile, then row, then as they came */
    SG_ROOM_FIRST,    /* [tiles + 1], into that order */
    SG_ROOM_COUNTS,   /* for sorting */
    SG_ROOM_PICKED,   /* logits of the samples */
    SG_ROOM_DIFFUSE,  /* B of each row */
    SG_ROOM_ACTIVE,   /* rows with a push; then each row's place among them */
    SG_ROOM_HIDDEN,   /* their features */
    SG_ROOM_PACKED,   /* the same, packed by block */
    SG_ROOM_PARTS,    /* gradients of the features, one part a strip; sums, one a tile */
    SG_ROOMS
};

struct sg_head_pass {
    struct {
        void *bytes;
        size_t size;
    } rooms[SG_ROOMS];
    size_t rows;
    int threads;
    bool on_device;
    sg_cuda_head *device; /* from the first call on, and what it was asked last: */
    struct {
        size_t count;
        sg_cuda_push push; /* its arrays are gone */
        bool bias, hidden;
    } last;
};

sg_status sg_head_grow(sg_head_pass *pass, enum sg_head_room room, size_t count, size_t size,
                       sg_error *error);
static inline void *sg_head_at(const sg_head_pass *pass, enum sg_head_room room)
{
    return pass->rooms[room].bytes;
}

/* What the loops over tiles need to know. */
typedef struct sg_head_job {
    const sg_head *head;
    const sg_matrix_kernels *matrix;
    const sg_head_kernels *kernels;
    size_t real; /* bytes of a number */
    size_t tiles, width;
    size_t packed, scratch; /* bytes of a packed tile of weights, of one thread's scratch */
} sg_head_job;

/* Also makes room for the scratch of every thread that may run now. pass->rows is known. */
sg_status sg_head_start(sg_head_pass *pass, const sg_head *head, sg_head_job *job, sg_error *error);

typedef struct sg_head_scratch {
    char *across, *along; /* weights, packed for the logits and for the features' gradient */
    char *logits, *other; /* [SG_HEAD_BLOCK][SG_HEAD_LEAD] */
} sg_head_scratch;
sg_head_scratch sg_head_scratch_here(const sg_head_pass *pass, const sg_head_job *job);

static inline const char *sg_head_element(const void *array, size_t index, const sg_head_job *job)
{
    return (const char *)array + index * job->real;
}

static inline double sg_head_real(const void *array, size_t index, const sg_head_job *job)
{
    return job->head->precision == SG_FP32 ? (double)((const float *)array)[index]
                                           : ((const double *)array)[index];
}

/* Tokens of a tile; the same with padding. */
static inline size_t sg_head_tile(const sg_head_job *job, size_t tile)
{
    size_t left = job->head->vocabulary - tile * SG_HEAD_TILE;
    return left < SG_HEAD_TILE ? left : SG_HEAD_TILE;
}

static inline size_t sg_head_pad(size_t n)
{
    return (n + SG_HEAD_PAD - 1) / SG_HEAD_PAD * SG_HEAD_PAD;
}

/* The weights of a tile, packed for sg_head_tile_logits, which writes the logits of `rows` rows of
 * features to logits[r * lead]. */
void sg_head_pack(const sg_head_job *job, size_t tile, void *packed);
void sg_head_tile_logits(const sg_head_job *job, size_t tile, const void *packed,
                         const void *hidden, size_t rows, void *logits, size_t lead);

/* Fills SG_ROOM_ORDER and SG_ROOM_FIRST. */
sg_status sg_head_sort(sg_head_pass *pass, const sg_head_job *job, const sg_head_samples *samples,
                       sg_error *error);

/* Fills SG_ROOM_DIFFUSE and SG_ROOM_ACTIVE; *active: rows with a push. */
sg_status sg_head_find_active(sg_head_pass *pass, const sg_head_samples *samples,
                              const double *pushes, size_t *active, sg_error *error);

/* What a row looks like, from the sums over the head and over the tail. */
sg_row_observation sg_head_conclude(const sg_head_sums *head, const sg_head_sums *tail,
                                    double log_norm);

#endif
