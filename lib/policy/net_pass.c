/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/net_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sg_net_pass *sg_net_pass_alloc_on(sg_backend_kind backend)
{
    sg_net_pass *pass = calloc(1, sizeof *pass);
    if (pass && !(pass->head = sg_head_pass_alloc(backend))) {
        free(pass);
        return NULL;
    }
    return pass;
}

sg_net_pass *sg_net_pass_alloc(void)
{
    return sg_net_pass_alloc_on(SG_BACKEND_CPU);
}

sg_status sg_net_pass_matmul(sg_net_pass *pass, sg_matmul matmul, sg_error *error)
{
    return sg_head_pass_matmul(pass->head, matmul, error);
}

void sg_net_pass_free(sg_net_pass *pass)
{
    if (!pass)
        return;
    sg_head_pass_free(pass->head);
    free(pass->grouping.bytes);
    free(pass->state.bytes);
    free(pass->embeddings.bytes);
    free(pass);
}

sg_net_view sg_net_look(const sg_net *net)
{
    sg_net_view view = {0};
    char *values = net->values;
    size_t real = sg_real_size(net->config.precision);
    const struct {
        const char *name;
        void **slot;
    } plain[] = {{"weights", &view.weights},      {"bias", &view.bias},
                 {"tokens", &view.tokens},        {"prompts", &view.prompts},
                 {"positions", &view.positions},  {"mix", &view.mix},
                 {"final_gain", &view.final_gain}};
    for (size_t i = 0; i < net->tensor_count; i++) {
        const sg_tensor *t = &net->tensors[i];
        void *at = t->offset < net->resident ? sg_cuda_flat_at(net->device, t->offset)
                                             : values + t->offset * real;
        for (size_t k = 0; k < sizeof plain / sizeof *plain; k++)
            if (strcmp(t->name, plain[k].name) == 0)
                *plain[k].slot = at;
        size_t n = strcspn(t->name, "0123456789");
        if (!t->name[n])
            continue;
        size_t b = (size_t)(t->name[n] - '0');
        void **slot = t->name[0] == 'g'   ? &view.block[b].gain
                      : t->name[0] == 'r' ? &view.block[b].router
                      : t->name[0] == 'i' ? &view.block[b].inner
                                          : &view.block[b].outer;
        *slot = at;
    }
    if (net->config.tied)
        view.tokens = view.weights;
    return view;
}

sg_head sg_net_head(const sg_net *net, double sharpness)
{
    sg_net_view view = sg_net_look(net);
    return (sg_head){.vocabulary = net->config.prior.vocabulary,
                     .width = net->config.width,
                     .head_tokens = net->config.prior.head,
                     .precision = net->config.precision,
                     .sharpness = sharpness,
                     .weights = view.weights,
                     .bias = view.bias,
                     .resident = net->device != NULL,
                     .flat = net->device};
}

/* ---- rows: a hash table over contexts */

static uint64_t mix64(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 32;
}

static uint64_t key_of(const sg_net_pass *pass, size_t i)
{
    const sg_net_batch *batch = &pass->batch;
    uint64_t hash = mix64(1, (uint64_t)batch->positions[i]);
    for (size_t s = 0; s < pass->slots; s++)
        hash = mix64(hash, (uint32_t)batch->contexts[i * pass->slots + s]);
    for (size_t b = 0; batch->routes && b < pass->blocks; b++)
        hash = mix64(hash, batch->routes[i * pass->blocks + b]);
    return hash;
}

static bool same(const sg_net_pass *pass, size_t i, size_t j)
{
    const sg_net_batch *batch = &pass->batch;
    if (batch->positions[i] != batch->positions[j])
        return false;
    for (size_t s = 0; s < pass->slots; s++)
        if (batch->contexts[i * pass->slots + s] != batch->contexts[j * pass->slots + s])
            return false;
    for (size_t b = 0; batch->routes && b < pass->blocks; b++)
        if (batch->routes[i * pass->blocks + b] != batch->routes[j * pass->blocks + b])
            return false;
    return true;
}

