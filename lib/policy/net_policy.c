/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"
#include "core/isa.h"
#include "core/rng.h"
#include "policy/net_matrix.h"
#include "policy/net_policy_parts.h"

sg_net *sg_net_policy_net(sg_policy *policy)
{
    return sg_net_policy_of(policy)->net;
}

static const char *backend(const sg_policy *policy)
{
    return sg_net_policy_of(policy)->backend;
}

static sg_status name_backend(sg_net_policy *self, sg_error *error)
{
    static const char *const isas[] = {"portable", "avx2", "avx512"};
    sg_cuda_facts device;
    if (self->shape.backend != SG_BACKEND_CUDA) {
        snprintf(self->backend, sizeof self->backend, "cpu/%s", isas[sg_isa_select()]);
        return SG_OK;
    }
    sg_status status = sg_cuda_describe(&device, error);
    if (!status)
        snprintf(self->backend, sizeof self->backend, "cuda/sm_%d%d", device.major, device.minor);
    return status;
}

static void release(sg_policy *policy)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    sg_net_free(self->net);
    sg_net_free(self->gradient);
    sg_net_free(self->old);
    sg_tensor_optimizer_free(self->optimizer);
    sg_net_pass_free(self->pass);
    sg_net_pass_free(self->after);
    sg_net_positions_free(&self->now);
    sg_net_positions_free(&self->replayed);
    free(self->table);
    free(self->symbols);
    free(self);
}

/* Uniforms and prompts in the shape of the net's rollout, then back. */
sg_status sg_net_policy_draw(sg_policy *policy, const sg_policy_draw *how,
                             const sg_responses *responses, double *log_prob, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    const sg_net_config *c = &self->shape.net;
    size_t n = responses->count, length = c->length, slots = c->prompt_length;
    double *uniform = malloc((2 * n * length + 1) * sizeof *uniform);
    double *own = uniform ? uniform + n * length : NULL;
    int32_t *integers = malloc((n * (slots + length + 1) + 1) * sizeof *integers);
    sg_status status = SG_OK;
    if (!uniform || !integers)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu responses", n);
    if (!status) {
        int32_t *prompts = integers, *tokens = prompts + n * slots, *lengths = tokens + n * length;
        sg_net_sequences sequences = {n, prompts, tokens, lengths};
        sg_net_record record = {own, NULL};
        sg_net_draw options = {how->sampler, how->seed, how->step, self->shape.end_token};
        sg_address at = {.seed = how->seed, .stream = how->stream, .step = how->step};
        for (size_t i = 0; i < n; i++) {
            memcpy(prompts + i * slots, self->symbols + responses->prompt[i] * slots,
                   slots * sizeof *prompts);
            at.prompt = responses->prompt[i];
            at.sample = responses->sample[i];
            for (at.token = 0; at.token < length; at.token++)
                uniform[i * length + at.token] = sg_rng_uniform(at);
        }
        status =
            sg_net_rollout(self->pass, self->net, &options, uniform, &sequences, &record, error);
        for (size_t i = 0; i < n && !status; i++) {
            responses->length[i] = (uint32_t)lengths[i];
            for (size_t t = 0; t < (size_t)lengths[i]; t++) {
                responses->tokens[i * responses->room + t] = tokens[i * length + t];
                if (log_prob)
                    log_prob[i * responses->room + t] = own[i * length + t];
            }
        }
    }
    free(uniform);
    free(integers);
    return status;
}

static sg_status log_prob_of(sg_policy *policy, const sg_responses *responses, double *log_prob,
                             sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    sg_net_positions *u = &self->now;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    if (!status && u->count > 0)
        status = sg_net_policy_forward(self, u, true, u->value, error);
    for (size_t i = 0; i < u->count && !status; i++)
        log_prob[u->place[i]] = u->value[i];
    return status;
}

/* ---- making, copying, storing */

static sg_status adopt(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    return sg_net_copy(sg_net_policy_of(policy)->net, sg_net_policy_of(source)->net, error);
}

static sg_status copy(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    sg_status status = adopt(policy, source, error);
    return status ? status
                  : sg_tensor_optimizer_copy(sg_net_policy_of(policy)->optimizer,
                                             sg_net_policy_of(source)->optimizer, error);
}

