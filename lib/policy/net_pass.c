/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/net_pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/net.h"
#include "policy/routing.h"

sg_net_pass *sg_net_pass_alloc_on(sg_backend_kind backend)
{
    sg_net_pass *pass = calloc(1, sizeof *pass);
    if (pass && !(pass->head = sg_head_pass_alloc(backend))) {
        free(pass);
        return NULL;
    }
    if (pass)
        pass->backend = backend;
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
    sg_net_room *rooms[] = {&pass->grouping,   &pass->rows_here,     &pass->sorting,
                            &pass->terms_here, &pass->features_here, &pass->arrays,
                            &pass->rows_there, &pass->terms_there,   &pass->parts};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        sg_net_room_free(rooms[i]);
    sg_head_pass_free(pass->head);
    free(pass);
}

sg_net_view sg_net_look(const sg_net *net)
{
    char *numbers = net->device ? sg_cuda_flat_at(net->device, 0) : net->values;
    sg_net_view view = {.numbers = numbers};
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
        void *at = numbers + t->offset * real;
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
    if (!status && (net->device != NULL) != (pass->backend == SG_BACKEND_CUDA))
        status = sg_fail(error, SG_EARGUMENT,
                         "the net is on %s; make the pass through it on the same backend",
                         net->device ? "a CUDA device" : "the CPU");
    if (status)
        return status;
    pass->batch = *batch;
    status = sg_net_group(pass, c, error);
    if (!status)
        status = sg_net_make_room(pass, c, error);
    return status ? status : sg_net_walk_forward(pass, net, error);
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
    return sg_head_forward(pass->head, &head, pass->state.h, pass->rows, asked ? &samples : NULL,
                           log_prob, error);
}

sg_status sg_net_backward(sg_net_pass *pass, const sg_net *net, const double *pushes,
                          sg_diffuse diffuse, sg_net *gradient, sg_error *error)
{
    const sg_net_config *c = &net->config;
    sg_head head = sg_net_head(net, 1 / c->temperature);
    sg_head_samples samples = {pass->batch.count, pass->batch.tokens, pass->row_of};
    sg_net_view out = sg_net_look(gradient);
    sg_head_gradient to = {out.weights, out.bias, c->frozen_features ? NULL : pass->state.dh,
                           gradient->device};
    sg_status status =
        sg_head_backward(pass->head, &head, pass->state.h, &samples, pushes, diffuse, &to, error);
    return status || c->frozen_features ? status : sg_net_walk_backward(pass, net, gradient, error);
}

sg_status sg_net_observe(sg_net_pass *pass, const sg_net *net, sg_row_observation *observation,
                         sg_error *error)
{
    sg_head head = sg_net_head(net, 1 / net->config.temperature);
    return sg_head_observe(pass->head, &head, pass->state.h, observation, error);
}

sg_status sg_net_diverge(sg_net_pass *pass_a, const sg_net *a, sg_net_pass *pass_b, const sg_net *b,
                         sg_divergence *divergence, sg_error *error)
{
    sg_head head_a = sg_net_head(a, 1 / a->config.temperature);
    sg_head head_b = sg_net_head(b, 1 / b->config.temperature);
    return sg_head_diverge(pass_a->head, &head_a, pass_a->state.h, pass_b->head, &head_b,
                           pass_b->state.h, divergence, error);
}

/* ---- what a forward saw */

static sg_status out_of_memory(sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "not enough memory to look at a pass through the net");
}

size_t sg_net_rows(const sg_net_pass *pass)
{
    return pass->rows;
}

const uint32_t *sg_net_row_of(const sg_net_pass *pass)
{
    return pass->row_of;
}

sg_status sg_net_get_array(const sg_net_pass *pass, const void *from, size_t bytes, void *to,
                           sg_error *error)
{
    if (pass->backend == SG_BACKEND_CUDA) {
        sg_status status = sg_cuda_use(error);
        return status ? status : sg_cuda_from_device(to, from, bytes, pass->state.stream, error);
    }
    memcpy(to, from, bytes);
    return SG_OK;
}

