/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "policy/tree_parts.h"

/* ---- shape ---- */

/* States of position t, the dead end not counted. */
static double states_at(const sg_tree_shape *shape, size_t t)
{
    if (t == 0)
        return 1;
    if (shape->may_end && t >= shape->branching)
        return 0;
    return shape->merge > 0 ? (double)shape->merge : pow((double)shape->head, (double)t);
}

double sg_tree_states(const sg_tree_shape *shape)
{
    double states = (double)shape->length - 1;
    for (size_t t = 0; t < shape->length && states < 1e300; t++)
        states += states_at(shape, t);
    return states;
}

static sg_tree_rows_config rows_of(const sg_tree_shape *shape, size_t states)
{
    return (sg_tree_rows_config){.states = states,
                                 .vocabulary = shape->vocabulary,
                                 .head = shape->head,
                                 .shared_bias = shape->shared_bias,
                                 .precision = shape->precision,
                                 .optimizer = shape->optimizer};
}

double sg_tree_bytes(const sg_tree_shape *shape, size_t responses)
{
    sg_tree_rows_config rows = rows_of(shape, 0);
    double states = (double)shape->prompts * sg_tree_states(shape);
    double state = sg_tree_row_bytes(&rows) + 3 * sizeof(double) + sizeof(sg_tree_look) +
                   sizeof(sg_row_observation);
    return (states + 1) * state + 2.0 * sizeof(double) * (double)shape->vocabulary +
           sizeof(double) * fmin(states * (double)shape->head, SG_TREE_HEAD_ROOM) +
           (double)responses * (double)shape->length * 2 * sizeof(size_t);
}

static sg_status check_shape(const sg_tree_shape *shape, sg_error *error)
{
    if (shape->prompts < 1 || shape->length < 1)
        return sg_fail(error, SG_EARGUMENT, "a tree needs at least one prompt and one token");
    if (shape->vocabulary < 2 || shape->vocabulary > INT32_MAX || shape->head < 1 ||
        shape->head > shape->vocabulary)
        return sg_fail(error, SG_EARGUMENT,
                       "a tree of %zu tokens with %zu branches is not possible: the branches must "
                       "be in 1..tokens, and the tokens in 2..2147483647",
                       shape->vocabulary, shape->head);
    if (shape->may_end && (shape->end_token < 0 || (size_t)shape->end_token >= shape->head ||
                           shape->branching < 1 || shape->branching > shape->length))
        return sg_fail(error, SG_EARGUMENT,
                       "a tree of %zu tokens with %zu branches cannot end with token %d and branch "
                       "at %zu positions; the token must be a branch, the positions in 1..%zu",
                       shape->vocabulary, shape->head, (int)shape->end_token, shape->branching,
                       shape->length);
    double bytes = sg_tree_bytes(shape, 0);
    if (bytes > 0x1p46)
        return sg_fail(error, SG_ENOMEM,
                       "a tree of %.3g states of %zu tokens needs %.3g GiB; shorten the responses, "
                       "take fewer branches, or merge prefixes",
                       (double)shape->prompts * sg_tree_states(shape), shape->vocabulary,
                       bytes / 0x1p30);
    return SG_OK;
}

/* ---- states ---- */

size_t sg_tree_state(const sg_policy *policy, size_t prompt, const int32_t *tokens, size_t t)
{
    const sg_tree *tree = sg_tree_of(policy);
    size_t local = 0;
    for (size_t i = 0; i < t; i++)
        local = sg_tree_next(&tree->paths, local, i, tokens[i]);
    return prompt * tree->paths.per_prompt + local;
}

