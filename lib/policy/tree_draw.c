/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws of a tree, and the log-probabilities of responses. */
#include <stdlib.h>

#include "policy/tree_parts.h"

/* Of the uniforms, without prompt, sample and token. */
static sg_address address_of(const sg_policy_draw *draw)
{
    return (sg_address){.seed = draw->seed, .stream = draw->stream, .step = draw->step};
}

/* What rows cannot distort is drawn here, position by position: responses that stand in the same state see the same
 * row. */
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

/* The row of a state as the sampler sees it. */
static void prepare(const sg_tree *tree, const sg_policy_draw *draw, size_t state,
                    sg_sampler_row *row)
{
    sg_address noise = {.seed = draw->seed,
                        .stream = SG_STREAM_NOISE,
                        .step = draw->step,
                        .prompt = (uint32_t)(state / tree->paths.per_prompt),
                        .sample = (uint32_t)(state % tree->paths.per_prompt)};
    tree->rows->methods->logits(tree->rows, state, row->logits);
    sg_sampler_prepare(row, &draw->sampler, noise);
}

/* Token t of all travellers, which are sorted; they move on. */
static void draw_position(const sg_tree *tree, const sg_policy_draw *draw,
                          const sg_responses *responses, traveller *travellers, size_t count,
                          size_t t, sg_sampler_row *row, double *log_prob)
{
    sg_address at = address_of(draw);
    size_t prepared = SIZE_MAX;
    at.token = (uint32_t)t;
    for (size_t k = 0; k < count; k++) {
        size_t i = travellers[k].response, state = travellers[k].state;
        size_t local = state % tree->paths.per_prompt, place = i * responses->room + t;
        if (state != prepared)
            prepare(tree, draw, state, row);
        prepared = state;
        at.prompt = responses->prompt[i];
        at.sample = responses->sample[i];
        int32_t token = sg_sampler_draw(row, &draw->sampler, sg_rng_uniform(at), &log_prob[place]);
        responses->tokens[place] = token;
        responses->length[i] = (uint32_t)t + 1;
        if (sg_tree_ends(&tree->paths, token))
            travellers[k].state = SIZE_MAX; /* sorted behind all others */
        else if (t + 1 < tree->shape.length)
            travellers[k].state = state - local + sg_tree_next(&tree->paths, local, t, token);
    }
}

static sg_status draw_distorted(const sg_tree *tree, const sg_policy_draw *draw,
                                const sg_responses *responses, double *log_prob, sg_error *error)
{
    size_t count = responses->count, V = tree->shape.vocabulary;
    traveller *travellers = malloc((count + 1) * sizeof *travellers);
    sg_sampler_row row = {.n = V,
                          .logits = malloc(V * sizeof *row.logits),
                          .cumulated = malloc(V * sizeof *row.cumulated)};
    bool fine = travellers && row.logits && row.cumulated;
    for (size_t i = 0; i < count && fine; i++)
        travellers[i] = (traveller){responses->prompt[i] * tree->paths.per_prompt, i};
    for (size_t t = 0; t < tree->shape.length && fine; t++) {
        qsort(travellers, count, sizeof *travellers, by_state);
        while (count > 0 && travellers[count - 1].state == SIZE_MAX)
            count--;
        draw_position(tree, draw, responses, travellers, count, t, &row, log_prob);
    }
    free(travellers);
    free(row.logits);
    free(row.cumulated);
    return fine ? sg_tree_rows_status(tree->rows, error)
                : sg_fail(error, SG_ENOMEM, "not enough memory to draw %zu responses", count);
}

sg_status sg_tree_draw(sg_policy *policy, const sg_policy_draw *draw, const sg_responses *responses,
                       double *log_prob, sg_error *error)
{
    const sg_tree *tree = sg_tree_of(policy);
    const sg_tree_rows_methods *methods = tree->rows->methods;
    const sg_sampler *sampler = &draw->sampler;
    bool plain = sg_sampler_is_plain(sampler);
    sg_row_sampler distorted = {sampler->temperature, sampler->top_p, sampler->top_k,
                                sg_sampler_numbers(sampler->format), sampler->raw};
    sg_tree_walk walk = {.paths = &tree->paths,
                         .at = address_of(draw),
                         .sampler = plain ? NULL : &distorted,
                         .count = responses->count,
                         .room = responses->room,
                         .prompt = responses->prompt,
                         .sample = responses->sample,
                         .length = responses->length,
                         .tokens = responses->tokens,
                         .log_prob = log_prob};
    if (plain || (methods->distorts && sampler->noise == 0))
        return methods->walk(tree->rows, &walk, error);
    return draw_distorted(tree, draw, responses, log_prob, error);
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
