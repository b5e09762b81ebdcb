/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the neural policy looks like, and its expected reward. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/net_policy_parts.h"

/* All prompts together, and tokens that follow the prefixes of one of them. */
enum { MOST_PREFIXES = 4096, MOST_BRANCHES = 1 << 20 };

static void add_row(sg_policy_observation *o, const sg_row_observation *row, double share)
{
    o->entropy += row->entropy * share;
    o->head_entropy += row->head_entropy * share;
    o->tail_mass += row->tail_mass * share;
    o->tail_mass_max = fmax(o->tail_mass_max, row->tail_mass);
    o->tail_entropy_share += row->tail_entropy_share * share;
    o->collision += row->collision * share;
    o->max_prob += row->max_prob * share;
    o->logit_range = fmax(o->logit_range, row->logit_range);
}

/* `seen` are rows of the last forward over self->now, whose responses these are. */
static void average(const sg_net_policy *self, const sg_reward *reward,
                    const sg_responses *responses, const sg_row_observation *seen,
                    sg_policy_observation *o)
{
    const sg_net_positions *u = &self->now;
    const uint32_t *row_of = sg_net_row_of(self->pass);
    double share = 1 / (double)u->count, right = 0, losers = 0, roots = 0;
    double right_mass = 0, losers_mass = 0, root_mass = 0;
    for (size_t i = 0, n = 0; i < responses->count; i++) {
        int32_t state = 0;
        for (size_t t = 0; t < responses->length[i]; t++, n++) {
            const sg_row_observation *row = &seen[row_of[n]];
            bool lost = state == SG_REWARD_LOST;
            add_row(o, row, share);
            *(lost ? &losers : &right) += 1;
            *(lost ? &losers_mass : &right_mass) += row->tail_mass;
            roots += t == 0;
            root_mass += t == 0 ? row->tail_mass : 0;
            if (!lost && reward)
                state = reward->next(reward->context, responses->prompt[i], t, state, u->token[n]);
        }
    }
    for (size_t r = 0; r < sg_net_rows(self->pass); r++)
        o->underflowed += (double)seen[r].underflowed;
    o->tail_mass_root = root_mass / roots;
    o->tail_mass_right = right > 0 ? right_mass / right : (double)NAN;
    o->tail_mass_losers = losers > 0 ? losers_mass / losers : (double)NAN;
    o->losers_share = losers * share;
}

/* Mean 2-norm of rows first..end-1 of the output layer; 0 of none. */
static sg_status row_norm(const sg_net *net, size_t first, size_t end, double *mean,
                          sg_error *error)
{
    sg_flat numbers = sg_net_flat(net);
    sg_status status =
        sg_flat_lengths(&numbers, sg_net_tensor(net, "weights"), first, end, mean, error);
    *mean /= end > first ? (double)(end - first) : 1;
    return status;
}

sg_status sg_net_policy_observe(sg_policy *policy, const sg_reward *reward,
                                sg_policy_observation *o, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    size_t each = policy->length == 1 ? 1 : self->shape.observe_samples;
    size_t n = policy->prompts * each;
    uint32_t *numbers = malloc(3 * n * sizeof *numbers);
    int32_t *tokens = malloc(n * policy->length * sizeof *tokens);
    sg_row_observation *seen = NULL;
    sg_status status = SG_OK;
    *o = (sg_policy_observation){0};
    if (!numbers || !tokens)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to observe %zu responses", n);
    if (!status) {
        sg_responses responses = {n, policy->length, numbers, numbers + n, numbers + 2 * n, tokens};
        for (size_t i = 0; i < n; i++) {
            numbers[i] = (uint32_t)(i / each);
            numbers[n + i] = (uint32_t)(i % each);
        }
        sg_policy_draw how = {self->shape.seed, SG_STREAM_EVALUATE, 0, SG_SAMPLER_PLAIN};
        status = sg_net_policy_draw(policy, &how, &responses, NULL, error);
        if (!status)
            status = sg_net_policy_unroll(self, &self->now, &responses, error);
        if (!status)
            status = sg_net_policy_forward(self, &self->now, false, NULL, error);
        if (!status && !(seen = malloc(sg_net_rows(self->pass) * sizeof *seen)))
            status = sg_fail(error, SG_ENOMEM, "not enough memory to observe %zu responses", n);
        if (!status)
            status = sg_net_observe(self->pass, self->net, seen, error);
        if (!status)
            average(self, reward, &responses, seen, o);
        size_t head = self->shape.net.prior.head;
        if (!status)
            status = row_norm(self->net, 0, head, &o->row_norm_head, error);
        if (!status)
            status = row_norm(self->net, head, policy->vocabulary, &o->row_norm_tail, error);
    }
    free(numbers);
    free(tokens);
    free(seen);
    return status;
}

/* ---- exact reward: prefixes of head tokens that can still win, position by position */

