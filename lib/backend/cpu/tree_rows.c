/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A tree's rows on the CPU: memory, normalisers, log-probabilities, observations. */
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/threads.h"
#include "backend/cpu/tree_rows.h"
#include "backend/tree_rows_math.h"
#include "core/isa.h"

static double logit_of(const sg_cpu_tree *tree, size_t state, size_t token)
{
    double z;
    sg_cpu_tree_logits(tree, (sg_cpu_piece){state, token, 1}, &z);
    return z;
}

/* ---- sums over tiles ---- */

double sg_cpu_tree_sum(const double *x, size_t n)
{
    if (n == 1)
        return x[0];
    size_t half = sg_tree_split(0, n);
    return sg_cpu_tree_sum(x, half) + sg_cpu_tree_sum(x + half, n - half);
}

static sg_tree_look add_looks(const sg_tree_look *x, size_t n)
{
    if (n == 1)
        return x[0];
    size_t half = sg_tree_split(0, n);
    sg_tree_look left = add_looks(x, half), right = add_looks(x + half, n - half);
    sg_tree_look_add(&left, &right);
    return left;
}

/* ---- normalisers ---- */

/* Some states: listed ones, or all from `first` on. */
typedef struct some_states {
    sg_cpu_tree *tree;
    const size_t *list;
    size_t first;
} some_states;

static size_t state_at(const some_states *some, size_t k)
{
    return some->list != NULL ? some->list[k] : some->first + k;
}

static void weigh_tile(void *context, size_t i)
{
    const some_states *some = context;
    sg_cpu_tree *tree = some->tree;
    size_t state = state_at(some, i / tree->tiles), tile = i % tree->tiles;
    double z[SG_TREE_TILE];
    sg_cpu_piece x = sg_cpu_tree_tile(tree, state, tile);
    sg_cpu_tree_logits(tree, x, z);
    tree->kernels->weigh(x.n, z, &tree->peak[state * tree->tiles + tile],
                         &tree->mass[state * tree->tiles + tile]);
}

static void settle_row(void *context, size_t k)
{
    const some_states *some = context;
    sg_cpu_tree *tree = some->tree;
    size_t state = state_at(some, k);
    double *mass = tree->mass + state * tree->tiles, *peak = tree->peak + state * tree->tiles;
    double greatest = -INFINITY;
    for (size_t t = 0; t < tree->tiles; t++)
        greatest = peak[t] > greatest ? peak[t] : greatest;
    tree->offset[state] = sg_tree_base(greatest);
    for (size_t t = 0; t < tree->tiles; t++)
        mass[t] *= sg_exp(peak[t] - tree->offset[state]);
    tree->total[state] = sg_cpu_tree_sum(mass, tree->tiles);
    tree->log_norm[state] = tree->offset[state] + sg_log(tree->total[state]);
}

void sg_cpu_tree_normalise(sg_cpu_tree *tree, const size_t *list, size_t first, size_t count)
{
    some_states some = {tree, list, first};
    sg_for_each(count * tree->tiles, SG_TREE_TILE, weigh_tile, &some);
    sg_for_each(count, tree->tiles, settle_row, &some);
}

/* ---- rows in and out ---- */

static void fill(sg_tree_rows *rows, const double *logits)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    size_t states = rows->config.states;
    double none[SG_TREE_TILE] = {0};
    for (size_t t = 0; t < tree->tiles; t++) {
        for (size_t state = 0; state < states; state++)
            sg_cpu_tree_write(tree, SG_TREE_THETA, sg_cpu_tree_tile(tree, state, t),
                              logits + t * SG_TREE_TILE);
        sg_cpu_tree_write(tree, SG_TREE_THETA, sg_cpu_tree_tile(tree, states, t), none);
    }
    sg_cpu_tree_normalise(tree, NULL, 0, states);
}

static void read_row(const sg_tree_rows *rows, sg_tree_part part, size_t row, double *numbers)
{
    const sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    size_t n = rows->config.vocabulary;
    bool coupled = part == SG_TREE_MEAN_SQUARE && tree->second != NULL;
    if (!coupled)
        sg_cpu_tree_read(tree, part, (sg_cpu_piece){row, 0, n}, numbers);
    for (size_t i = 0; i < n && coupled; i++)
        numbers[i] = tree->second[row];
}

