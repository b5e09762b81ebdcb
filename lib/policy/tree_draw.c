/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws of a tree, position by position, and the log-probabilities of responses. */
#include <stdlib.h>

#include "policy/tree_parts.h"

/* A response on its way and the state that it is in. */
typedef struct traveller {
    size_t state, response;
} traveller;

static int by_state(const void *a, const void *b)
{
    const traveller *x = a, *y = b;
    if (x->state != y->state)
        return x->state < y->state ? -1 : 1;
    return x->response < y->response ? -1 : x->response > y->response;
}

/* The draws of one position. */
typedef struct position {
    size_t *state;  /* [responses] */
    double *values; /* uniforms, then log-probabilities */
    int32_t *tokens;
    traveller *travellers;
    sg_sampler_row row; /* room for a sampler that is not plain */
} position;

static void position_clear(position *p)
{
    void *arrays[] = {p->state,      p->values,     p->tokens,
                      p->travellers, p->row.logits, p->row.cumulated};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

static sg_status position_init(position *p, size_t count, size_t vocabulary, bool plain,
                               sg_error *error)
{
    *p = (position){.state = malloc((count + 1) * sizeof *p->state),
                    .values = malloc((count + 1) * sizeof *p->values),
                    .tokens = malloc((count + 1) * sizeof *p->tokens),
                    .travellers = malloc((count + 1) * sizeof *p->travellers),
                    .row = {.n = vocabulary}};
    if (!plain) {
        p->row.logits = malloc(vocabulary * sizeof *p->row.logits);
        p->row.cumulated = malloc(vocabulary * sizeof *p->row.cumulated);
    }
    if (p->state && p->values && p->tokens && p->travellers &&
        (plain || (p->row.logits && p->row.cumulated)))
        return SG_OK;
    position_clear(p);
    return sg_fail(error, SG_ENOMEM, "not enough memory to draw %zu responses", count);
}

/* Neighbouring travellers in the same state see the same row. */
static void draw_distorted(const sg_tree *tree, const sg_policy_draw *draw, position *p,
                           size_t count)
{
    for (size_t k = 0; k < count; k++) {
        size_t state = p->state[k];
        if (k == 0 || state != p->state[k - 1]) {
            sg_address noise = {.seed = draw->seed,
                                .stream = SG_STREAM_NOISE,
                                .step = draw->step,
                                .prompt = (uint32_t)(state / tree->per_prompt),
                                .sample = (uint32_t)(state % tree->per_prompt)};
            tree->rows->methods->logits(tree->rows, state, p->row.logits);
            sg_sampler_prepare(&p->row, &draw->sampler, noise);
        }
        p->tokens[k] = sg_sampler_draw(&p->row, &draw->sampler, p->values[k], &p->values[k]);
    }
}

/* Token t of all travellers; they move on. */
static void draw_position(const sg_tree *tree, const sg_policy_draw *draw,
                          const sg_responses *responses, position *p, size_t count, size_t t,
                          double *log_prob)
{
    sg_address at = {
        .seed = draw->seed, .stream = draw->stream, .step = draw->step, .token = (uint32_t)t};
    for (size_t k = 0; k < count; k++) {
        size_t i = p->travellers[k].response;
        at.prompt = responses->prompt[i];
        at.sample = responses->sample[i];
        p->state[k] = p->travellers[k].state;
        p->values[k] = sg_rng_uniform(at);
    }
    if (sg_sampler_is_plain(&draw->sampler))
        tree->rows->methods->draw(tree->rows, count, p->state, p->values, p->tokens, p->values);
    else
        draw_distorted(tree, draw, p, count);
    for (size_t k = 0; k < count; k++) {
        size_t i = p->travellers[k].response, local = p->state[k] % tree->per_prompt;
        int32_t token = p->tokens[k];
        responses->tokens[i * responses->room + t] = token;
        log_prob[i * responses->room + t] = p->values[k];
        responses->length[i] = (uint32_t)t + 1;
        if (sg_tree_ends(tree, token))
            p->travellers[k].state = SIZE_MAX; /* sorted behind all others */
        else if (t + 1 < tree->shape.length)
            p->travellers[k].state = p->state[k] - local + sg_tree_next(tree, local, t, token);
    }
}

sg_status sg_tree_draw(sg_policy *policy, const sg_policy_draw *draw, const sg_responses *responses,
                       double *log_prob, sg_error *error)
{
    const sg_tree *tree = sg_tree_of(policy);
    size_t count = responses->count;
    position p;
    sg_status status =
        position_init(&p, count, policy->vocabulary, sg_sampler_is_plain(&draw->sampler), error);
    if (status != SG_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        p.travellers[i] = (traveller){responses->prompt[i] * tree->per_prompt, i};
    for (size_t t = 0; t < policy->length; t++) {
        qsort(p.travellers, count, sizeof *p.travellers, by_state);
        while (count > 0 && p.travellers[count - 1].state == SIZE_MAX)
            count--;
        if (count > 0)
            draw_position(tree, draw, responses, &p, count, t, log_prob);
    }
    position_clear(&p);
    return sg_tree_rows_status(tree->rows, error);
}

sg_status sg_tree_log_prob(sg_policy *policy, const sg_responses *responses, double *log_prob,
                           sg_error *error)
{
    sg_tree *tree = sg_tree_of(policy);
    sg_status status = sg_tree_arrange(tree, responses, error);
    size_t n = status == SG_OK ? tree->start[tree->states] : 0;
    size_t *state = malloc((n + 1) * sizeof *state);
    double *values = malloc((n + 1) * sizeof *values);
    int32_t *tokens = malloc((n + 1) * sizeof *tokens);
    if (status == SG_OK && (!state || !values || !tokens))
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu tokens", n);
    for (size_t s = 0; status == SG_OK && s < tree->states; s++)
        for (size_t j = tree->start[s]; j < tree->start[s + 1]; j++) {
            state[j] = s;
            tokens[j] = responses->tokens[tree->order[j]];
        }
    if (status == SG_OK && n > 0) {
        tree->rows->methods->log_prob(tree->rows, n, state, tokens, values);
        for (size_t j = 0; j < n; j++)
            log_prob[tree->order[j]] = values[j];
        status = sg_tree_rows_status(tree->rows, error);
    }
    free(state);
    free(values);
    free(tokens);
    return status;
}
