/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory of a pass. */
#include <stdlib.h>

#include "backend/net_math.h"
#include "policy/head_device.h"
#include "policy/net_pass.h"

/* What is queued may use it. */
void sg_net_room_free(sg_net_room *room)
{
    if (room->bytes && room->stream) {
        (void)sg_cuda_stream_wait(room->stream, NULL);
        sg_cuda_free(room->bytes);
    } else {
        free(room->bytes);
    }
    room->bytes = NULL;
    room->size = 0;
}

sg_status sg_net_room_grow(sg_net_room *room, size_t bytes, sg_error *error)
{
    if (room->bytes && bytes <= room->size)
        return SG_OK;
    sg_net_room_free(room);
    if (room->stream) {
        sg_status status = sg_cuda_alloc(&room->bytes, bytes ? bytes : 1,
                                         "room for the activations of a net", error);
        if (status)
            return status;
    } else if (!(room->bytes = sg_matrix_alloc(bytes))) {
        return sg_fail(error, SG_ENOMEM,
                       "the net needs another %.3g GiB for its activations; take fewer positions "
                       "a step, or a smaller net",
                       (double)bytes * 0x1p-30);
    }
    room->size = bytes;
    return SG_OK;
}

void *sg_net_take(sg_net_arena *arena, size_t count, size_t size)
{
    void *at = arena->base ? arena->base + arena->used : NULL;
    arena->used += (count * size + 63) / 64 * 64;
    return at;
}

static void hand_out_blocks(sg_net_state *s, size_t real, sg_net_arena *a)
{
    size_t m = s->rows, d = s->width, assignments = sg_net_assignments(s);
    /* Sets and entropies of all blocks lie together: they are asked for at once. */
    uint64_t *set = sg_net_take(a, s->blocks * m, sizeof *set);
    double *entropy = sg_net_take(a, s->blocks * m, sizeof *entropy);
    for (size_t i = 0; i < s->blocks; i++) {
        sg_net_block_state *b = &s->block[i];
        b->set = set ? set + i * m : NULL;
        b->gate_entropy = entropy ? entropy + i * m : NULL;
        b->x = sg_net_take(a, m * d, real);
        b->inverse_rms = sg_net_take(a, m, real);
        b->n = sg_net_take(a, m * d, real);
        b->first = sg_net_take(a, s->experts + 1, sizeof *b->first);
        b->row = sg_net_take(a, assignments, sizeof *b->row);
        b->place = sg_net_take(a, assignments, sizeof *b->place);
        b->gate = sg_net_take(a, assignments, real);
        b->inner = sg_net_take(a, assignments * s->hidden, real);
        b->active = sg_net_take(a, assignments * s->hidden, real);
        b->outer = sg_net_take(a, assignments * d, real);
    }
}

static void hand_out(sg_net_state *s, bool frozen, sg_net_arena *a)
{
    size_t real = sg_real_size(s->precision), m = s->rows, d = s->width, f = s->hidden;
    size_t assignments = sg_net_assignments(s), wide = d > f ? d : f;
    s->h = sg_net_take(a, m * d, real);
    if (frozen)
        return;
    hand_out_blocks(s, real, a);
    s->x = sg_net_take(a, m * d, real);
    s->inverse_rms = sg_net_take(a, m, real);
    s->dh = sg_net_take(a, m * d, real);
    s->dx = sg_net_take(a, m * d, real);
    s->tiles = sg_net_take(a, (m / SG_NET_TILE + 1) * d, real);
    if (s->blocks == 0)
        return;
    s->dn = sg_net_take(a, m * d, real);
    s->dgate = sg_net_take(a, assignments, real);
    s->gathered = sg_net_take(a, assignments * d, real);
    s->douter = sg_net_take(a, assignments * d, real);
    s->dinner = sg_net_take(a, assignments * f, real);
    s->spread = sg_net_take(a, assignments * wide, real);
    if (s->stream)
        return;
    size_t across = sg_matrix_packed_bytes(s->precision, d, f);
    size_t along = sg_matrix_packed_bytes(s->precision, f, d);
    s->packed_weights = sg_net_take(a, across > along ? across : along, 1);
    s->packed_rows = sg_net_take(a, sg_matrix_packed_bytes(s->precision, m, wide), 1);
}

static sg_status send_rows(sg_net_pass *pass, sg_net_row_arrays *there, sg_error *error)
{
    const sg_net_state *s = &pass->state;
    sg_net_arena arena = {NULL, 0};
    size_t blocks = pass->here.routes ? s->blocks : 0;
    sg_net_place_rows(pass, s->slots, blocks, &arena);
    size_t bytes = arena.used;
    sg_status status = sg_net_room_grow(&pass->rows_there, bytes, error);
    if (status)
        return status;
    arena = (sg_net_arena){pass->rows_there.bytes, 0};
    *there = sg_net_place_rows(pass, s->slots, blocks, &arena);
    return sg_cuda_to_device(pass->rows_there.bytes, pass->rows_here.bytes, bytes, s->stream,
                             error);
}

/* Everything there is queued on the stream of the output layer. */
static sg_status open_device(sg_net_pass *pass, sg_error *error)
{
    sg_net_room *rooms[] = {&pass->arrays, &pass->rows_there, &pass->terms_there, &pass->parts};
    sg_status status = sg_head_device_open(pass->head, &pass->state.stream, error);
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms && !status; i++)
        rooms[i]->stream = pass->state.stream;
    return status;
}

sg_status sg_net_make_room(sg_net_pass *pass, const sg_net_config *c, sg_error *error)
{
    sg_net_state *s = &pass->state;
    bool mixture = c->experts > 1;
    *s = (sg_net_state){.precision = c->precision,
                        .rows = pass->rows,
                        .width = c->width,
                        .blocks = c->blocks,
                        .hidden = c->hidden,
                        .experts = mixture ? c->experts : 1,
                        .top_k = mixture ? c->top_k : 1,
                        .slots = sg_net_slots(c),
                        .prompt_length = c->prompt_length};
    sg_status status = SG_OK;
    bool device = pass->backend == SG_BACKEND_CUDA;
    if (device)
        status = open_device(pass, error);
    sg_net_arena arena = {NULL, 0};
    hand_out(s, c->frozen_features, &arena);
    if (!status)
        status = sg_net_room_grow(&pass->arrays, arena.used, error);
    if (status)
        return status;
    arena = (sg_net_arena){pass->arrays.bytes, 0};
    hand_out(s, c->frozen_features, &arena);
    sg_net_row_arrays rows = pass->here;
    if (device && !c->frozen_features)
        status = send_rows(pass, &rows, error);
    s->position = rows.position;
    s->context = rows.context;
    s->routes = rows.routes;
    return status;
}