static void write_row(sg_tree_rows *rows, size_t row, const double *theta)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    sg_cpu_tree_write(tree, SG_TREE_THETA, (sg_cpu_piece){row, 0, rows->config.vocabulary}, theta);
    if (row < rows->config.states)
        sg_cpu_tree_normalise(tree, NULL, row, 1);
    else
        sg_cpu_tree_normalise(tree, NULL, 0, rows->config.states);
}

static void logits_of_state(const sg_tree_rows *rows, size_t state, double *z)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    for (size_t t = 0; t < tree->tiles; t++)
        sg_cpu_tree_logits(tree, sg_cpu_tree_tile(tree, state, t), z + t * SG_TREE_TILE);
}

/* ---- copies ---- */

static size_t part_bytes(const sg_cpu_tree *tree)
{
    return (tree->base.config.states + 1) * tree->base.config.vocabulary * tree->real;
}

static void copy(sg_tree_rows *rows, const sg_tree_rows *source, bool moments)
{
    sg_cpu_tree *to = sg_cpu_tree_of(rows), *from = sg_cpu_tree_of(source);
    size_t states = rows->config.states;
    for (int k = 0; k < (moments ? 3 : 1); k++)
        if (to->part[k] != NULL)
            memcpy(to->part[k], from->part[k], part_bytes(to));
    if (moments && to->second != NULL)
        memcpy(to->second, from->second, (states + 1) * sizeof *to->second);
    memcpy(to->mass, from->mass, states * to->tiles * sizeof *to->mass);
    memcpy(to->offset, from->offset, states * sizeof *to->offset);
    memcpy(to->total, from->total, states * sizeof *to->total);
    memcpy(to->log_norm, from->log_norm, states * sizeof *to->log_norm);
}

static void forget(sg_tree_rows *rows)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    for (int k = 1; k < 3; k++)
        if (tree->part[k] != NULL)
            memset(tree->part[k], 0, part_bytes(tree));
    if (tree->second != NULL)
        memset(tree->second, 0, (rows->config.states + 1) * sizeof *tree->second);
}

static size_t save(const sg_tree_rows *rows, void *to)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    size_t done = 0;
    for (int k = 0; k < 3; k++) {
        if (tree->part[k] == NULL)
            continue;
        if (to != NULL)
            memcpy((char *)to + done, tree->part[k], part_bytes(tree));
        done += part_bytes(tree);
    }
    size_t second = (rows->config.states + 1) * sizeof *tree->second;
    if (to != NULL && tree->second != NULL)
        memcpy((char *)to + done, tree->second, second);
    return tree->second != NULL ? done + second : done;
}

static void load(sg_tree_rows *rows, const void *from)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    const char *bytes = from;
    for (int k = 0; k < 3; k++)
        if (tree->part[k] != NULL) {
            memcpy(tree->part[k], bytes, part_bytes(tree));
            bytes += part_bytes(tree);
        }
    if (tree->second != NULL)
        memcpy(tree->second, bytes, (rows->config.states + 1) * sizeof *tree->second);
    sg_cpu_tree_normalise(tree, NULL, 0, rows->config.states);
}

/* ---- log-probabilities ---- */

static void log_prob_of(const sg_tree_rows *rows, size_t n, const size_t *state,
                        const int32_t *tokens, double *log_prob)
{
    const sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    for (size_t i = 0; i < n; i++)
        log_prob[i] = logit_of(tree, state[i], (size_t)tokens[i]) - tree->log_norm[state[i]];
}

/* ---- observations ---- */

static void look_at_tile(void *context, size_t i)
{
    const some_states *some = context;
    sg_cpu_tree *tree = some->tree;
    size_t state = state_at(some, i / tree->tiles), head = tree->base.config.head;
    double z[SG_TREE_TILE];
    sg_cpu_piece x = sg_cpu_tree_tile(tree, state, i % tree->tiles);
    sg_cpu_tree_logits(tree, x, z);
    tree->kernels->look(x.n, z, tree->log_norm[state], head > x.at ? head - x.at : 0,
                        &((sg_tree_look *)tree->room)[i]);
}