static void forget(sg_policy *policy)
{
    sg_tensor_optimizer_forget(sg_net_policy_of(policy)->optimizer);
}

static size_t save(const sg_policy *policy, void *to)
{
    const sg_net_policy *self = sg_net_policy_of(policy);
    size_t first = sg_net_stored_bytes(self->net);
    if (to && (sg_net_write(self->net, to, NULL) ||
               sg_tensor_optimizer_write(self->optimizer, (char *)to + first, NULL)))
        return 0;
    return first + sg_tensor_optimizer_bytes(self->optimizer);
}

static sg_status load(sg_policy *policy, const void *from, size_t size, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    size_t first = sg_net_stored_bytes(self->net);
    sg_status status = sg_policy_check_size(size, save(policy, NULL), error);
    if (!status)
        status = sg_net_read(self->net, from, first, error);
    if (!status)
        status = sg_tensor_optimizer_read(self->optimizer, (const char *)from + first, size - first,
                                          error);
    return status;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error);

static const sg_policy_methods methods = {backend,
                                          release,
                                          clone,
                                          copy,
                                          forget,
                                          sg_net_policy_draw,
                                          log_prob_of,
                                          sg_net_policy_update,
                                          sg_net_policy_observe,
                                          sg_net_policy_expected_reward,
                                          save,
                                          load,
                                          adopt,
                                          NULL,
                                          NULL};

/* Arrays of the size of a net: parameters, gradient, what they were before a step, moments. */
static double arrays_of(const sg_net_policy_shape *shape)
{
    return shape->rule.rule == SG_RULE_SGD ? 3 : shape->rule.rule == SG_RULE_MOMENTUM ? 4 : 5;
}

/* Masses of tiles, of one row. */
static double masses_of(const sg_net_config *c)
{
    return ((double)c->prior.vocabulary / 256 + 1) * 8;
}

/* Activations of one row of a pass, in numbers: what a forward leaves behind, and room to work in. */
static double activations_of(const sg_net_config *c)
{
    double width = (double)c->width, hidden = (double)c->hidden, blocks = (double)c->blocks;
    double chosen = c->experts > 1 ? (double)c->top_k : 1;
    double left = width * (5 + 2 * blocks) + blocks * chosen * (2 * hidden + width);
    return left + (blocks > 0 ? chosen * (2 * width + hidden + fmax(width, hidden)) : 0);
}

/* Lists of what a row adds to which embedding, in bytes. */
static double lists_of(const sg_net_config *c)
{
    return 80 * (1 + 2 * (double)sg_net_slots(c));
}

double sg_net_policy_bytes(const sg_net_policy_shape *shape, size_t responses)
{
    const sg_net_config *c = &shape->net;
    double one = (double)sg_net_bytes(c), real = (double)sg_real_size(c->precision);
    double positions = (double)responses * (double)c->length;
    /* Of two passes. On a device: what is fetched for a look, and lists. */
    if (shape->backend == SG_BACKEND_CUDA)
        return one + 2 * positions * lists_of(c);
    /* Also the masses of tiles, and parts of the features' gradient. */
    return one * arrays_of(shape) + (double)c->prior.vocabulary * (double)c->width * real / 4 +
           2 * positions * (activations_of(c) * real + lists_of(c) + masses_of(c));
}

double sg_net_policy_device_bytes(const sg_net_policy_shape *shape, size_t responses)
{
    const sg_net_config *c = &shape->net;
    double positions = (double)responses * (double)c->length, width = (double)c->width;
    double real = (double)sg_real_size(c->precision), logits = 64 * 0x1p20;
    if (shape->backend != SG_BACKEND_CUDA)
        return 0;
    double narrow = shape->matmul == SG_MATMUL_BF16 ? 2 : shape->matmul == SG_MATMUL_TF32 ? 4 : 0;
    /* Of two passes: a chunk of logits, parts of the features' gradient, activations, features with a push, masses,
     * rounded weights. */
    return (double)sg_net_bytes(c) * arrays_of(shape) +
           2 * (logits + logits * width / 1024 +
                positions * ((activations_of(c) + width) * real + lists_of(c) + masses_of(c)) +
                narrow * width * (double)c->prior.vocabulary);
}