static sg_status out_of_memory(size_t bytes, sg_error *error)
{
    return sg_fail(error, SG_ENOMEM,
                   "the net needs another %.3g GiB for its activations; take fewer positions a "
                   "step, or a smaller net",
                   (double)bytes * 0x1p-30);
}

/* Rows of the batch into row_of, example and rows. */
static sg_status group(sg_net_pass *pass, sg_error *error)
{
    size_t n = pass->batch.count, slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    size_t bytes = (2 * n + slots) * sizeof(uint32_t);
    if (pass->grouping.size < bytes) {
        free(pass->grouping.bytes);
        pass->grouping.size = 0;
        if (!(pass->grouping.bytes = sg_matrix_alloc(bytes)))
            return out_of_memory(bytes, error);
        pass->grouping.size = bytes;
    }
    pass->row_of = pass->grouping.bytes;
    pass->example = pass->row_of + n;
    uint32_t *table = pass->example + n; /* row + 1, 0: free */
    memset(table, 0, slots * sizeof *table);
    pass->rows = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = key_of(pass, i) & (slots - 1);
        while (table[at] && !same(pass, i, pass->example[table[at] - 1]))
            at = (at + 1) & (slots - 1);
        if (!table[at]) {
            pass->example[pass->rows] = (uint32_t)i;
            table[at] = (uint32_t)++pass->rows;
        }
        pass->row_of[i] = table[at] - 1;
    }
    return SG_OK;
}

/* ---- memory for activations: counted first, then handed out */

typedef struct arena {
    char *base;
    size_t used;
} arena;

static void *take(arena *a, size_t count, size_t size)
{
    void *at = a->base ? a->base + a->used : NULL;
    a->used += (count * size + 63) / 64 * 64;
    return at;
}

static void hand_out(sg_net_pass *pass, const sg_net_config *c, arena *a)
{
    size_t m = pass->rows, real = sg_real_size(c->precision), d = c->width;
    size_t assignments = m * (c->experts > 1 ? c->top_k : 1);
    for (size_t b = 0; b < c->blocks; b++) {
        sg_net_block_state *s = &pass->block[b];
        s->x = take(a, m * d, real);
        s->inverse_rms = take(a, m, real);
        s->n = take(a, m * d, real);
        s->set = take(a, m, sizeof(uint64_t));
        s->row = take(a, assignments, sizeof(uint32_t));
        s->gate = take(a, assignments, real);
        s->inner = take(a, assignments * c->hidden, real);
        s->active = take(a, assignments * c->hidden, real);
        s->outer = take(a, assignments * d, real);
        s->gate_entropy = take(a, m, sizeof(double));
    }
    pass->x = take(a, m * d, real);
    pass->inverse_rms = take(a, m, real);
    pass->h = take(a, m * d, real);
    if (!c->frozen_features) {
        pass->dh = take(a, m * d, real);
        pass->dx = take(a, m * d, real);
        pass->dn = take(a, m * d, real);
        pass->dgate = take(a, assignments, real);
    }
    pass->work = take(a, sg_net_work_bytes(c, m), 1);
}

static sg_status make_room(sg_net_pass *pass, const sg_net_config *c, sg_error *error)
{
    arena a = {NULL, 0};
    hand_out(pass, c, &a);
    if (pass->state.size < a.used) {
        free(pass->state.bytes);
        pass->state.size = 0;
        if (!(pass->state.bytes = sg_matrix_alloc(a.used)))
            return out_of_memory(a.used, error);
        pass->state.size = a.used;
    }
    a = (arena){pass->state.bytes, 0};
    hand_out(pass, c, &a);
    return SG_OK;
}

/* ---- the operations */

static bool inside(int32_t x, int32_t low, size_t end)
{
    return x >= low && (x < 0 || (size_t)x < end);
}

