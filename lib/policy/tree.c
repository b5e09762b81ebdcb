/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "core/vec.h"
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

double sg_tree_bytes(const sg_tree_shape *shape, size_t responses)
{
    double states = (double)shape->prompts * sg_tree_states(shape);
    double arrays = (double)sg_optimizer_arrays(shape->optimizer);
    double real = shape->precision == SG_FP32 ? sizeof(float) : sizeof(double);
    double state =
        arrays * (double)shape->vocabulary * real + 5 * sizeof(double) + sizeof(sg_row_observation);
    return (states + 1) * state + 4.0 * sizeof(double) * (double)shape->vocabulary +
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

/* ---- rows ---- */

void sg_tree_read(const sg_tree *tree, const void *array, size_t row, size_t at, size_t n,
                  double *x)
{
    size_t first = row * tree->shape.vocabulary + at;
    if (tree->shape.precision == SG_FP64) {
        memcpy(x, (const double *)array + first, n * sizeof *x);
        return;
    }
    const float *from = (const float *)array + first;
    for (size_t i = 0; i < n; i++)
        x[i] = (double)from[i];
}

void sg_tree_write(const sg_tree *tree, void *array, size_t row, size_t at, size_t n,
                   const double *x)
{
    size_t first = row * tree->shape.vocabulary + at;
    if (tree->shape.precision == SG_FP64) {
        memcpy((double *)array + first, x, n * sizeof *x);
        return;
    }
    float *to = (float *)array + first;
    for (size_t i = 0; i < n; i++)
        to[i] = (float)x[i];
}

void sg_tree_logits(const sg_tree *tree, size_t state, size_t at, size_t n, double *z)
{
    sg_tree_read(tree, tree->theta, state, at, n, z);
    for (size_t done = 0; tree->shape.shared_bias && done < n; done += SG_TREE_CHUNK) {
        double bias[SG_TREE_CHUNK];
        size_t size = n - done < SG_TREE_CHUNK ? n - done : SG_TREE_CHUNK;
        sg_tree_read(tree, tree->theta, tree->states, at + done, size, bias);
        for (size_t i = 0; i < size; i++)
            z[done + i] += bias[i];
    }
}

static double log_norm_of(const sg_tree *tree, size_t state)
{
    double z[SG_TREE_CHUNK], peak = -INFINITY, sum = 0;
    size_t vocabulary = tree->shape.vocabulary;
    for (size_t at = 0; at < vocabulary; at += SG_TREE_CHUNK) {
        size_t n = vocabulary - at < SG_TREE_CHUNK ? vocabulary - at : SG_TREE_CHUNK;
        sg_tree_logits(tree, state, at, n, z);
        for (size_t i = 0; i < n; i++)
            peak = z[i] > peak ? z[i] : peak;
    }
    for (size_t at = 0; at < vocabulary; at += SG_TREE_CHUNK) {
        size_t n = vocabulary - at < SG_TREE_CHUNK ? vocabulary - at : SG_TREE_CHUNK;
        double part = 0;
        sg_tree_logits(tree, state, at, n, z);
        for (size_t i = 0; i < n; i++)
            z[i] -= peak;
        sg_vec_exp(n, z, z);
        for (size_t i = 0; i < n; i++)
            part += z[i];
        sum += part;
    }
    return peak + log(sum);
}

void sg_tree_normalise(sg_tree *tree)
{
#pragma omp parallel for schedule(static) if (tree->states * tree->shape.vocabulary > 1 << 14)
    for (size_t state = 0; state < tree->states; state++)
        tree->log_norm[state] = log_norm_of(tree, state);
}

double sg_tree_log_prob(const sg_tree *tree, size_t state, int32_t token)
{
    double z;
    sg_tree_logits(tree, state, (size_t)token, 1, &z);
    return z - tree->log_norm[state];
}

/* ---- states ---- */

size_t sg_tree_next(const sg_tree *tree, size_t local, size_t t, int32_t token)
{
    const sg_tree_shape *shape = &tree->shape;
    bool dead = local > tree->per_prompt - shape->length; /* the chain stands at the end */
    if (dead || (size_t)token >= shape->head || t + 1 >= tree->depth)
        return sg_tree_dead(tree, t + 1);
    size_t number = local - tree->first[t];
    number = shape->merge > 0 ? (number + (size_t)token) % shape->merge
                              : number * shape->head + (size_t)token;
    return tree->first[t + 1] + number;
}

size_t sg_tree_state(const sg_policy *policy, size_t prompt, const int32_t *tokens, size_t t)
{
    const sg_tree *tree = sg_tree_of(policy);
    size_t local = 0;
    for (size_t i = 0; i < t; i++)
        local = sg_tree_next(tree, local, i, tokens[i]);
    return prompt * tree->per_prompt + local;
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
            size_t state = responses->prompt[i] * tree->per_prompt + local;
            tree->state_of[i * length + t] = state;
            tree->start[state + 1]++;
            if (t + 1 < said)
                local = sg_tree_next(tree, local, t, answer[t]);
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

/* ---- draws and log-probabilities ---- */

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

/* Token t of all travellers that are in the same state; they move on. */
static void draw_state(sg_tree *tree, const sg_policy_draw *draw, const sg_responses *responses,
                       traveller *list, size_t count, size_t t, sg_sampler_row *row,
                       double *log_prob)
{
    const sg_policy *policy = &tree->base;
    size_t state = list[0].state, local = state % tree->per_prompt;
    sg_address at = {.seed = draw->seed,
                     .stream = SG_STREAM_NOISE,
                     .step = draw->step,
                     .prompt = (uint32_t)(state / tree->per_prompt),
                     .sample = (uint32_t)local};
    sg_tree_logits(tree, state, 0, policy->vocabulary, row->logits);
    sg_sampler_prepare(row, &draw->sampler, at);
    bool plain = sg_sampler_is_plain(&draw->sampler);
    at.stream = draw->stream;
    at.token = (uint32_t)t;
    for (size_t k = 0; k < count; k++) {
        size_t i = list[k].response, to = i * responses->room + t;
        at.sample = responses->sample[i];
        int32_t token = sg_sampler_draw(row, &draw->sampler, sg_rng_uniform(at), &log_prob[to]);
        responses->tokens[to] = token;
        if (plain) /* the same bits as sg_policy_methods.log_prob */
            log_prob[to] = sg_tree_log_prob(tree, state, token);
        responses->length[i] = (uint32_t)t + 1;
        if (sg_tree_ends(tree, token))
            list[k].state = SIZE_MAX; /* sorted behind all others */
        else if (t + 1 < policy->length)
            list[k].state = state - local + sg_tree_next(tree, local, t, token);
    }
}

static sg_status draw_responses(sg_policy *policy, const sg_policy_draw *draw,
                                const sg_responses *responses, double *log_prob, sg_error *error)
{
    sg_tree *tree = sg_tree_of(policy);
    size_t count = responses->count, vocabulary = policy->vocabulary;
    double *room = malloc(2 * vocabulary * sizeof *room);
    traveller *all = malloc((count + 1) * sizeof *all);
    if (room == NULL || all == NULL) {
        free(room);
        free(all);
        return sg_fail(error, SG_ENOMEM, "not enough memory to draw %zu responses", count);
    }
    sg_sampler_row row = {.n = vocabulary, .logits = room, .cumulated = room + vocabulary};
    for (size_t i = 0; i < count; i++)
        all[i] = (traveller){responses->prompt[i] * tree->per_prompt, i};
    for (size_t t = 0; t < policy->length; t++) {
        qsort(all, count, sizeof *all, by_state);
        while (count > 0 && all[count - 1].state == SIZE_MAX)
            count--;
        for (size_t first = 0, end; first < count; first = end) {
            for (end = first + 1; end < count && all[end].state == all[first].state;)
                end++;
            draw_state(tree, draw, responses, all + first, end - first, t, &row, log_prob);
        }
    }
    free(room);
    free(all);
    return SG_OK;
}

static sg_status log_prob_of(sg_policy *policy, const sg_responses *responses, double *log_prob,
                             sg_error *error)
{
    const sg_tree *tree = sg_tree_of(policy);
    (void)error;
    for (size_t i = 0; i < responses->count; i++) {
        const int32_t *answer = responses->tokens + i * responses->room;
        size_t local = 0;
        for (size_t t = 0; t < responses->length[i]; t++) {
            size_t state = responses->prompt[i] * tree->per_prompt + local;
            log_prob[i * responses->room + t] = sg_tree_log_prob(tree, state, answer[t]);
            if (t + 1 < responses->length[i])
                local = sg_tree_next(tree, local, t, answer[t]);
        }
    }
    return SG_OK;
}

/* ---- memory ---- */

static const char *backend(const sg_policy *policy)
{
    return sg_tree_of(policy)->shape.precision == SG_FP32 ? "tree/fp32" : "tree/fp64";
}

static void release(sg_policy *policy)
{
    sg_tree *tree = sg_tree_of(policy);
    void *arrays[] = {tree->first,       tree->theta,    tree->m,     tree->v,     tree->second,
                      tree->log_norm,    tree->state_of, tree->order, tree->start, tree->visits,
                      tree->observation, tree->gradient, tree->drift, tree};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

/* What a tree must keep; log_norm follows from theta. */
enum { PARTS = 4 };
typedef struct part {
    void *at; /* NULL: the optimiser has none */
    size_t size;
} part;

static void list_parts(const sg_tree *tree, part parts[PARTS])
{
    size_t array = (tree->states + 1) * tree->shape.vocabulary * sg_tree_real(tree);
    const part list[PARTS] = {{tree->theta, array},
                              {tree->m, array},
                              {tree->v, array},
                              {tree->second, (tree->states + 1) * sizeof *tree->second}};
    memcpy(parts, list, sizeof list);
}

static void copy_parts(sg_tree *to, const sg_tree *from, size_t count)
{
    part target[PARTS], source[PARTS];
    list_parts(to, target);
    list_parts(from, source);
    for (size_t i = 0; i < count; i++)
        if (target[i].at != NULL)
            memcpy(target[i].at, source[i].at, target[i].size);
    memcpy(to->log_norm, from->log_norm, to->states * sizeof *to->log_norm);
}

static sg_status copy(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    (void)error;
    copy_parts(sg_tree_of(policy), sg_tree_of(source), PARTS);
    return SG_OK;
}

static sg_status adopt(sg_policy *policy, const sg_policy *source, sg_error *error)
{
    (void)error;
    copy_parts(sg_tree_of(policy), sg_tree_of(source), 1);
    return SG_OK;
}

static void forget(sg_policy *policy)
{
    part parts[PARTS];
    list_parts(sg_tree_of(policy), parts);
    for (size_t i = 1; i < PARTS; i++)
        if (parts[i].at != NULL)
            memset(parts[i].at, 0, parts[i].size);
}

static size_t save(const sg_policy *policy, void *to)
{
    part parts[PARTS];
    size_t done = 0;
    list_parts(sg_tree_of(policy), parts);
    for (size_t i = 0; i < PARTS; i++) {
        if (parts[i].at == NULL)
            continue;
        if (to != NULL)
            memcpy((char *)to + done, parts[i].at, parts[i].size);
        done += parts[i].size;
    }
    return done;
}

static sg_status load(sg_policy *policy, const void *from, size_t size, sg_error *error)
{
    part parts[PARTS];
    sg_status status = sg_policy_check_size(size, save(policy, NULL), error);
    if (status != SG_OK)
        return status;
    list_parts(sg_tree_of(policy), parts);
    for (size_t i = 0, done = 0; i < PARTS; i++) {
        if (parts[i].at == NULL)
            continue;
        memcpy(parts[i].at, (const char *)from + done, parts[i].size);
        done += parts[i].size;
    }
    sg_tree_normalise(sg_tree_of(policy));
    return SG_OK;
}

/* Mean squares are those of the state's own row, not of the bias that all have in common. */
static void row(const sg_policy *policy, size_t state, double *logits, double *mean_square)
{
    const sg_tree *tree = sg_tree_of(policy);
    size_t n = policy->vocabulary;
    sg_tree_logits(tree, state, 0, n, logits);
    if (mean_square == NULL)
        return;
    if (tree->v != NULL)
        sg_tree_read(tree, tree->v, state, 0, n, mean_square);
    double scale = tree->shape.precision == SG_FP32 ? SG_TREE_MOMENT_SCALE : 1;
    for (size_t i = 0; i < n; i++)
        mean_square[i] = tree->v != NULL        ? mean_square[i] / (scale * scale)
                         : tree->second != NULL ? tree->second[state]
                                                : NAN;
}

static sg_status clone(const sg_policy *policy, sg_policy **made, sg_error *error);

static const sg_policy_methods methods = {backend,
                                          release,
                                          clone,
                                          copy,
                                          forget,
                                          draw_responses,
                                          log_prob_of,
                                          sg_tree_update,
                                          sg_tree_observe,
                                          sg_tree_expected_reward,
                                          save,
                                          load,
                                          adopt,
                                          sg_tree_state,
                                          row};

static bool alloc_arrays(sg_tree *tree)
{
    const sg_tree_shape *shape = &tree->shape;
    size_t reals = (tree->states + 1) * shape->vocabulary, real = sg_tree_real(tree);
    size_t arrays = sg_optimizer_arrays(shape->optimizer);
    bool coupled = shape->optimizer == SG_COUPLED_ADAM;
    tree->theta = calloc(reals, real);
    tree->m = arrays > 1 ? calloc(reals, real) : NULL;
    tree->v = arrays > 2 ? calloc(reals, real) : NULL;
    tree->second = coupled ? calloc(tree->states + 1, sizeof *tree->second) : NULL;
    tree->log_norm = calloc(tree->states, sizeof *tree->log_norm);
    tree->start = calloc(tree->states + 1, sizeof *tree->start);
    tree->visits = calloc(tree->states, sizeof *tree->visits);
    tree->observation = calloc(tree->states, sizeof *tree->observation);
    tree->gradient = calloc(shape->vocabulary, sizeof *tree->gradient);
    tree->drift = calloc(shape->vocabulary, sizeof *tree->drift);
    return tree->theta && (tree->m || arrays < 2) && (tree->v || arrays < 3) &&
           (tree->second || !coupled) && tree->log_norm && tree->start && tree->visits &&
           tree->observation && tree->gradient && tree->drift;
}

static sg_status make(sg_policy **made, const sg_tree_shape *shape, sg_error *error)
{
    *made = NULL;
    sg_tree *tree = calloc(1, sizeof *tree);
    size_t *first = calloc(shape->length + 1, sizeof *first);
    if (tree == NULL || first == NULL) {
        free(tree);
        free(first);
        return sg_fail(error, SG_ENOMEM, "not enough memory for a tree");
    }
    tree->shape = *shape;
    tree->depth = shape->may_end ? shape->branching : shape->length;
    tree->first = first;
    for (size_t t = 0; t < shape->length; t++) {
        size_t here = (size_t)states_at(shape, t);
        tree->width = here > tree->width ? here : tree->width;
        first[t + 1] = first[t] + here;
    }
    tree->per_prompt = first[shape->length] + shape->length - 1;
    tree->states = shape->prompts * tree->per_prompt;
    tree->base = (sg_policy){.methods = &methods,
                             .exact_reward = true,
                             .prompts = shape->prompts,
                             .length = shape->length,
                             .vocabulary = shape->vocabulary,
                             .bytes = sg_tree_bytes(shape, 0)};
    if (!alloc_arrays(tree)) {
        release(&tree->base);
        return sg_fail(error, SG_ENOMEM,
                       "a tree of %zu states of %zu tokens needs %.3g GiB, which this machine does "
                       "not give; shorten the responses, take fewer branches, or merge prefixes",
                       shape->prompts * (size_t)sg_tree_states(shape), shape->vocabulary,
                       sg_tree_bytes(shape, 0) / 0x1p30);
    }
    *made = &tree->base;
    return SG_OK;
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
    sg_tree *tree = sg_tree_of(*policy);
    for (size_t state = 0; state < tree->states; state++)
        sg_tree_write(tree, tree->theta, state, 0, shape->vocabulary, logits);
    sg_tree_normalise(tree);
    return SG_OK;
}

void sg_tree_get(const sg_policy *policy, size_t state, double *theta)
{
    const sg_tree *tree = sg_tree_of(policy);
    sg_tree_read(tree, tree->theta, state == SG_TREE_BIAS ? tree->states : state, 0,
                 policy->vocabulary, theta);
}

void sg_tree_set(sg_policy *policy, size_t state, const double *theta)
{
    sg_tree *tree = sg_tree_of(policy);
    sg_tree_write(tree, tree->theta, state == SG_TREE_BIAS ? tree->states : state, 0,
                  policy->vocabulary, theta);
    sg_tree_normalise(tree);
}