sg_status sg_tree_arrange(sg_tree *tree, const sg_responses *responses, sg_error *error)
{
    size_t length = tree->shape.length, most = responses->count * length;
    if (most > tree->capacity) {
        void *states = realloc(tree->state_of, most * sizeof *tree->state_of);
        tree->state_of = states != NULL ? states : tree->state_of;
        void *order = realloc(tree->order, most * sizeof *tree->order);
        tree->order = order != NULL ? order : tree->order;
        if (states == NULL || order == NULL)
            return sg_fail(error, SG_ENOMEM, "not enough memory for %zu responses of %zu tokens",
                           responses->count, length);
        tree->capacity = most;
    }
    memset(tree->start, 0, (tree->states + 1) * sizeof *tree->start);
    for (size_t i = 0; i < responses->count; i++) {
        const int32_t *answer = responses->tokens + i * responses->room;
        size_t local = 0, said = responses->length[i];
        for (size_t t = 0; t < said; t++) {
            size_t state = responses->prompt[i] * tree->paths.per_prompt + local;
            tree->state_of[i * length + t] = state;
            tree->start[state + 1]++;
            if (t + 1 < said)
                local = sg_tree_next(&tree->paths, local, t, answer[t]);
        }
    }
    for (size_t state = 0; state < tree->states; state++)
        tree->start[state + 1] += tree->start[state];
    size_t tokens = tree->start[tree->states];
    for (size_t i = responses->count; i-- > 0;) /* from behind: start ends where it began */
        for (size_t t = responses->length[i]; t-- > 0;)
            tree->order[--tree->start[tree->state_of[i * length + t] + 1]] =
                i * responses->room + t;
    /* Now start[state + 1] is the first of `state`: one step down. */
    memmove(tree->start, tree->start + 1, tree->states * sizeof *tree->start);
    tree->start[tree->states] = tokens;
    return SG_OK;
}

/* ---- memory ---- */

static const char *backend(const sg_policy *policy)
{
    return sg_tree_of(policy)->rows->name;
}