static sg_status check_batch(const sg_net_config *c, const sg_net_batch *batch, sg_error *error)
{
    size_t slots = sg_net_slots(c), wanted = c->experts > 1 ? c->top_k : 1;
    uint64_t allowed = c->experts > 1 ? ~UINT64_C(0) >> (SG_ROUTE_EXPERTS - c->experts) : 1;
    if (batch->count < 1 || batch->count > UINT32_MAX / 4)
        return sg_fail(error, SG_EARGUMENT, "a batch has %zu positions; it must have 1 to 2^30",
                       batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        if (!inside(batch->positions[i], 0, c->length) ||
            (batch->tokens && !inside(batch->tokens[i], 0, c->prior.vocabulary)))
            return sg_fail(error, SG_EARGUMENT,
                           "position %zu of a batch is number %d with token %d; the net has %zu "
                           "positions and %zu tokens",
                           i, (int)batch->positions[i], batch->tokens ? (int)batch->tokens[i] : 0,
                           c->length, c->prior.vocabulary);
        for (size_t s = 0; s < slots; s++)
            if (!inside(batch->contexts[i * slots + s], -1,
                        s < c->prompt_length ? c->prompt_symbols : c->prior.vocabulary))
                return sg_fail(error, SG_EARGUMENT,
                               "slot %zu of position %zu of a batch holds %d, which is no symbol "
                               "of the net",
                               s, i, (int)batch->contexts[i * slots + s]);
        for (size_t b = 0; batch->routes && b < c->blocks; b++) {
            uint64_t set = batch->routes[i * c->blocks + b];
            if ((set & ~allowed) || (size_t)__builtin_popcountll(set) != wanted)
                return sg_fail(error, SG_EARGUMENT,
                               "the replayed route of position %zu in block %zu is not a set of "
                               "%zu of the net's experts",
                               i, b, wanted);
        }
    }
    return SG_OK;
}

sg_status sg_net_features_only(sg_net_pass *pass, const sg_net *net, const sg_net_batch *batch,
                               sg_error *error)
{
    const sg_net_config *c = &net->config;
    sg_status status = check_batch(c, batch, error);
    if (status)
        return status;
    pass->batch = *batch;
    pass->width = c->width;
    pass->blocks = c->blocks;
    pass->slots = sg_net_slots(c);
    pass->precision = c->precision;
    status = group(pass, error);
    if (!status)
        status = make_room(pass, c, error);
    if (!status)
        status = sg_net_embeddings_fetch(pass, net, error);
    if (!status)
        sg_net_kernels_of[c->precision].forward(pass, net);
    return status;
}

sg_status sg_net_forward(sg_net_pass *pass, const sg_net *net, const sg_net_batch *batch,
                         double *log_prob, sg_error *error)
{
    sg_status status = sg_net_features_only(pass, net, batch, error);
    if (status)
        return status;
    sg_head head = sg_net_head(net, 1 / net->config.temperature);
    sg_head_samples samples = {batch->count, batch->tokens, pass->row_of};
    bool asked = batch->tokens && log_prob;
    return sg_head_forward(pass->head, &head, pass->h, pass->rows, asked ? &samples : NULL,
                           log_prob, error);
}

/* What the output layer does not write. */
static sg_status clear_rest(sg_net *gradient, sg_error *error)
{
    size_t real = sg_real_size(gradient->config.precision);
    sg_status status = SG_OK;
    for (size_t i = 0; i < gradient->tensor_count && !status; i++) {
        const sg_tensor *t = &gradient->tensors[i];
        size_t n = t->rows * t->columns;
        if (t->over_vocabulary)
            continue;
        if (t->offset < gradient->resident)
            status = sg_cuda_flat_zero(gradient->device, t->offset, n, error);
        else
            memset((char *)gradient->values + t->offset * real, 0, n * real);
    }
    return status;
}

sg_status sg_net_backward(sg_net_pass *pass, const sg_net *net, const double *pushes,
                          sg_diffuse diffuse, sg_net *gradient, sg_error *error)
{
    const sg_net_config *c = &net->config;
    sg_head head = sg_net_head(net, 1 / c->temperature);
    sg_head_samples samples = {pass->batch.count, pass->batch.tokens, pass->row_of};
    sg_net_view out = sg_net_look(gradient);
    sg_head_gradient to = {out.weights, out.bias, c->frozen_features ? NULL : pass->dh,
                           gradient->device};
    sg_status status =
        sg_head_backward(pass->head, &head, pass->h, &samples, pushes, diffuse, &to, error);
    if (status || c->frozen_features)
        return status;
    status = clear_rest(gradient, error);
    if (!status)
        status = sg_net_embeddings_open(pass, gradient, error);
    if (!status)
        sg_net_kernels_of[c->precision].backward(pass, net, gradient);
    return status ? status : sg_net_embeddings_close(pass, gradient, error);
}

