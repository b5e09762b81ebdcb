/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_PASS_H
#define SG_NET_PASS_H

#include "backend/net_state.h"
#include "policy/net.h"
#include "policy/net_matrix.h"

/* What the parts of a pass through the net share; not for others. */

/* Memory that is kept from call to call and only grows. */
typedef struct sg_net_room {
    void *bytes;
    size_t size;
    sg_cuda_stream *stream; /* that uses it, on a device; NULL: it is here */
} sg_net_room;

/* Memory is counted first, with base NULL, then handed out. */
typedef struct sg_net_arena {
    char *base;
    size_t used;
} sg_net_arena;
void *sg_net_take(sg_net_arena *arena, size_t count, size_t size);

/* What the rows are. */
typedef struct sg_net_row_arrays {
    int32_t *position, *context; /* [rows], [rows][slots] */
    uint64_t *routes;            /* [rows][blocks] to replay, or NULL */
} sg_net_row_arrays;

struct sg_net_pass {
    sg_backend_kind backend;
    sg_net_batch batch; /* the caller's arrays */
    size_t rows;
    uint32_t *row_of; /* [N] */
    sg_net_row_arrays here;
    sg_net_state state; /* its arrays are where the kernels work */
    sg_head_pass *head;
    sg_net_room grouping, rows_here, sorting, terms_here, features_here;
    sg_net_room arrays;                         /* where the kernels work */
    sg_net_room rows_there, terms_there, parts; /* of a device */
};

sg_net_view sg_net_look(const sg_net *net);
sg_head sg_net_head(const sg_net *net, double sharpness);

/* Everything of sg_net_forward but the output layer. On a device it is queued. */
sg_status sg_net_features_only(sg_net_pass *pass, const sg_net *net, const sg_net_batch *batch,
                               sg_error *error);

/* ---- parts of it */

/* Rows of the batch, and their arrays here; where those lie in an arena, blocks 0 without routes. */
sg_status sg_net_group(sg_net_pass *pass, const sg_net_config *config, sg_error *error);
sg_net_row_arrays sg_net_place_rows(const sg_net_pass *pass, size_t slots, size_t blocks,
                                    sg_net_arena *arena);

/* pass->state: room for everything that a forward and a backward leave behind; and what the rows are, where the
 * kernels work. */
sg_status sg_net_make_room(sg_net_pass *pass, const sg_net_config *config, sg_error *error);
sg_status sg_net_room_grow(sg_net_room *room, size_t bytes, sg_error *error);
void sg_net_room_free(sg_net_room *room);

/* Features that are random numbers of the context, [rows][width] of the net's precision. */
void sg_net_frozen(const sg_net_pass *pass, const sg_net *net, void *h);

/* The terms of the gradients below the blocks, in pass->terms_here; the same with arrays in an arena. */
sg_status sg_net_make_terms(sg_net_pass *pass, const sg_net *net, sg_net_terms *terms,
                            sg_error *error);
sg_net_terms sg_net_place_terms(const sg_net_terms *counts, sg_net_arena *arena);

/* Features h of all rows; the gradients of everything below the output layer, added up from dh. */
sg_status sg_net_walk_forward(sg_net_pass *pass, const sg_net *net, sg_error *error);
sg_status sg_net_walk_backward(sg_net_pass *pass, const sg_net *net, const sg_net *gradient,
                               sg_error *error);
extern const sg_net_kernels sg_net_kernels_of[2]; /* on the CPU, by precision */

/* `bytes` of an array of the kernels. */
sg_status sg_net_get_array(const sg_net_pass *pass, const void *from, size_t bytes, void *to,
                           sg_error *error);

#endif
