/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_PASS_H
#define SG_NET_PASS_H

#include "policy/net.h"
#include "policy/net_matrix.h"
#include "policy/routing.h"

/* What a forward through the net leaves behind; not for others. Arrays are of the net's precision
 * where nothing else is said, M is the number of rows. An assignment is a pair of row and expert;
 * assignments are ordered by expert, then row. */
typedef struct sg_net_block_state {
    void *x;                              /* [M][width], what enters the block */
    void *inverse_rms;                    /* [M] */
    void *n;                              /* [M][width], normalised x times gain */
    uint64_t *set;                        /* [M], experts of the row */
    uint32_t *row;                        /* [assignments] */
    uint32_t first[SG_ROUTE_EXPERTS + 1]; /* of each expert's assignments */
    void *gate;                           /* [assignments] */
    void *inner;                          /* [assignments][hidden], before the activation */
    void *active;                         /* [assignments][hidden], after it */
    void *outer;                          /* [assignments][width] */
    double *gate_entropy;                 /* [M] */
} sg_net_block_state;

struct sg_net_pass {
    sg_net_batch batch; /* the caller's arrays */
    size_t rows, width, blocks, slots;
    sg_precision precision;
    uint32_t *row_of;  /* [N] */
    uint32_t *example; /* [M], a position of each row */
    sg_net_block_state block[SG_NET_BLOCKS];
    void *x;           /* [M][width], what leaves the last block */
    void *inverse_rms; /* [M] */
    void *h;           /* [M][width], features of the output layer */
    void *dh;          /* [M][width], their gradient */
    void *dx, *dn;     /* [M][width] */
    void *dgate;       /* [assignments] */
    void *work;        /* room for one expert: see sg_net_work_bytes */
    sg_head_pass *head;
    struct {
        void *bytes;
        size_t size;
    } grouping, state;
    struct { /* of tokens in contexts, while their table is on a device */
        void *bytes;
        size_t size;
        size_t count;           /* 0: the table is at hand */
        int32_t *tokens;        /* [count], rising */
        void *rows, *gradients; /* [count][width] */
    } embeddings;
};

/* Where a net's tensors are. NULL where there is none. Addresses of the device where they are there. */
typedef struct sg_net_view {
    void *weights, *bias, *tokens, *prompts, *positions, *mix, *final_gain;
    struct {
        void *gain, *router, *inner, *outer;
    } block[SG_NET_BLOCKS];
} sg_net_view;
sg_net_view sg_net_look(const sg_net *net);

/* Everything of sg_net_forward but the output layer. */
sg_status sg_net_features_only(sg_net_pass *pass, const sg_net *net, const sg_net_batch *batch,
                               sg_error *error);

/* The embeddings that the pass needs, from the device, when they are there; their gradients, from what the output
 * layer has put there; and these back. */
sg_status sg_net_embeddings_fetch(sg_net_pass *pass, const sg_net *net, sg_error *error);
sg_status sg_net_embeddings_open(sg_net_pass *pass, const sg_net *gradient, sg_error *error);
sg_status sg_net_embeddings_close(sg_net_pass *pass, sg_net *gradient, sg_error *error);
/* Row of a token of the contexts in embeddings.rows. */
size_t sg_net_embeddings_row(const sg_net_pass *pass, int32_t token);

/* Features h of all rows; the gradients of everything below the output layer, added up from dh. */
typedef struct sg_net_kernels {
    void (*forward)(sg_net_pass *pass, const sg_net *net);
    void (*backward)(sg_net_pass *pass, const sg_net *net, sg_net *gradient);
} sg_net_kernels;
extern const sg_net_kernels sg_net_kernels_of[2]; /* by precision */

/* Bytes of `work`. */
size_t sg_net_work_bytes(const sg_net_config *config, size_t rows);

sg_head sg_net_head(const sg_net *net, double sharpness);

#endif
