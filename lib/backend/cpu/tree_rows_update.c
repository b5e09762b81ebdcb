/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Updates of a tree's rows on the CPU. The gradient is never stored: a first pass adds up its squares and
 * the bias's gradient, a second one makes it again and moves the logits. */
#include <string.h>

#include "backend/cpu/threads.h"
#include "backend/cpu/tree_rows.h"

typedef struct update {
    sg_cpu_tree *tree;
    const sg_tree_samples *samples;
    const sg_tree_step *step;
    bool norms;  /* of the gradients are needed */
    bool wanted; /* the sums of the step */
    double factor;
    const double *rate; /* [count + 1], or NULL */
} update;

/* The samples of listed state k below token `end`. */
static size_t samples_below(const sg_tree_samples *samples, size_t k, size_t end)
{
    size_t low = samples->start[k], high = samples->start[k + 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((size_t)samples->tokens[middle] < end)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Probabilities and gradient of a tile of listed state k. mark, if wanted: 0 where there is a sample. */
static void gradient_of(const update *u, size_t k, sg_cpu_piece x, double *p, double *g,
                        double *mark)
{
    const sg_tree_samples *samples = u->samples;
    sg_cpu_tree_logits(u->tree, x, p);
    u->tree->kernels->gradient(x.n, u->tree->log_norm[x.row], samples->diffuse[k], p, g);
    for (size_t i = 0; mark != NULL && i < x.n; i++)
        mark[i] = 1;
    size_t end = samples_below(samples, k, x.at + x.n);
    for (size_t j = samples_below(samples, k, x.at); j < end; j++) {
        g[(size_t)samples->tokens[j] - x.at] += samples->pushes[j];
        if (mark != NULL)
            mark[(size_t)samples->tokens[j] - x.at] = 0;
    }
}

static bool has_samples(const sg_tree_samples *samples, size_t k)
{
    return samples->start[k + 1] > samples->start[k];
}

static void square_tile(void *context, size_t i)
{
    const update *u = context;
    size_t k = i / u->tree->tiles;
    double p[SG_TREE_TILE], g[SG_TREE_TILE], *norms = u->tree->room;
    sg_cpu_piece x = sg_cpu_tree_tile(u->tree, u->samples->state[k], i % u->tree->tiles);
    norms[i] = 0;
    if (!has_samples(u->samples, k))
        return;
    gradient_of(u, k, x, p, g, NULL);
    norms[i] = u->tree->kernels->norm2(x.n, g);
}

/* The bias adds up the gradients of a tile of all listed states, in their order, and may take their norms
 * with it. */
static void add_tiles(void *context, size_t t)
{
    const update *u = context;
    sg_cpu_tree *tree = u->tree;
    double p[SG_TREE_TILE], g[SG_TREE_TILE], *norms = tree->room;
    sg_cpu_piece x = sg_cpu_tree_tile(tree, tree->base.config.states, t);
    double *total = tree->gradient + x.at;
    memset(total, 0, x.n * sizeof *total);
    for (size_t k = 0; k < u->samples->count; k++) {
        norms[k * tree->tiles + t] = 0;
        x.row = u->samples->state[k];
        if (!has_samples(u->samples, k))
            continue;
        gradient_of(u, k, x, p, g, NULL);
        if (u->norms)
            norms[k * tree->tiles + t] = tree->kernels->norm2(x.n, g);
        tree->kernels->add(x.n, g, total);
    }
    norms[u->samples->count * tree->tiles + t] = tree->kernels->norm2(x.n, total);
}

/* The bias's gradient, and what of the step depends on norms: the clip's factor, rates of rows. */
static void prepare(update *u)
{
    sg_cpu_tree *tree = u->tree;
    size_t count = u->samples->count;
    bool shared = tree->base.config.shared_bias;
    double total = 0, *norm2 = tree->norm2;
    if (shared)
        sg_for_each(tree->tiles, count * SG_TREE_TILE, add_tiles, u);
    else if (u->norms)
        sg_for_each(count * tree->tiles, SG_TREE_TILE, square_tile, u);
    if (!u->norms)
        return;
    norm2[count] = 0;
    for (size_t k = 0; k < count + shared; k++)
        norm2[k] = sg_cpu_tree_sum((double *)tree->room + k * tree->tiles, tree->tiles);
    for (size_t k = 0; k <= count; k++)
        total += norm2[k];
    u->factor = sg_tree_clip(u->step->clip_norm, total);
    if (tree->second == NULL)
        return;
    for (size_t k = 0; k <= count; k++) /* all rows are listed */
        tree->rate[k] = sg_tree_couple(&u->step->rule, u->factor, norm2[k],
                                       tree->base.config.vocabulary, &tree->second[k]);
    u->rate = tree->rate;
}

/* delta, where the gradient stood; moments move on. k is the place in the list. */
static void optimise_tile(const update *u, size_t k, sg_cpu_piece x, double *delta)
{
    const sg_cpu_tree *tree = u->tree;
    sg_rule_numbers rule =
        sg_tree_rule(u->step->rule, u->factor, u->rate != NULL ? &u->rate[k] : NULL);
    double m[SG_TREE_TILE], v[SG_TREE_TILE], theta[SG_TREE_TILE] = {0};
    bool has_m = tree->part[SG_TREE_MEAN] != NULL, has_v = tree->part[SG_TREE_MEAN_SQUARE] != NULL;
    if (has_m)
        sg_cpu_tree_read(tree, SG_TREE_MEAN, x, m);
    if (has_v)
        sg_cpu_tree_read(tree, SG_TREE_MEAN_SQUARE, x, v);
    if (rule.decay > 0)
        sg_cpu_tree_read(tree, SG_TREE_THETA, x, theta);
    for (size_t i = 0; rule.decay > 0 && i < x.n; i++)
        theta[i] = sg_tree_parameter(theta[i]);
    tree->kernels->optimise(tree->base.config.optimizer, &rule, x.n, delta, m, v, theta);
    if (has_m)
        sg_cpu_tree_write(tree, SG_TREE_MEAN, x, m);
    if (has_v)
        sg_cpu_tree_write(tree, SG_TREE_MEAN_SQUARE, x, v);
}

static void move_tile(const sg_cpu_tree *tree, sg_cpu_piece x, const double *delta)
{
    double theta[SG_TREE_TILE];
    sg_cpu_tree_read(tree, SG_TREE_THETA, x, theta);
    tree->kernels->add(x.n, delta, theta);
    sg_cpu_tree_write(tree, SG_TREE_THETA, x, theta);
}

/* The bias's delta becomes the drift; it moves itself when no state needs the old one. */
static void step_bias(void *context, size_t t)
{
    const update *u = context;
    sg_cpu_tree *tree = u->tree;
    sg_cpu_piece x = sg_cpu_tree_tile(tree, tree->base.config.states, t);
    double *drift = tree->drift + x.at, *gradient = tree->gradient + x.at;
    memcpy(drift, gradient, x.n * sizeof *drift);
    optimise_tile(u, u->samples->count, x, drift);
    if (u->wanted)
        ((sg_tree_sums *)tree->room)[u->samples->count * tree->tiles + t] =
            (sg_tree_sums){.gradient2 = tree->kernels->norm2(x.n, gradient),
                           .norm2 = tree->kernels->norm2(x.n, drift)};
}

static void move_bias(void *context, size_t t)
{
    const sg_cpu_tree *tree = context;
    sg_cpu_piece x = sg_cpu_tree_tile(tree, tree->base.config.states, t);
    move_tile(tree, x, tree->drift + x.at);
}

static void step_tile(void *context, size_t i)
{
    const update *u = context;
    sg_cpu_tree *tree = u->tree;
    size_t k = i / tree->tiles;
    bool visited = has_samples(u->samples, k);
    double p[SG_TREE_TILE], delta[SG_TREE_TILE] = {0}, mark[SG_TREE_TILE];
    sg_tree_sums *sums = (sg_tree_sums *)tree->room + i;
    sg_cpu_piece x = sg_cpu_tree_tile(tree, u->samples->state[k], i % tree->tiles);
    if (visited)
        gradient_of(u, k, x, p, delta, u->wanted ? mark : NULL);
    double gradient2 = u->wanted && visited ? tree->kernels->norm2(x.n, delta) : 0;
    optimise_tile(u, k, x, delta);
    if (u->wanted && visited) {
        tree->kernels->compare(x.n, p, delta, tree->drift + x.at, mark, sums);
        sums->gradient2 = gradient2;
    } else if (u->wanted) {
        *sums = (sg_tree_sums){.norm2 = tree->kernels->norm2(x.n, delta)};
    }
    move_tile(tree, x, delta);
}

static sg_tree_sums add_sums(const sg_tree_sums *x, size_t n)
{
    if (n == 1)
        return x[0];
    size_t half = sg_tree_split(0, n);
    sg_tree_sums left = add_sums(x, half), right = add_sums(x + half, n - half);
    sg_tree_sums_add(&left, &right);
    return left;
}

static void sum_up(const update *u, sg_tree_change *change)
{
    const sg_cpu_tree *tree = u->tree;
    bool shared = tree->base.config.shared_bias;
    change->factor = u->factor;
    change->sums[u->samples->count] = (sg_tree_sums){0};
    for (size_t k = 0; k < u->samples->count + shared; k++)
        change->sums[k] = add_sums((sg_tree_sums *)tree->room + k * tree->tiles, tree->tiles);
}

void sg_cpu_tree_update(sg_tree_rows *rows, const sg_tree_samples *samples,
                        const sg_tree_step *step, sg_tree_change *change)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    update u = {.tree = tree,
                .samples = samples,
                .step = step,
                .norms = sg_tree_needs_norms(&rows->config, step),
                .wanted = change != NULL,
                .factor = 1};
    bool shared = rows->config.shared_bias;
    prepare(&u);
    if (shared)
        sg_for_each(tree->tiles, SG_TREE_TILE, step_bias, &u);
    sg_for_each(samples->count * tree->tiles, SG_TREE_TILE, step_tile, &u);
    if (change != NULL)
        sum_up(&u, change);
    if (shared)
        sg_for_each(tree->tiles, SG_TREE_TILE, move_bias, tree);
    if (shared)
        sg_cpu_tree_normalise(tree, NULL, 0, rows->config.states);
    else
        sg_cpu_tree_normalise(tree, samples->state, 0, samples->count);
}