static void observe(const sg_tree_rows *rows, size_t first, size_t count, double *log_prob,
                    double *log_norm, sg_tree_look *look)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    some_states some = {tree, NULL, first};
    size_t head = rows->config.head;
    for (size_t k = 0; k < count; k++) {
        log_norm[k] = tree->log_norm[first + k];
        for (size_t token = 0; token < head; token++)
            log_prob[k * head + token] = logit_of(tree, first + k, token) - log_norm[k];
    }
    if (look != NULL)
        sg_for_each(count * tree->tiles, SG_TREE_TILE, look_at_tile, &some);
    for (size_t k = 0; k < count && look != NULL; k++)
        look[k] = add_looks((sg_tree_look *)tree->room + k * tree->tiles, tree->tiles);
}

/* ---- memory ---- */

static void release(sg_tree_rows *rows)
{
    sg_cpu_tree *tree = sg_cpu_tree_of(rows);
    void *arrays[] = {tree->part[0], tree->part[1], tree->part[2],  tree->mass,   tree->peak,
                      tree->offset,  tree->total,   tree->log_norm, tree->room,   tree->gradient,
                      tree->drift,   tree->norm2,   tree->rate,     tree->second, tree};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
}

static const sg_tree_rows_methods methods = {
    release,     NULL,      fill,
    read_row,    write_row, logits_of_state,
    copy,        forget,    save,
    load,        false,     sg_cpu_tree_walk,
    log_prob_of, observe,   sg_cpu_tree_update,
};

static const sg_tree_kernels *select_kernels(void)
{
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX512)
        return &sg_tree_kernels_avx512;
    if (isa == SG_ISA_AVX2)
        return &sg_tree_kernels_avx2;
#endif
    return &sg_tree_kernels_portable;
}

static bool alloc_arrays(sg_cpu_tree *tree)
{
    size_t states = tree->base.config.states, vocabulary = tree->base.config.vocabulary;
    size_t arrays = sg_optimizer_arrays(tree->base.config.optimizer), cells = states * tree->tiles;
    bool fine = true, coupled = tree->base.config.optimizer == SG_COUPLED_ADAM;
    for (size_t k = 0; k < arrays; k++) {
        tree->part[k] = calloc((states + 1) * vocabulary, tree->real);
        fine = fine && tree->part[k] != NULL;
    }
    tree->mass = calloc(cells, sizeof *tree->mass);
    tree->peak = calloc(cells, sizeof *tree->peak);
    tree->offset = calloc(states, sizeof *tree->offset);
    tree->total = calloc(states, sizeof *tree->total);
    tree->log_norm = calloc(states, sizeof *tree->log_norm);
    tree->gradient = calloc(vocabulary, sizeof *tree->gradient);
    tree->drift = calloc(vocabulary, sizeof *tree->drift);
    tree->room = calloc(cells + tree->tiles, sg_tree_part_bytes());
    tree->norm2 = calloc(states + 1, sizeof *tree->norm2);
    tree->rate = calloc(states + 1, sizeof *tree->rate);
    if (coupled)
        tree->second = calloc(states + 1, sizeof *tree->second);
    return fine && tree->mass && tree->peak && tree->offset && tree->total && tree->log_norm &&
           tree->gradient && tree->drift && tree->room && tree->norm2 && tree->rate &&
           (tree->second || !coupled);
}

sg_status sg_cpu_tree_rows_alloc(sg_tree_rows **rows, const sg_tree_rows_config *config,
                                 sg_error *error)
{
    sg_cpu_tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a tree");
    tree->kernels = select_kernels();
    tree->base = (sg_tree_rows){&methods, *config, tree->kernels->name};
    tree->real = config->precision == SG_FP32 ? sizeof(float) : sizeof(double);
    tree->tiles = sg_tree_tiles(config->vocabulary);
    if (!alloc_arrays(tree)) {
        release(&tree->base);
        return sg_fail(error, SG_ENOMEM,
                       "a tree of %zu states of %zu tokens needs %.3g GiB, which this machine does "
                       "not give; shorten the responses, take fewer branches, or merge prefixes",
                       config->states, config->vocabulary,
                       ((double)config->states + 1) * sg_tree_row_bytes(config) / 0x1p30);
    }
    *rows = &tree->base;
    return SG_OK;
}
