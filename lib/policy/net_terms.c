/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which rows add to which row of embeddings, mixes and positions: lists in a fixed order. */
#include <string.h>

#include "backend/net_math.h"
#include "policy/net_pass.h"

enum { DIGIT = 11 }; /* bits that one round of sorting looks at */

typedef struct term {
    size_t to, factor;
    uint32_t row;
} term;

static size_t offset_of(const sg_net *net, const char *name)
{
    const sg_tensor *t = sg_net_tensor(net, name);
    return t ? t->offset : 0;
}

/* In the order of rows, then slots. Returns how many. */
static size_t list(const sg_net_pass *pass, const sg_net *net, term *terms)
{
    size_t d = net->config.width, slots = sg_net_slots(&net->config), count = 0;
    size_t positions = offset_of(net, "positions"), mix = offset_of(net, "mix");
    size_t prompts = offset_of(net, "prompts");
    size_t tokens = offset_of(net, net->config.tied ? "weights" : "tokens");
    for (size_t r = 0; r < pass->rows; r++) {
        size_t t = (size_t)pass->here.position[r];
        terms[count++] = (term){positions + t * d, SIZE_MAX, (uint32_t)r};
        for (size_t s = 0; s < slots; s++) {
            int32_t symbol = pass->here.context[r * slots + s];
            if (symbol < 0)
                continue;
            size_t how = mix + (t * slots + s) * d;
            size_t what = (s < net->config.prompt_length ? prompts : tokens) + (size_t)symbol * d;
            terms[count++] = (term){how, what, (uint32_t)r};
            terms[count++] = (term){what, how, (uint32_t)r};
        }
    }
    return count;
}

/* By `to`, equal ones as they came; digit by digit from the lowest. Returns where they are: in `terms` or in `spare`. */
static term *sort(size_t count, size_t end, term *terms, term *spare)
{
    for (unsigned shift = 0; end >> shift > 0; shift += DIGIT) {
        uint32_t next[(1 << DIGIT) + 1] = {0};
        for (size_t i = 0; i < count; i++)
            next[(terms[i].to >> shift & ((1 << DIGIT) - 1)) + 1]++;
        for (size_t k = 0; k < 1 << DIGIT; k++)
            next[k + 1] += next[k];
        for (size_t i = 0; i < count; i++)
            spare[next[terms[i].to >> shift & ((1 << DIGIT) - 1)]++] = terms[i];
        term *sorted = spare;
        spare = terms;
        terms = sorted;
    }
    return terms;
}

/* Pieces, and sums of several pieces; counted alone where `out` has no arrays. */
static void cut(size_t count, const term *terms, sg_net_terms *out)
{
    bool filling = out->row != NULL;
    out->count = count;
    out->pieces = out->sums = out->parts = 0;
    for (size_t start = 0, stop; start < count; start = stop) {
        for (stop = start + 1; stop < count && terms[stop].to == terms[start].to;)
            stop++;
        bool alone = stop - start <= SG_NET_TILE;
        if (!alone && filling) {
            out->sum_part[out->sums] = (uint32_t)out->parts;
            out->sum_to[out->sums] = terms[start].to;
        }
        for (size_t at = start; at < stop; at += SG_NET_TILE, out->pieces++) {
            if (filling) {
                out->first[out->pieces] = (uint32_t)at;
                out->to[out->pieces] = terms[start].to;
                out->part[out->pieces] = alone ? SG_NET_ALONE : (int32_t)out->parts;
            }
            out->parts += !alone;
        }
        out->sums += !alone;
    }
    if (!filling)
        return;
    out->first[out->pieces] = (uint32_t)count;
    out->sum_part[out->sums] = (uint32_t)out->parts;
    for (size_t i = 0; i < count; i++) {
        out->row[i] = terms[i].row;
        out->factor[i] = terms[i].factor;
    }
}

sg_net_terms sg_net_place_terms(const sg_net_terms *counts, sg_net_arena *arena)
{
    sg_net_terms t = *counts;
    t.row = sg_net_take(arena, t.count, sizeof *t.row);
    t.factor = sg_net_take(arena, t.count, sizeof *t.factor);
    t.first = sg_net_take(arena, t.pieces + 1, sizeof *t.first);
    t.to = sg_net_take(arena, t.pieces, sizeof *t.to);
    t.part = sg_net_take(arena, t.pieces, sizeof *t.part);
    t.sum_part = sg_net_take(arena, t.sums + 1, sizeof *t.sum_part);
    t.sum_to = sg_net_take(arena, t.sums, sizeof *t.sum_to);
    return t;
}

sg_status sg_net_make_terms(sg_net_pass *pass, const sg_net *net, sg_net_terms *terms,
                            sg_error *error)
{
    size_t most = pass->rows * (1 + 2 * sg_net_slots(&net->config));
    sg_net_arena arena = {NULL, 0};
    sg_status status = sg_net_room_grow(&pass->sorting, 2 * most * sizeof(term), error);
    if (status)
        return status;
    term *room = pass->sorting.bytes;
    size_t count = list(pass, net, room);
    const term *sorted = sort(count, net->size, room, room + most);
    *terms = (sg_net_terms){0};
    cut(count, sorted, terms);
    sg_net_place_terms(terms, &arena);
    status = sg_net_room_grow(&pass->terms_here, arena.used, error);
    if (status)
        return status;
    arena = (sg_net_arena){pass->terms_here.bytes, 0};
    *terms = sg_net_place_terms(terms, &arena);
    cut(count, sorted, terms);
    return SG_OK;
}