static sg_status check(const sg_net_policy_shape *s, sg_error *error)
{
    const sg_net_config *c = &s->net;
    size_t prompts = s->prompts + s->heldout;
    if (s->prompts < 1 || s->observe_samples < 1)
        return sg_fail(error, SG_EARGUMENT,
                       "a net answers %zu prompts and is observed on %zu responses to each; both "
                       "must be 1 or more",
                       s->prompts, s->observe_samples);
    if (!s->prompt_symbols && c->prompt_length > 0 &&
        (c->prompt_length != 1 || c->prompt_symbols < prompts))
        return sg_fail(error, SG_EARGUMENT,
                       "prompts without a table of symbols need prompt_length 1 and at least %zu "
                       "prompt_symbols, not %zu and %zu",
                       prompts, c->prompt_length, c->prompt_symbols);
    for (size_t i = 0; s->prompt_symbols && i < prompts * c->prompt_length; i++)
        if (s->prompt_symbols[i] < 0 || (size_t)s->prompt_symbols[i] >= c->prompt_symbols)
            return sg_fail(error, SG_EARGUMENT, "prompt %zu has symbol %d; there are %zu",
                           i / c->prompt_length, (int)s->prompt_symbols[i], c->prompt_symbols);
    return SG_OK;
}

static sg_status make(sg_policy **made, const sg_net_policy_shape *shape, sg_error *error)
{
    *made = NULL;
    sg_net_policy *self = calloc(1, sizeof *self);
    if (!self)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a policy");
    const sg_net_config *c = &shape->net;
    size_t symbols = (shape->prompts + shape->heldout) * c->prompt_length;
    self->shape = *shape;
    self->base =
        (sg_policy){.methods = &methods,
                    .prompts = shape->prompts,
                    .length = c->length,
                    .vocabulary = c->prior.vocabulary,
                    .bytes = sg_net_policy_bytes(shape, 0) + sg_net_policy_device_bytes(shape, 0),
                    .exact_reward = sg_net_policy_is_exact(shape)};
    sg_status status = name_backend(self, error);
    if (!status)
        status = sg_net_alloc_on(&self->net, c, shape->backend, error);
    if (!status)
        status = sg_net_alloc_on(&self->gradient, c, shape->backend, error);
    if (!status)
        status = sg_tensor_optimizer_alloc_on(&self->optimizer, &shape->rule, c->precision,
                                              self->net->tensors, self->net->tensor_count,
                                              self->net->size, shape->backend, error);
    self->pass = sg_net_pass_alloc_on(shape->backend);
    self->after = sg_net_pass_alloc_on(shape->backend);
    self->symbols = malloc((symbols + 1) * sizeof *self->symbols);
    if (!status && (!self->pass || !self->after || !self->symbols))
        status = sg_fail(error, SG_ENOMEM, "not enough memory for a policy");
    if (!status && shape->matmul != SG_MATMUL_SAME) {
        status = sg_net_pass_matmul(self->pass, shape->matmul, error);
        if (!status)
            status = sg_net_pass_matmul(self->after, shape->matmul, error);
    }
    if (status) {
        release(&self->base);
        return status;
    }
    for (size_t i = 0; i < symbols; i++)
        self->symbols[i] = shape->prompt_symbols ? shape->prompt_symbols[i] : (int32_t)i;
    self->shape.prompt_symbols = self->symbols;
    *made = &self->base;
    return SG_OK;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error)
{
    sg_status status = make(made, &sg_net_policy_of(policy)->shape, error);
    if (!status)
        status = copy(*made, policy, error);
    return status;
}

sg_status sg_net_policy_alloc(sg_policy **policy, const sg_net_policy_shape *shape, sg_error *error)
{
    *policy = NULL;
    sg_status status = sg_net_check(&shape->net, error);
    if (!status)
        status = check(shape, error);
    if (!status)
        status = make(policy, shape, error);
    if (!status)
        status = sg_net_init(sg_net_policy_of(*policy)->net, shape->seed, error);
    if (status) {
        sg_policy_free(*policy);
        *policy = NULL;
    }
    return status;
}
