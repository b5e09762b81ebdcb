/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Responses as positions in their contexts, and the routes that are replayed there. */
#include <stdlib.h>
#include <string.h>

#include "policy/net_policy_parts.h"

void sg_net_positions_free(sg_net_positions *u)
{
    void *arrays[] = {u->position, u->context, u->token, u->place, u->routes, u->value, u->push};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    *u = (sg_net_positions){0};
}

sg_status sg_net_positions_reserve(sg_net_positions *u, const sg_net_config *c, size_t n,
                                   sg_error *error)
{
    if (n <= u->capacity)
        return SG_OK;
    sg_net_positions_free(u);
    u->position = malloc(n * sizeof *u->position);
    u->context = malloc((n * sg_net_slots(c) + 1) * sizeof *u->context);
    u->token = malloc(n * sizeof *u->token);
    u->place = malloc(n * sizeof *u->place);
    u->routes = malloc((n * c->blocks + 1) * sizeof *u->routes);
    u->value = malloc(n * sizeof *u->value);
    u->push = malloc(n * sizeof *u->push);
    if (!u->position || !u->context || !u->token || !u->place || !u->routes || !u->value ||
        !u->push)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu positions", n);
    u->capacity = n;
    return SG_OK;
}

void sg_net_policy_context(const sg_net_policy *self, size_t prompt, const int32_t *tokens,
                           size_t t, int32_t *context)
{
    const sg_net_config *c = &self->shape.net;
    memcpy(context, self->symbols + prompt * c->prompt_length, c->prompt_length * sizeof *context);
    for (size_t s = 0; s < c->window; s++)
        context[c->prompt_length + s] = s < t ? tokens[t - 1 - s] : -1;
}

sg_status sg_net_policy_unroll(const sg_net_policy *self, sg_net_positions *u,
                               const sg_responses *responses, sg_error *error)
{
    const sg_net_config *c = &self->shape.net;
    size_t total = 0;
    for (size_t i = 0; i < responses->count; i++)
        total += responses->length[i];
    sg_status status = sg_net_positions_reserve(u, c, total, error);
    if (status)
        return status;
    u->count = 0;
    for (size_t i = 0; i < responses->count; i++)
        for (size_t t = 0; t < responses->length[i]; t++, u->count++) {
            const int32_t *tokens = responses->tokens + i * responses->room;
            sg_net_policy_context(self, responses->prompt[i], tokens, t,
                                  u->context + u->count * sg_net_slots(c));
            u->position[u->count] = (int32_t)t;
            u->token[u->count] = tokens[t];
            u->place[u->count] = i * responses->room + t;
        }
    return SG_OK;
}

/* ---- replay */

static uint64_t hash_of(const sg_net_positions *u, size_t i, size_t slots)
{
    uint64_t hash = (uint64_t)u->position[i] + 1;
    for (size_t s = 0; s < slots; s++) {
        hash = (hash ^ (uint32_t)u->context[i * slots + s]) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash;
}

/* Place in the table where the context of u's position i stands or would stand. */
static size_t find(const sg_net_policy *self, const sg_net_positions *u, size_t i)
{
    size_t slots = sg_net_slots(&self->shape.net), at = hash_of(u, i, slots);
    const sg_net_positions *known = &self->replayed;
    for (at &= self->table_size - 1; self->table[at]; at = (at + 1) & (self->table_size - 1)) {
        size_t k = self->table[at] - 1;
        if (known->position[k] == u->position[i] &&
            memcmp(known->context + k * slots, u->context + i * slots,
                   slots * sizeof *u->context) == 0)
            break;
    }
    return at;
}

sg_net_batch sg_net_positions_batch(sg_net_positions *u)
{
    return (sg_net_batch){u->count, u->position, u->context, u->token, NULL};
}

/* Routes of the replayed contexts where there are such, free choices elsewhere. */
sg_status sg_net_policy_forward(sg_net_policy *self, sg_net_positions *u, double *log_prob,
                                sg_error *error)
{
    size_t blocks = self->shape.net.blocks;
    sg_net_batch batch = sg_net_positions_batch(u);
    if (self->table && self->shape.net.experts > 1) {
        bool all = true;
        for (size_t i = 0; i < u->count && all; i++)
            all = self->table[find(self, u, i)] != 0;
        if (!all) { /* what is not replayed is asked first */
            sg_status status = sg_net_forward(self->pass, self->net, &batch, NULL, error);
            if (status)
                return status;
            sg_net_routes(self->pass, u->routes);
        }
        for (size_t i = 0; i < u->count; i++) {
            size_t at = self->table[find(self, u, i)];
            if (at)
                memcpy(u->routes + i * blocks, self->replayed.routes + (at - 1) * blocks,
                       blocks * sizeof *u->routes);
        }
        batch.routes = u->routes;
    }
    return sg_net_forward(self->pass, self->net, &batch, log_prob, error);
}

void sg_net_policy_route_freely(sg_net_policy *self)
{
    free(self->table);
    self->table = NULL;
}

sg_status sg_net_policy_replay(sg_policy *policy, sg_policy *source, const sg_responses *responses,
                               sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy), *from = sg_net_policy_of(source);
    sg_net_policy_route_freely(self);
    if (responses == NULL)
        return SG_OK;
    sg_net_positions *u = &self->replayed;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    if (status || u->count == 0)
        return status;
    sg_net_batch batch = sg_net_positions_batch(u);
    status = sg_net_forward(from->pass, from->net, &batch, NULL, error);
    if (status)
        return status;
    sg_net_routes(from->pass, u->routes);
    for (self->table_size = 16; self->table_size < 2 * u->count;)
        self->table_size *= 2;
    self->table = calloc(self->table_size, sizeof *self->table);
    if (!self->table)
        return sg_fail(error, SG_ENOMEM, "not enough memory to replay routes");
    for (size_t i = 0; i < u->count; i++)
        self->table[find(self, u, i)] = (uint32_t)i + 1;
    return SG_OK;
}

sg_status sg_net_policy_flips(sg_policy *policy, sg_policy *other, const sg_responses *responses,
                              sg_route_flips *by_block, size_t *tokens, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy), *theirs = sg_net_policy_of(other);
    sg_net_positions *u = &self->now;
    size_t blocks = self->shape.net.blocks;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    *tokens = 0;
    memset(by_block, 0, blocks * sizeof *by_block);
    if (status || u->count == 0)
        return status;
    uint64_t *second = malloc((u->count * blocks + 1) * sizeof *second);
    sg_net_batch batch = sg_net_positions_batch(u);
    if (!second)
        return sg_fail(error, SG_ENOMEM, "not enough memory to compare routes");
    status = sg_net_forward(self->pass, self->net, &batch, NULL, error);
    if (!status)
        status = sg_net_forward(theirs->pass, theirs->net, &batch, NULL, error);
    if (!status) {
        sg_net_routes(self->pass, u->routes);
        sg_net_routes(theirs->pass, second);
        *tokens = sg_route_compare(u->routes, second, u->count, blocks, by_block, NULL);
    }
    free(second);
    return status;
}
