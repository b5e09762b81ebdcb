/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Forward and backward below the output layer; net_real.h is the source for both precisions. One
 * thread: the output layer takes nearly all of the time. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "core/vec.h"
#include "core/vec_math.h"
#include "policy/net_pass.h"

/* Added to the mean square before its root. */
static const double rms_floor = 1e-6;

/* Frozen features have random numbers of their own: this stands where the others have a tensor. */
enum { FEATURES = 255 };

/* Room of one expert: its weights packed, packed activations, and gradients. Counted for an expert
 * that takes all rows. */
size_t sg_net_work_bytes(const sg_net_config *c, size_t rows)
{
    size_t d = c->width, f = c->hidden, wide = d > f ? d : f;
    size_t across = sg_matrix_packed_bytes(c->precision, d, f);
    size_t along = sg_matrix_packed_bytes(c->precision, f, d);
    size_t rows_packed = sg_matrix_packed_bytes(c->precision, rows, wide);
    return (across > along ? across : along) + rows_packed + 4 * rows * wide * sizeof(double);
}

typedef struct work {
    void *weights, *rows;                    /* packed */
    void *gathered, *outer, *inner, *spread; /* [rows][width or hidden] */
} work;

static work work_of(const sg_net_pass *pass, const sg_net_config *c)
{
    size_t d = c->width, f = c->hidden, wide = d > f ? d : f, rows = pass->rows;
    size_t across = sg_matrix_packed_bytes(c->precision, d, f);
    size_t along = sg_matrix_packed_bytes(c->precision, f, d);
    char *at = pass->work;
    work w = {.weights = at};
    at += across > along ? across : along;
    w.rows = at;
    at += sg_matrix_packed_bytes(c->precision, rows, wide);
    void **each[] = {&w.gathered, &w.outer, &w.inner, &w.spread};
    for (int i = 0; i < 4; i++, at += rows * wide * sizeof(double))
        *each[i] = at;
    return w;
}

static size_t expert_count(const sg_net_config *c)
{
    return c->experts > 1 ? c->experts : 1;
}

/* With the embeddings that were fetched in the place of a table on a device. */
static sg_net_view look(const sg_net *net, void *embeddings)
{
    sg_net_view view = sg_net_look(net);
    if (net->device)
        view.tokens = embeddings;
    return view;
}

/* The embedding in a slot: which table, which row; NULL when the slot is empty. */
static void *embedding(const sg_net_pass *pass, const sg_net_view *view, const sg_net_config *c,
                       size_t slot, int32_t symbol, size_t *row)
{
    *row = (size_t)symbol;
    if (symbol < 0)
        return NULL;
    if (slot < c->prompt_length)
        return view->prompts;
    if (pass->embeddings.count)
        *row = sg_net_embeddings_row(pass, symbol);
    return view->tokens;
}

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_SIGMOID sg_vec_sigmoidf
#define SG_SQRT sqrtf
#include "policy/net_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SIGMOID
#undef SG_SQRT

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_SIGMOID sg_vec_sigmoid
#define SG_SQRT sqrt
#include "policy/net_real.h"

const sg_net_kernels sg_net_kernels_of[2] = {
    [SG_FP32] = {forward_f32, backward_f32},
    [SG_FP64] = {forward_f64, backward_f64},
};
