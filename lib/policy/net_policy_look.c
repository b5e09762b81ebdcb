/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the neural policy looks like, and its expected reward. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/net_policy_parts.h"

enum { MOST_PREFIXES = 4096 };

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
            status = sg_net_policy_forward(self, &self->now, NULL, error);
        if (!status && !(seen = malloc(sg_net_rows(self->pass) * sizeof *seen)))
            status = sg_fail(error, SG_ENOMEM, "not enough memory to observe %zu responses", n);
        if (!status)
            status = sg_net_observe(self->pass, self->net, seen, error);
        if (!status)
            average(self, reward, &responses, seen, o);
    }
    free(numbers);
    free(tokens);
    free(seen);
    return status;
}

/* ---- exact reward: prefixes of head tokens, position by position */

typedef struct prefix {
    double mass;
    int32_t state;
} prefix;

/* From the prefixes of t tokens to those of t + 1; tokens: [prefixes][length]. */
static sg_status extend(sg_net_policy *self, const sg_reward *reward, size_t prompt, size_t t,
                        size_t count, prefix *prefixes, int32_t *tokens, size_t *made,
                        sg_error *error)
{
    const sg_net_config *c = &self->shape.net;
    size_t head = c->prior.head, slots = sg_net_slots(c), length = c->length;
    sg_net_positions *u = &self->now;
    sg_status status = sg_net_positions_reserve(u, c, count * head, error);
    if (status)
        return status;
    u->count = count * head;
    for (size_t i = 0; i < u->count; i++) {
        sg_net_policy_context(self, prompt, tokens + i / head * length, t, u->context + i * slots);
        u->position[i] = (int32_t)t;
        u->token[i] = (int32_t)(i % head);
    }
    status = sg_net_policy_forward(self, u, u->value, error);
    if (status)
        return status;
    /* From the end, so that nothing is overwritten before it is read. */
    for (size_t i = u->count; i-- > 0;) {
        prefix from = prefixes[i / head];
        prefix to = {from.mass * exp(u->value[i]), from.state};
        if (to.state != SG_REWARD_LOST)
            to.state = reward->next(reward->context, prompt, t, from.state, u->token[i]);
        memmove(tokens + i * length, tokens + i / head * length, t * sizeof *tokens);
        tokens[i * length + t] = u->token[i];
        prefixes[i] = to;
    }
    *made = u->count;
    return SG_OK;
}

sg_status sg_net_policy_expected_reward(sg_policy *policy, const sg_reward *reward,
                                        double *expected, sg_error *error)
{
    sg_net_policy *self = sg_net_policy_of(policy);
    size_t head = self->shape.net.prior.head, length = policy->length;
    double all = (double)policy->prompts * pow((double)head, (double)(length - 1));
    size_t most = head;
    for (size_t p = 0; p < policy->prompts; p++)
        expected[p] = NAN;
    if (all > MOST_PREFIXES || self->shape.end_token >= 0)
        return SG_OK;
    for (size_t t = 1; t < length; t++)
        most *= head;
    prefix *prefixes = malloc(most * sizeof *prefixes);
    int32_t *tokens = malloc(most * length * sizeof *tokens);
    sg_status status = SG_OK;
    if (!prefixes || !tokens)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for the expected reward");
    for (size_t p = 0; p < policy->prompts && !status; p++) {
        size_t count = 1;
        prefixes[0] = (prefix){1, 0};
        for (size_t t = 0; t < length && !status; t++)
            status = extend(self, reward, p, t, count, prefixes, tokens, &count, error);
        double sum = 0;
        for (size_t i = 0; i < count && !status; i++)
            if (prefixes[i].state != SG_REWARD_LOST)
                sum += prefixes[i].mass * reward->value(reward->context, p, prefixes[i].state);
        expected[p] = sum;
    }
    free(prefixes);
    free(tokens);
    return status;
}