/* Sets of all blocks lie together. */
sg_status sg_net_routes(const sg_net_pass *pass, uint64_t *routes, sg_error *error)
{
    size_t blocks = pass->state.blocks, rows = pass->rows;
    if (blocks == 0)
        return SG_OK;
    uint64_t *set = malloc(blocks * rows * sizeof *set);
    if (!set)
        return out_of_memory(error);
    sg_status status =
        sg_net_get_array(pass, pass->state.block[0].set, blocks * rows * sizeof *set, set, error);
    for (size_t i = 0; i < pass->batch.count && !status; i++)
        for (size_t b = 0; b < blocks; b++)
            routes[i * blocks + b] = set[b * rows + pass->row_of[i]];
    free(set);
    return status;
}

sg_status sg_net_gate_entropy(const sg_net_pass *pass, double *entropy, sg_error *error)
{
    size_t blocks = pass->state.blocks, rows = pass->rows;
    if (blocks == 0)
        return SG_OK;
    double *by_block = malloc(blocks * rows * sizeof *by_block);
    if (!by_block)
        return out_of_memory(error);
    sg_status status = sg_net_get_array(pass, pass->state.block[0].gate_entropy,
                                        blocks * rows * sizeof *by_block, by_block, error);
    for (size_t r = 0; r < rows && !status; r++)
        for (size_t b = 0; b < blocks; b++)
            entropy[r * blocks + b] = by_block[b * rows + r];
    free(by_block);
    return status;
}

sg_status sg_net_features(const sg_net_pass *pass, size_t row, double *h, sg_error *error)
{
    const sg_net_state *s = &pass->state;
    size_t bytes = s->width * sg_real_size(s->precision);
    sg_status status = sg_net_get_array(pass, (const char *)s->h + row * bytes, bytes, h, error);
    if (s->precision == SG_FP32)
        for (size_t k = s->width; k-- > 0;) { /* from the end: they grow in place */
            float narrow;
            memcpy(&narrow, (char *)h + k * sizeof narrow, sizeof narrow);
            h[k] = (double)narrow;
        }
    return status;
}

/* sums[width] of weight[row] * h; on a device both travel. */
static sg_status weigh(sg_net_pass *pass, const double *weight, double *sums, sg_error *error)
{
    const sg_net_state *s = &pass->state;
    if (pass->backend != SG_BACKEND_CUDA)
        return sg_net_kernels_of[s->precision].weigh(s, weight, sums, error);
    size_t bytes = s->rows * sizeof *weight;
    sg_status status = sg_net_room_grow(&pass->parts, bytes + s->width * sizeof *sums, error);
    if (status)
        return status;
    double *there = pass->parts.bytes;
    status = sg_cuda_to_device(there, weight, bytes, s->stream, error);
    if (!status)
        status = sg_cuda_net_kernels[s->precision].weigh(s, there, there + s->rows, error);
    return status ? status
                  : sg_net_get_array(pass, there + s->rows, s->width * sizeof *sums, sums, error);
}

sg_status sg_net_diffuse_push(sg_net_pass *pass, const double *pushes, double *diffuse,
                              double *norm, sg_error *error)
{
    double norm2 = 0, *sums = malloc(pass->state.width * sizeof *sums);
    if (!sums)
        return out_of_memory(error);
    memset(diffuse, 0, pass->rows * sizeof *diffuse);
    for (size_t i = 0; i < pass->batch.count; i++)
        diffuse[pass->row_of[i]] += pushes[i];
    sg_status status = weigh(pass, diffuse, sums, error);
    for (size_t k = 0; k < pass->state.width && !status; k++)
        norm2 += sums[k] * sums[k];
    *norm = sqrt(norm2);
    free(sums);
    return status;
}

sg_status sg_net_recentre(const sg_net_pass *pass, double *pushes, sg_error *error)
{
    double *sum = calloc(3 * pass->rows, sizeof *sum);
    if (!sum)
        return out_of_memory(error);
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