bool sg_net_policy_is_exact(const sg_net_policy_shape *shape)
{
    const sg_net_config *c = &shape->net;
    double all = shape->prefixes, head = (double)c->prior.head;
    if (all == 0)
        all = (double)shape->prompts * pow(head, (double)(c->length - 1));
    return all <= MOST_PREFIXES && all / (double)shape->prompts * head <= MOST_BRANCHES;
}

typedef struct prefix {
    double mass;
    int32_t state;
} prefix;

typedef struct prefixes {
    size_t count;
    prefix *at;
    int32_t *tokens; /* [count][length] */
} prefixes;

static void prefixes_free(prefixes *p)
{
    free(p->at);
    free(p->tokens);
    *p = (prefixes){0};
}

static sg_status prefixes_alloc(prefixes *p, size_t count, size_t length, sg_error *error)
{
    *p = (prefixes){0, malloc(count * sizeof *p->at), malloc(count * length * sizeof *p->tokens)};
    if (p->at && p->tokens)
        return SG_OK;
    prefixes_free(p);
    return sg_fail(error, SG_ENOMEM, "not enough memory for the expected reward");
}

/* One position of one prompt. */
typedef struct branching {
    sg_net_policy *self;
    const sg_reward *reward;
    bool replay;
    size_t prompt, t;
} branching;

/* log pi of every head token after each prefix of t tokens, into self->now.value. */
static sg_status ask(const branching *b, const prefixes *from, sg_error *error)
{
    sg_net_policy *self = b->self;
    const sg_net_config *c = &self->shape.net;
    size_t head = c->prior.head, slots = sg_net_slots(c);
    sg_net_positions *u = &self->now;
    sg_status status = sg_net_positions_reserve(u, c, from->count * head, error);
    if (status)
        return status;
    u->count = from->count * head;
    for (size_t i = 0; i < u->count; i++) {
        sg_net_policy_context(self, b->prompt, from->tokens + i / head * c->length, b->t,
                              u->context + i * slots);
        u->position[i] = (int32_t)b->t;
        u->token[i] = (int32_t)(i % head);
    }
    return sg_net_policy_forward(self, u, b->replay, u->value, error);
}

/* *from becomes the prefixes of t + 1 tokens; what ends there is added to *expected. */
static sg_status extend(const branching *b, prefixes *from, double *expected, sg_error *error)
{
    const sg_net_positions *u = &b->self->now;
    size_t head = b->self->shape.net.prior.head, length = b->self->base.length;
    int32_t end_token = b->self->shape.end_token;
    prefixes to;
    sg_status status = ask(b, from, error);
    if (!status)
        status = prefixes_alloc(&to, u->count, length, error);
    if (status)
        return status;
    for (size_t i = 0; i < u->count; i++) {
        const prefix *old = &from->at[i / head];
        int32_t state =
            b->reward->next(b->reward->context, b->prompt, b->t, old->state, u->token[i]);
        if (state == SG_REWARD_LOST)
            continue;
        double mass = old->mass * exp(u->value[i]);
        if (u->token[i] == end_token || b->t + 1 == length) {
            *expected += mass * b->reward->value(b->reward->context, b->prompt, state);
            continue;
        }
        to.at[to.count] = (prefix){mass, state};
        memcpy(to.tokens + to.count * length, from->tokens + i / head * length,
               b->t * sizeof *to.tokens);
        to.tokens[to.count++ * length + b->t] = u->token[i];
    }
    prefixes_free(from);
    *from = to;
    return SG_OK;
}

static sg_status expect(sg_net_policy *self, const sg_reward *reward, size_t prompt, bool replay,
                        double *expected, sg_error *error)
{
    prefixes all;
    sg_status status = prefixes_alloc(&all, 1, self->base.length, error);
    if (status)
        return status;
    all.at[all.count++] = (prefix){1, 0};
    *expected = 0;
    for (size_t t = 0; t < self->base.length && all.count > 0 && !status; t++)
        status = extend(&(branching){self, reward, replay, prompt, t}, &all, expected, error);
    prefixes_free(&all);
    return status;
}

static sg_status expect_all(sg_policy *policy, const sg_reward *reward, bool replay,
                            double *expected, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    sg_status status = SG_OK;
    for (size_t p = 0; p < policy->prompts && !status; p++) {
        expected[p] = NAN;
        if (policy->exact_reward)
            status = expect(self, reward, p, replay, &expected[p], error);
    }
    return status;
}

sg_status sg_net_policy_expected_reward(sg_policy *policy, const sg_reward *reward,
                                        double *expected, sg_error *error)
{
    return expect_all(policy, reward, false, expected, error);
}

sg_status sg_net_policy_replayed_reward(sg_policy *policy, const sg_reward *reward,
                                        double *expected, sg_error *error)
{
    return expect_all(policy, reward, true, expected, error);
}