static void release(sg_policy *policy)
{
    sg_tree *tree = sg_tree_of(policy);
    sg_tree_rows_free(tree->rows);
    void *arrays[] = {tree->first,  tree->state_of, tree->order,       tree->start,
                      tree->visits, tree->look,     tree->observation, tree};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

static sg_status copy(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    sg_tree *to = sg_tree_of(policy), *from = sg_tree_of(source);
    to->rows->methods->copy(to->rows, from->rows, true);
    return sg_tree_rows_status(to->rows, error);
}

static sg_status adopt(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    sg_tree *to = sg_tree_of(policy);
    to->rows->methods->copy(to->rows, sg_tree_of(source)->rows, false);
    return sg_tree_rows_status(to->rows, error);
}

static void forget(sg_policy *policy)
{
    sg_tree *tree = sg_tree_of(policy);
    tree->rows->methods->forget(tree->rows);
}

static size_t save(const sg_policy *policy, void *to)
{
    const sg_tree *tree = sg_tree_of(policy);
    return tree->rows->methods->save(tree->rows, to);
}

static sg_status load(sg_policy *policy, const void *from, size_t size, sg_error *error)
{
    sg_tree *tree = sg_tree_of(policy);
    sg_status status = sg_policy_check_size(size, save(policy, NULL), error);
    if (status != SG_OK)
        return status;
    tree->rows->methods->load(tree->rows, from);
    return sg_tree_rows_status(tree->rows, error);
}

/* Mean squares are those of the state's own row, not of the bias that all have in common. */
static void row(const sg_policy *policy, size_t state, double *logits, double *mean_square)
{
    const sg_tree *tree = sg_tree_of(policy);
    sg_optimizer_kind kind = tree->shape.optimizer;
    bool coupled = kind == SG_COUPLED_ADAM, kept = kind == SG_ADAM || kind == SG_ADAMW || coupled;
    bool scaled = tree->shape.precision == SG_FP32 && !coupled;
    double scale = scaled ? SG_TREE_MOMENT_SCALE : 1;
    tree->rows->methods->logits(tree->rows, state, logits);
    if (mean_square == NULL)
        return;
    if (kept)
        tree->rows->methods->read(tree->rows, SG_TREE_MEAN_SQUARE, state, mean_square);
    for (size_t i = 0; i < policy->vocabulary; i++)
        mean_square[i] = kept ? mean_square[i] / (scale * scale) : NAN;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error);

static const sg_policy_methods methods = {backend,
                                          release,
                                          clone,
                                          copy,
                                          forget,
                                          sg_tree_draw,
                                          sg_tree_log_prob,
                                          sg_tree_update,
                                          sg_tree_observe,
                                          sg_tree_expected_reward,
                                          save,
                                          load,
                                          adopt,
                                          sg_tree_state,
                                          row};

/* What positions there are, and how many states. */
static sg_status number_states(sg_tree *tree, const sg_tree_shape *shape)
{
    tree->shape = *shape;
    tree->first = calloc(shape->length + 1, sizeof *tree->first);
    if (tree->first == NULL)
        return SG_ENOMEM;
    for (size_t t = 0; t < shape->length; t++) {
        size_t here = (size_t)states_at(shape, t);
        tree->width = here > tree->width ? here : tree->width;
        tree->first[t + 1] = tree->first[t] + here;
    }
    tree->paths = (sg_tree_paths){.length = shape->length,
                                  .depth = shape->may_end ? shape->branching : shape->length,
                                  .per_prompt = tree->first[shape->length] + shape->length - 1,
                                  .head = shape->head,
                                  .merge = shape->merge,
                                  .may_end = shape->may_end,
                                  .end_token = shape->end_token,
                                  .first = tree->first};
    tree->states = shape->prompts * tree->paths.per_prompt;
    return SG_OK;
}

static bool alloc_arrays(sg_tree *tree)
{
    tree->start = calloc(tree->states + 1, sizeof *tree->start);
    tree->visits = calloc(tree->states, sizeof *tree->visits);
    tree->look = calloc(tree->states, sizeof *tree->look);
    tree->observation = calloc(tree->states, sizeof *tree->observation);
    return tree->start && tree->visits && tree->look && tree->observation;
}

static sg_status make(sg_policy **made, const sg_tree_shape *shape, sg_error *error)
{
    *made = NULL;
    sg_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a tree");
    tree->base = (sg_policy){.methods = &methods,
                             .exact_reward = true,
                             .prompts = shape->prompts,
                             .length = shape->length,
                             .vocabulary = shape->vocabulary,
                             .bytes = sg_tree_bytes(shape, 0)};
    sg_status status = number_states(tree, shape);
    if (status == SG_OK && !alloc_arrays(tree))
        status = SG_ENOMEM;
    if (status != SG_OK) {
        sg_fail(error, status, "not enough memory for a tree of %.3g states",
                (double)shape->prompts * sg_tree_states(shape));
    } else {
        sg_tree_rows_config rows = rows_of(shape, tree->states);
        status = sg_tree_rows_alloc(&tree->rows, shape->backend, &rows, error);
    }
    if (status == SG_OK)
        *made = &tree->base;
    else
        release(&tree->base);
    return status;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error)
{
    sg_status status = make(made, &sg_tree_of(policy)->shape, error);
    if (status == SG_OK)
        status = copy(*made, policy, error);
    return status;
}

sg_status sg_tree_alloc(sg_policy **policy, const sg_tree_shape *shape, const double *logits,
                        sg_error *error)
{
    *policy = NULL;
    sg_status status = check_shape(shape, error);
    if (status == SG_OK)
        status = make(policy, shape, error);
    if (status != SG_OK)
        return status;
    sg_tree_rows *rows = sg_tree_of(*policy)->rows;
    rows->methods->fill(rows, logits);
    status = sg_tree_rows_status(rows, error);
    if (status != SG_OK) {
        sg_policy_free(*policy);
        *policy = NULL;
    }
    return status;
}

void sg_tree_get(const sg_policy *policy, size_t state, double *theta)
{
    const sg_tree *tree = sg_tree_of(policy);
    tree->rows->methods->read(tree->rows, SG_TREE_THETA,
                              state == SG_TREE_BIAS ? tree->states : state, theta);
}

void sg_tree_set(sg_policy *policy, size_t state, const double *theta)
{
    sg_tree *tree = sg_tree_of(policy);
    tree->rows->methods->write(tree->rows, state == SG_TREE_BIAS ? tree->states : state, theta);
}
