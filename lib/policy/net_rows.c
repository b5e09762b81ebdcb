/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of a batch: positions with equal contexts, found by a hash table. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "policy/net_pass.h"

/* Frozen features have random numbers of their own: this stands where the others have a tensor. */
enum { FEATURES = 255 };

static uint64_t mix64(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 32;
}

typedef struct contexts {
    const sg_net_batch *batch;
    size_t slots, blocks;
} contexts;

static uint64_t key_of(const contexts *c, size_t i)
{
    uint64_t hash = mix64(1, (uint64_t)c->batch->positions[i]);
    for (size_t s = 0; s < c->slots; s++)
        hash = mix64(hash, (uint32_t)c->batch->contexts[i * c->slots + s]);
    for (size_t b = 0; c->batch->routes && b < c->blocks; b++)
        hash = mix64(hash, c->batch->routes[i * c->blocks + b]);
    return hash;
}

static bool same(const contexts *c, size_t i, size_t j)
{
    const sg_net_batch *batch = c->batch;
    if (batch->positions[i] != batch->positions[j])
        return false;
    for (size_t s = 0; s < c->slots; s++)
        if (batch->contexts[i * c->slots + s] != batch->contexts[j * c->slots + s])
            return false;
    for (size_t b = 0; batch->routes && b < c->blocks; b++)
        if (batch->routes[i * c->blocks + b] != batch->routes[j * c->blocks + b])
            return false;
    return true;
}

/* row_of, and a position of each row. */
static void find_rows(sg_net_pass *pass, const contexts *c, uint32_t *example, uint32_t *table,
                      size_t places)
{
    memset(table, 0, places * sizeof *table); /* row + 1, 0: free */
    pass->rows = 0;
    for (size_t i = 0; i < c->batch->count; i++) {
        size_t at = key_of(c, i) & (places - 1);
        while (table[at] && !same(c, i, example[table[at] - 1]))
            at = (at + 1) & (places - 1);
        if (!table[at]) {
            example[pass->rows] = (uint32_t)i;
            table[at] = (uint32_t)++pass->rows;
        }
        pass->row_of[i] = table[at] - 1;
    }
}

sg_net_row_arrays sg_net_place_rows(const sg_net_pass *pass, size_t slots, size_t blocks,
                                    sg_net_arena *arena)
{
    sg_net_row_arrays rows = {.position = sg_net_take(arena, pass->rows, sizeof *rows.position),
                              .context =
                                  sg_net_take(arena, pass->rows * slots, sizeof *rows.context)};
    if (blocks)
        rows.routes = sg_net_take(arena, pass->rows * blocks, sizeof *rows.routes);
    return rows;
}

/* What the kernels need to know about the rows, in one piece, which may travel. */
static sg_status describe_rows(sg_net_pass *pass, const contexts *c, const uint32_t *example,
                               sg_error *error)
{
    const sg_net_batch *batch = c->batch;
    size_t blocks = batch->routes ? c->blocks : 0;
    sg_net_arena count = {NULL, 0}, arena = {NULL, 0};
    sg_net_place_rows(pass, c->slots, blocks, &count);
    sg_status status = sg_net_room_grow(&pass->rows_here, count.used, error);
    if (status)
        return status;
    arena.base = pass->rows_here.bytes;
    sg_net_row_arrays rows = sg_net_place_rows(pass, c->slots, blocks, &arena);
    for (size_t r = 0; r < pass->rows; r++) {
        size_t i = example[r];
        rows.position[r] = batch->positions[i];
        memcpy(rows.context + r * c->slots, batch->contexts + i * c->slots,
               c->slots * sizeof *rows.context);
        for (size_t b = 0; b < blocks; b++)
            rows.routes[r * blocks + b] = batch->routes[i * blocks + b];
    }
    pass->here = rows;
    return SG_OK;
}

sg_status sg_net_group(sg_net_pass *pass, const sg_net_config *config, sg_error *error)
{
    const sg_net_batch *batch = &pass->batch;
    contexts c = {batch, sg_net_slots(config), config->blocks};
    size_t n = batch->count, places = 16;
    while (places < 2 * n)
        places *= 2;
    sg_status status =
        sg_net_room_grow(&pass->grouping, (2 * n + places) * sizeof(uint32_t), error);
    if (status)
        return status;
    pass->row_of = pass->grouping.bytes;
    find_rows(pass, &c, pass->row_of + n, pass->row_of + 2 * n, places);
    return describe_rows(pass, &c, pass->row_of + n, error);
}

/* A random direction for each context, of length sqrt(width). */
void sg_net_frozen(const sg_net_pass *pass, const sg_net *net, void *h)
{
    size_t d = net->config.width, slots = sg_net_slots(&net->config);
    for (size_t r = 0; r < pass->rows; r++) {
        uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)pass->here.position[r];
        for (size_t s = 0; s <= slots; s++) {
            hash = (hash ^ hash >> 29) * UINT64_C(0xff51afd7ed558ccd);
            if (s < slots)
                hash ^= (uint32_t)pass->here.context[r * slots + s];
        }
        sg_address at = {net->feature_seed, SG_STREAM_INIT, (uint32_t)(hash >> 32),
                         FEATURES,          (uint32_t)hash, 0};
        double square = 0, scale = 0, pair[2];
        /* Twice: the first time for the length. */
        for (int filling = 0; filling < 2; filling++) {
            for (size_t k = 0; k < d; k++) {
                at.token = (uint32_t)(k / 2);
                if (k % 2 == 0)
                    sg_rng_normal_pair(at, pair);
                double x = pair[k % 2];
                if (!filling)
                    square += x * x;
                else if (net->config.precision == SG_FP32)
                    ((float *)h)[r * d + k] = (float)(scale * x);
                else
                    ((double *)h)[r * d + k] = scale * x;
            }
            scale = sqrt((double)d / square);
        }
    }
}
