/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Walks through a tree's rows on the CPU, position by position: responses that look into the same tile of the
 * same state stand together, so that its weights are made once. */
#include <stdlib.h>

#include "backend/cpu/threads.h"
#include "backend/cpu/tree_rows.h"

enum { AT_ONCE = 16 }; /* draws of a task */

/* A response on its way, and the tile whose weights decide on its next token: state * tiles + tile. */
typedef struct traveller {
    size_t place, response;
} traveller;

static int by_place(const void *a, const void *b)
{
    const traveller *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return x->response < y->response ? -1 : x->response > y->response;
}

typedef struct journey {
    const sg_cpu_tree *tree;
    const sg_tree_walk *walk;
    size_t t, count;        /* the position, and how many are on their way */
    traveller *travellers;  /* [count] */
    size_t *state;          /* [responses] */
    sg_tree_search *search; /* [responses]: where in its tile */
} journey;

static void find_tile(void *context, size_t k)
{
    const journey *j = context;
    size_t i = j->travellers[k].response, state = j->state[i], tiles = j->tree->tiles;
    sg_address at = j->walk->at;
    at.prompt = j->walk->prompt[i];
    at.sample = j->walk->sample[i];
    at.token = (uint32_t)j->t;
    sg_tree_search search = {.target = sg_rng_uniform(at) * j->tree->total[state]};
    for (size_t t = 0; t < tiles && !search.passed; t++)
        sg_tree_search_add(&search, t, j->tree->mass[state * tiles + t]);
    j->travellers[k].place = state * tiles + search.found;
    sg_tree_search_enter(&search);
    j->search[i] = search;
}

typedef struct tile_weights {
    sg_cpu_piece piece;
    double z[SG_TREE_TILE], weight[SG_TREE_TILE], sums[SG_TREE_LANES]; /* of pieces */
} tile_weights;

static void weigh_place(const sg_cpu_tree *tree, size_t place, tile_weights *w)
{
    w->piece = sg_cpu_tree_tile(tree, place / tree->tiles, place % tree->tiles);
    sg_cpu_tree_logits(tree, w->piece, w->z);
    tree->kernels->weights(w->piece.n, w->z, tree->offset[w->piece.row], w->weight, w->sums);
}

/* The token of the tile that the search finds. */
static size_t find_token(const tile_weights *w, sg_tree_search search)
{
    for (size_t k = 0; k * SG_TREE_PIECE < w->piece.n && !search.passed; k++)
        sg_tree_search_add(&search, k, w->sums[k]);
    size_t first = search.found * SG_TREE_PIECE;
    sg_tree_search_enter(&search);
    for (size_t k = 0; k < SG_TREE_PIECE && first + k < w->piece.n && !search.passed; k++)
        sg_tree_search_add(&search, k, w->weight[first + k]);
    return first + search.found;
}

/* Response i says a token and moves on. */
static void say(const journey *j, size_t i, int32_t token, double log_prob)
{
    const sg_tree_paths *paths = j->walk->paths;
    size_t local = j->state[i] % paths->per_prompt, at = i * j->walk->room + j->t;
    j->walk->tokens[at] = token;
    j->walk->log_prob[at] = log_prob;
    j->walk->length[i] = (uint32_t)j->t + 1;
    if (sg_tree_ends(paths, token))
        j->state[i] = SIZE_MAX;
    else if (j->t + 1 < paths->length)
        j->state[i] += sg_tree_next(paths, local, j->t, token) - local;
}

static void find_tokens(void *context, size_t task)
{
    const journey *j = context;
    size_t end = (task + 1) * AT_ONCE < j->count ? (task + 1) * AT_ONCE : j->count;
    size_t known = SIZE_MAX;
    tile_weights w;
    for (size_t k = task * AT_ONCE; k < end; k++) {
        size_t i = j->travellers[k].response, place = j->travellers[k].place;
        if (place != known)
            weigh_place(j->tree, place, &w);
        known = place;
        size_t token = find_token(&w, j->search[i]);
        say(j, i, (int32_t)(w.piece.at + token), w.z[token] - j->tree->log_norm[w.piece.row]);
    }
}

/* Only those that have not ended go on. */
static void leave_ended(journey *j)
{
    size_t left = 0;
    for (size_t k = 0; k < j->count; k++)
        if (j->state[j->travellers[k].response] != SIZE_MAX)
            j->travellers[left++] = j->travellers[k];
    j->count = left;
}

sg_status sg_cpu_tree_walk(const sg_tree_rows *rows, const sg_tree_walk *walk, sg_error *error)
{
    size_t n = walk->count + 1;
    journey j = {.tree = sg_cpu_tree_of(rows),
                 .walk = walk,
                 .count = walk->count,
                 .travellers = malloc(n * sizeof *j.travellers),
                 .state = malloc(n * sizeof *j.state),
                 .search = malloc(n * sizeof *j.search)};
    bool fine = j.travellers && j.state && j.search;
    for (size_t i = 0; i < walk->count && fine; i++) {
        j.travellers[i].response = i;
        j.state[i] = walk->prompt[i] * walk->paths->per_prompt;
    }
    for (; j.t < walk->paths->length && j.count > 0 && fine; j.t++) {
        sg_for_each(j.count, j.tree->tiles, find_tile, &j);
        qsort(j.travellers, j.count, sizeof *j.travellers, by_place);
        sg_for_each((j.count + AT_ONCE - 1) / AT_ONCE, AT_ONCE * SG_TREE_TILE, find_tokens, &j);
        leave_ended(&j);
    }
    free(j.travellers);
    free(j.state);
    free(j.search);
    return fine ? SG_OK
                : sg_fail(error, SG_ENOMEM, "not enough memory to draw %zu responses", walk->count);
}
