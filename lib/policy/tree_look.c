/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a tree looks like: exact sums over tokens, states and responses. */
#include <stdlib.h>
#include <string.h>

#include "policy/tree_parts.h"

static sg_row_observation observation_of(const sg_tree_look *look)
{
    double entropy = -(look->head_plogp + look->tail_plogp);
    return (sg_row_observation){
        .entropy = entropy,
        .head_entropy = log(look->head_mass) - look->head_plogp / look->head_mass,
        .tail_mass = look->tail_mass,
        .tail_entropy_share = entropy > 0 ? -look->tail_plogp / entropy : 0,
        .collision = look->squares,
        .max_prob = exp(look->highest),
        .logit_range = look->highest - look->lowest,
        .underflowed = look->underflowed > 0 ? (size_t)look->underflowed : 0, /* also of NaN */
    };
}

/* Prefixes of one length that share a policy state and a state of the reward. Without merging the
 * prefix decides both; merged, there is a cell for each pair. */
typedef struct front {
    size_t cells;
    double *mass;   /* [cells]: probability of being there */
    int32_t *state; /* [cells], of the reward; SG_REWARD_LOST */
} front;

typedef struct walk {
    sg_tree *tree;
    const sg_reward *reward;
    size_t pairs; /* merged: cells of a policy state, one for LOST and one for each reward state */
    front now, next;
    bool looks; /* what states look like is asked too, and prefixes that have lost are followed */
    /* Of the prompts first .. first + count - 1, as many as are asked for at once: */
    size_t first, count, most;
    double *log_prob; /* [states of the prompts][head] */
    double *log_norm; /* [states of the prompts] */
} walk;

static sg_status walk_init(walk *w, sg_tree *tree, const sg_reward *reward, bool looks,
                           sg_error *error)
{
    const sg_tree_shape *shape = &tree->shape;
    size_t pairs = shape->merge > 0 ? (size_t)reward->states + 1 : 1;
    size_t most = tree->width * pairs;
    *w = (walk){.tree = tree, .reward = reward, .pairs = pairs, .looks = looks};
    size_t cells = tree->paths.per_prompt * shape->head, fit = SG_TREE_HEAD_ROOM / cells;
    w->most = fit < 1 ? 1 : fit < shape->prompts ? fit : shape->prompts;
    w->log_prob = malloc(w->most * cells * sizeof *w->log_prob);
    w->log_norm = malloc(w->most * tree->paths.per_prompt * sizeof *w->log_norm);
    w->now = (front){most, malloc(most * sizeof(double)), malloc(most * sizeof(int32_t))};
    w->next = (front){most, malloc(most * sizeof(double)), malloc(most * sizeof(int32_t))};
    if (!w->now.mass || !w->now.state || !w->next.mass || !w->next.state || !w->log_prob ||
        !w->log_norm)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the %zu prefixes of a position",
                       most);
    return SG_OK;
}

static void walk_clear(walk *w)
{
    free(w->now.mass);
    free(w->now.state);
    free(w->next.mass);
    free(w->next.state);
    free(w->log_prob);
    free(w->log_norm);
}

/* log pi of a head token in a local state of the prompt that is walked. */
static double log_prob_at(const walk *w, size_t prompt, size_t local, int32_t token)
{
    size_t state = (prompt - w->first) * w->tree->paths.per_prompt + local;
    return w->log_prob[state * w->tree->shape.head + (size_t)token];
}

static size_t cells_at(const walk *w, size_t t)
{
    return (w->tree->paths.first[t + 1] - w->tree->paths.first[t]) * w->pairs;
}

static size_t state_at(const walk *w, size_t t, size_t cell)
{
    return w->tree->paths.first[t] + cell / w->pairs;
}

/* What the rows say about the prompts at hand. */
static void ask(walk *w)
{
    sg_tree *tree = w->tree;
    size_t first = w->first * tree->paths.per_prompt, count = w->count * tree->paths.per_prompt;
    sg_tree_look *look = w->looks ? tree->look + first : NULL;
    tree->rows->methods->observe(tree->rows, first, count, w->log_prob, w->log_norm, look);
    for (size_t k = 0; k < count && w->looks; k++)
        tree->observation[first + k] = observation_of(&look[k]);
}

static void walk_start(walk *w, size_t prompt)
{
    const sg_tree *tree = w->tree;
    size_t left = tree->shape.prompts - prompt;
    if (prompt >= w->first + w->count) {
        w->first = prompt;
        w->count = left < w->most ? left : w->most;
        ask(w);
    }
    memset(w->now.mass, 0, cells_at(w, 0) * sizeof(double));
    size_t cell = w->pairs > 1 ? 1 : 0;
    w->now.mass[cell] = 1;
    w->now.state[cell] = 0;
}

