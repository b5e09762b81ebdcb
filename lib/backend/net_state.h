/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_STATE_H
#define SG_NET_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"

/* What the kernels of the neural policy work on, below its output layer: arrays of the CPU or of a CUDA device, of the
 * net's precision where nothing else is said. */

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_NET_BLOCKS = 8 };

/* Tensors of a net or of a gradient (policy/net.h); NULL where there is none. */
typedef struct sg_net_view {
    void *numbers; /* all of them */
    void *weights, *bias, *tokens, *prompts, *positions, *mix, *final_gain;
    struct {
        void *gain, *router, *inner, *outer;
    } block[SG_NET_BLOCKS];
} sg_net_view;

/* What a forward leaves behind in a block. An assignment is a pair of row and expert; assignments are
 * ordered by expert, then row. */
typedef struct sg_net_block_state {
    void *x;              /* [rows][width], what enters the block */
    void *inverse_rms;    /* [rows] */
    void *n;              /* [rows][width], normalised x times gain */
    uint64_t *set;        /* [rows], experts of the row */
    double *gate_entropy; /* [rows] */
    uint32_t *first;      /* [experts + 1], of each expert's assignments */
    uint32_t *row;        /* [assignments] */
    uint32_t *place;      /* [rows][top_k], assignments of the row, experts rising */
    void *gate;           /* [assignments] */
    void *inner;          /* [assignments][hidden], before the activation */
    void *active;         /* [assignments][hidden], after it */
    void *outer;          /* [assignments][width] */
} sg_net_block_state;

typedef struct sg_net_state {
    sg_precision precision;
    size_t rows, width, blocks, hidden;
    size_t experts, top_k; /* 1 and 1 in dense blocks */
    size_t slots, prompt_length;
    const int32_t *position; /* [rows] */
    const int32_t *context;  /* [rows][slots] */
    const uint64_t *routes;  /* [rows][blocks] to replay, or NULL */
    sg_net_block_state block[SG_NET_BLOCKS];
    void *x;           /* [rows][width], what leaves the last block */
    void *inverse_rms; /* [rows] */
    void *h;           /* [rows][width], features of the output layer */
    void *dh;          /* [rows][width], their gradient */
    void *dx;    /* [rows][width], the gradient of what leaves a block, then of what enters it */
    void *dn;    /* [rows][width] */
    void *dgate; /* [assignments] */
    /* Room: [assignments][width], [..][width], [..][hidden], [..][the wider of both]. */
    void *gathered, *douter, *dinner, *spread;
    void *tiles;                        /* [tiles of rows][width] */
    void *packed_weights, *packed_rows; /* of the CPU's products */
    sg_cuda_stream *stream;             /* of a device */
} sg_net_state;

static inline size_t sg_net_assignments(const sg_net_state *s)
{
    return s->rows * s->top_k;
}

/* The gradients of embeddings, mixes and positions: sums of rows of dx, each times a row of parameters by element. Terms
 * of one sum lie together, rows (then slots) rising, in pieces of at most SG_NET_TILE. */
enum { SG_NET_ALONE = -1 };
typedef struct sg_net_terms {
    size_t count, pieces, sums, parts;
    uint32_t *row; /* [count], of dx */
    size_t
        *factor; /* [count], where the row of parameters begins in the net's numbers; SIZE_MAX: 1 */
    uint32_t *first; /* [pieces + 1], of each piece's terms */
    size_t *to;      /* [pieces], where the sum is added in the gradient's numbers */
    int32_t *
        part; /* [pieces], number among those that share their sum; SG_NET_ALONE: it is the whole sum */
    uint32_t *sum_part; /* [sums + 1], of sums with several pieces: their first part */
    size_t *sum_to;     /* [sums] */
} sg_net_terms;

/* In the order of a forward, then of a backward. Only a device can fail; there, work is queued. */
typedef struct sg_net_kernels {
    /* x = position + sum over slots of mix * embedding. */
    sg_status (*embed)(const sg_net_state *s, const sg_net_view *net, void *x, sg_error *error);
    /* y = gain x / rms(x), inverse = 1 / rms(x). */
    sg_status (*normalize)(const sg_net_state *s, const void *x, const void *gain, void *y,
                           void *inverse, sg_error *error);
    /* Sets, gates and assignments of block b, from its n. */
    sg_status (*route)(const sg_net_state *s, size_t b, const sg_net_view *net, sg_error *error);
    /* out = x + sum of gate E(n). */
    sg_status (*experts)(const sg_net_state *s, size_t b, const sg_net_view *net, void *out,
                         sg_error *error);

    /* dx += what dy makes of it; dgain likewise. */
    sg_status (*normalize_back)(const sg_net_state *s, const void *x, const void *gain,
                                const void *y, const void *inverse, const void *dy, void *dgain,
                                sg_error *error);
    /* dx becomes dn, dgate, and gradients of the experts' weights. */
    sg_status (*experts_back)(const sg_net_state *s, size_t b, const sg_net_view *net,
                              const sg_net_view *gradient, sg_error *error);
    /* dgate makes the router's gradient, and adds to dn. */
    sg_status (*router_back)(const sg_net_state *s, size_t b, const sg_net_view *net,
                             const sg_net_view *gradient, sg_error *error);
    /* gradient += the terms; parts: [parts][width], room. */
    sg_status (*embed_back)(const sg_net_state *s, const sg_net_view *net,
                            const sg_net_view *gradient, const sg_net_terms *terms, void *parts,
                            sg_error *error);

    /* sums[width] = sum over rows of weight[row] * h, all in double precision. */
    sg_status (*weigh)(const sg_net_state *s, const double *weight, double *sums, sg_error *error);
} sg_net_kernels;

#ifdef __cplusplus
}
#endif

#endif