sg_status sg_net_observe(sg_net_pass *pass, const sg_net *net, sg_row_observation *observation,
                         sg_error *error)
{
    sg_head head = sg_net_head(net, 1 / net->config.temperature);
    return sg_head_observe(pass->head, &head, pass->h, observation, error);
}

sg_status sg_net_diverge(sg_net_pass *pass_a, const sg_net *a, sg_net_pass *pass_b, const sg_net *b,
                         sg_divergence *divergence, sg_error *error)
{
    sg_head head_a = sg_net_head(a, 1 / a->config.temperature);
    sg_head head_b = sg_net_head(b, 1 / b->config.temperature);
    return sg_head_diverge(pass_a->head, &head_a, pass_a->h, pass_b->head, &head_b, pass_b->h,
                           divergence, error);
}

/* ---- what a forward saw */

size_t sg_net_rows(const sg_net_pass *pass)
{
    return pass->rows;
}

const uint32_t *sg_net_row_of(const sg_net_pass *pass)
{
    return pass->row_of;
}

void sg_net_routes(const sg_net_pass *pass, uint64_t *routes)
{
    for (size_t i = 0; i < pass->batch.count; i++)
        for (size_t b = 0; b < pass->blocks; b++)
            routes[i * pass->blocks + b] = pass->block[b].set[pass->row_of[i]];
}

void sg_net_gate_entropy(const sg_net_pass *pass, double *entropy)
{
    for (size_t r = 0; r < pass->rows; r++)
        for (size_t b = 0; b < pass->blocks; b++)
            entropy[r * pass->blocks + b] = pass->block[b].gate_entropy[r];
}

void sg_net_features(const sg_net_pass *pass, size_t row, double *h)
{
    for (size_t k = 0; k < pass->width; k++) {
        size_t i = row * pass->width + k;
        h[k] = pass->precision == SG_FP32 ? (double)((const float *)pass->h)[i]
                                          : ((const double *)pass->h)[i];
    }
}

double sg_net_diffuse_push(const sg_net_pass *pass, const double *pushes, double *diffuse)
{
    memset(diffuse, 0, pass->rows * sizeof *diffuse);
    for (size_t i = 0; i < pass->batch.count; i++)
        diffuse[pass->row_of[i]] += pushes[i];
    double norm2 = 0;
    for (size_t k = 0; k < pass->width; k++) {
        double sum = 0;
        for (size_t r = 0; r < pass->rows; r++) {
            size_t i = r * pass->width + k;
            sum += diffuse[r] * (pass->precision == SG_FP32 ? (double)((const float *)pass->h)[i]
                                                            : ((const double *)pass->h)[i]);
        }
        norm2 += sum * sum;
    }
    return sqrt(norm2);
}

sg_status sg_net_recentre(const sg_net_pass *pass, double *pushes, sg_error *error)
{
    double *sum = calloc(3 * pass->rows, sizeof *sum);
    if (!sum)
        return out_of_memory(3 * pass->rows * sizeof *sum, error);
    double *count = sum + pass->rows, *gross = count + pass->rows;
    for (size_t i = 0; i < pass->batch.count; i++) {
        sum[pass->row_of[i]] += pushes[i];
        gross[pass->row_of[i]] += fabs(pushes[i]);
        count[pass->row_of[i]]++;
    }
    for (size_t i = 0; i < pass->batch.count; i++) {
        size_t r = pass->row_of[i];
        double left = pushes[i] - sum[r] / count[r];
        pushes[i] = fabs(left) <= 0x1p-44 * gross[r] ? 0 : left;
    }
    free(sum);
    return SG_OK;
}
