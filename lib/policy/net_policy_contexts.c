/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Responses as positions in their contexts, and the routes that are replayed there. */
#include <stdlib.h>
#include <string.h>

#include "policy/net_pass.h"
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

sg_net_batch sg_net_positions_batch(sg_net_positions *u)
{
    return (sg_net_batch){u->count, u->position, u->context, u->token, NULL};
}

/* ---- replay: a hash table over contexts */

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

/* u->routes: what is replayed, and free choices where nothing is. */
static sg_status fill_routes(sg_net_policy *self, sg_net_positions *u, sg_error *error)
{
    size_t blocks = self->shape.net.blocks;
    sg_net_batch batch = sg_net_positions_batch(u);
    bool all = true;
    for (size_t i = 0; i < u->count && all; i++)
        all = self->table[find(self, u, i)] != 0;
    if (!all) {
        sg_status status = sg_net_features_only(self->pass, self->net, &batch, error);
        if (!status)
            status = sg_net_routes(self->pass, u->routes, error);
        if (status)
            return status;
    }
    for (size_t i = 0; i < u->count; i++) {
        size_t at = self->table[find(self, u, i)];
        if (at)
            memcpy(u->routes + i * blocks, self->replayed.routes + (at - 1) * blocks,
                   blocks * sizeof *u->routes);
    }
    return SG_OK;
}

sg_status sg_net_policy_forward(sg_net_policy *self, sg_net_positions *u, bool replay,
                                double *log_prob, sg_error *error)
{
    sg_net_batch batch = sg_net_positions_batch(u);
    if (replay && self->table) {
        sg_status status = fill_routes(self, u, error);
        if (status)
            return status;
        batch.routes = u->routes;
    }
    return sg_net_forward(self->pass, self->net, &batch, log_prob, error);
}

sg_status sg_net_policy_replay(sg_policy *policy, const sg_responses *responses,
                               const uint64_t *routes, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    size_t blocks = self->shape.net.blocks;
    free(self->table);
    self->table = NULL;
    if (routes == NULL || self->shape.net.experts <= 1)
        return SG_OK;
    sg_net_positions *u = &self->replayed;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    if (status || u->count == 0)
        return status;
    for (size_t i = 0; i < u->count; i++)
        memcpy(u->routes + i * blocks, routes + u->place[i] * blocks, blocks * sizeof *routes);
    for (self->table_size = 16; self->table_size < 2 * u->count;)
        self->table_size *= 2;
    self->table = calloc(self->table_size, sizeof *self->table);
    if (!self->table)
        return sg_fail(error, SG_ENOMEM, "not enough memory to replay routes");
    for (size_t i = 0; i < u->count; i++)
        self->table[find(self, u, i)] = (uint32_t)i + 1;
    return SG_OK;
}

static sg_status mean_gate_entropy(const sg_net_pass *pass, size_t count, size_t blocks,
                                   double *room, double *mean, sg_error *error)
{
    const uint32_t *row_of = sg_net_row_of(pass);
    double sum = 0;
    sg_status status = sg_net_gate_entropy(pass, room, error);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        for (size_t b = 0; b < blocks; b++)
            sum += room[row_of[i] * blocks + b];
    *mean = sum / (double)(count * blocks);
    return SG_OK;
}

sg_status sg_net_policy_routes(sg_policy *policy, const sg_responses *responses, uint64_t *routes,
                               double *gate_entropy, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    sg_net_positions *u = &self->now;
    size_t blocks = self->shape.net.blocks;
    sg_status status = sg_net_policy_unroll(self, u, responses, error);
    if (gate_entropy)
        *gate_entropy = 0;
    if (status || u->count == 0 || blocks == 0)
        return status;
    sg_net_batch batch = sg_net_positions_batch(u);
    status = sg_net_features_only(self->pass, self->net, &batch, error);
    if (!status)
        status = sg_net_routes(self->pass, u->routes, error);
    if (status)
        return status;
    for (size_t i = 0; i < u->count; i++)
        memcpy(routes + u->place[i] * blocks, u->routes + i * blocks, blocks * sizeof *routes);
    if (gate_entropy == NULL)
        return SG_OK;
    double *room = malloc(sg_net_rows(self->pass) * blocks * sizeof *room);
    if (!room)
        return sg_fail(error, SG_ENOMEM, "not enough memory to look at the gates");
    status = mean_gate_entropy(self->pass, u->count, blocks, room, gate_entropy, error);
    free(room);
    return status;
}