/* From position t to t + 1; adds what the responses earn that are over then. */
static double walk_on(walk *w, size_t prompt, size_t t)
{
    const sg_tree *tree = w->tree;
    bool last = t + 1 == tree->shape.length, further = t + 1 < tree->paths.depth;
    double earned = 0;
    if (further)
        memset(w->next.mass, 0, cells_at(w, t + 1) * sizeof(double));
    for (size_t cell = 0; cell < cells_at(w, t); cell++) {
        double mass = w->now.mass[cell];
        if (mass == 0)
            continue;
        size_t local = state_at(w, t, cell);
        for (int32_t token = 0; (size_t)token < tree->shape.head; token++) {
            int32_t to = w->now.state[cell];
            bool over = last || sg_tree_ends(&tree->paths, token);
            if (to != SG_REWARD_LOST)
                to = w->reward->next(w->reward->context, prompt, t, to, token);
            if ((to == SG_REWARD_LOST && (over || !w->looks)) || (!over && !further))
                continue;
            double p = mass * exp(log_prob_at(w, prompt, local, token));
            if (over) {
                earned += p * w->reward->value(w->reward->context, prompt, to);
                continue;
            }
            size_t child = sg_tree_next(&tree->paths, local, t, token) - tree->paths.first[t + 1];
            size_t into = w->pairs > 1 ? child * w->pairs + (size_t)(to + 1) : child;
            w->next.mass[into] += p;
            w->next.state[into] = to;
        }
    }
    front swap = w->now;
    w->now = w->next;
    w->next = swap;
    return earned;
}

sg_status sg_tree_expected_reward(sg_policy *policy, const sg_reward *reward, double *expected,
                                  sg_error *error)
{
    walk w;
    sg_status status = walk_init(&w, sg_tree_of(policy), reward, false, error);
    for (size_t p = 0; p < policy->prompts && status == SG_OK; p++) {
        expected[p] = 0;
        walk_start(&w, p);
        for (size_t t = 0; t < w.tree->paths.depth; t++)
            expected[p] += walk_on(&w, p, t);
        for (size_t s = 0; s < w.tree->paths.per_prompt; s++) /* also those that can win nothing */
            if (!isfinite(w.log_norm[(p - w.first) * w.tree->paths.per_prompt + s]))
                expected[p] = NAN;
    }
    walk_clear(&w);
    return status == SG_OK ? sg_tree_rows_status(w.tree->rows, error) : status;
}

/* Sums over the tokens of responses to one prompt. */
typedef struct kinds {
    double right, right_tail, losers, losers_tail;
} kinds;

/* Probability that a response stops here. */
static double ending(const walk *w, size_t prompt, size_t local)
{
    const sg_tree_shape *shape = &w->tree->shape;
    return shape->may_end ? exp(log_prob_at(w, prompt, local, shape->end_token)) : 0;
}

/* Fills the prompt's visits with the probability that a response comes by. */
static void visit(walk *w, size_t prompt, kinds *k)
{
    sg_tree *tree = w->tree;
    double *visits = tree->visits + prompt * tree->paths.per_prompt;
    const sg_row_observation *look = tree->observation + prompt * tree->paths.per_prompt;
    memset(visits, 0, tree->paths.per_prompt * sizeof *visits);
    walk_start(w, prompt);
    for (size_t t = 0; t < tree->shape.length; t++) {
        double dead = 0;
        for (size_t cell = 0; cell < cells_at(w, t); cell++) {
            double mass = w->now.mass[cell];
            size_t local = state_at(w, t, cell);
            if (mass == 0)
                continue;
            visits[local] += mass;
            dead += mass * (t + 1 < tree->paths.depth ? look[local].tail_mass
                                                      : 1 - ending(w, prompt, local));
            bool lost = w->now.state[cell] == SG_REWARD_LOST;
            *(lost ? &k->losers : &k->right) += mass;
            *(lost ? &k->losers_tail : &k->right_tail) += mass * look[local].tail_mass;
        }
        if (t > 0) {
            size_t local = sg_tree_dead(&tree->paths, t);
            dead += visits[local] * (1 - ending(w, prompt, local));
            k->losers += visits[local];
            k->losers_tail += visits[local] * look[local].tail_mass;
        }
        if (t + 1 < tree->shape.length) {
            visits[sg_tree_dead(&tree->paths, t + 1)] = dead;
            if (t + 1 < tree->paths.depth)
                walk_on(w, prompt, t);
        }
    }
}

sg_status sg_tree_observe(sg_policy *policy, const sg_reward *reward, sg_policy_observation *o,
                          sg_error *error)
{
    sg_tree *tree = sg_tree_of(policy);
    walk w;
    kinds k = {0};
    sg_status status = walk_init(&w, tree, reward, true, error);
    *o = (sg_policy_observation){0};
    for (size_t p = 0; p < policy->prompts && status == SG_OK; p++)
        visit(&w, p, &k);
    walk_clear(&w);
    double tokens = (double)policy->prompts * (double)policy->length;
    if (tree->shape.may_end) {
        tokens = 0;
        for (size_t state = 0; state < tree->states; state++)
            tokens += tree->visits[state];
    }
    for (size_t state = 0; state < tree->states && status == SG_OK; state++) {
        const sg_row_observation *row = &tree->observation[state];
        double share = tree->visits[state] / tokens;
        o->entropy += row->entropy * share;
        o->head_entropy += row->head_entropy * share;
        o->tail_mass += row->tail_mass * share;
        o->tail_mass_max = fmax(o->tail_mass_max, row->tail_mass);
        o->tail_entropy_share += row->tail_entropy_share * share;
        o->collision += row->collision * share;
        o->max_prob += row->max_prob * share;
        o->logit_range = fmax(o->logit_range, row->logit_range);
        o->underflowed += (double)row->underflowed;
        if (state % tree->paths.per_prompt == 0)
            o->tail_mass_root += row->tail_mass / (double)policy->prompts;
    }
    o->tail_mass_right = k.right > 0 ? k.right_tail / k.right : NAN;
    o->tail_mass_losers = k.losers > 0 ? k.losers_tail / k.losers : NAN;
    o->losers_share = k.losers / (k.losers + k.right);
    return status == SG_OK ? sg_tree_rows_status(tree->rows, error) : status;
}
