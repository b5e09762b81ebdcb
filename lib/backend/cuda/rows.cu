/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows on the device: their memory, copies of it, and their end. */
#include "backend/cuda/rows_host.h"

#include <stdio.h>
#include <stdlib.h>

namespace
{

const sg_cuda_desk_words words = {"making rows of logits", "the samples of an update",
                                  "copying samples to the device",
                                  "copying results from the device", "computing on rows of logits"};

sg_status status_of(const sg_rows *base, sg_error *error)
{
    return sg_cuda_rows_call(base).say(error);
}

/* The first `bytes` of the block, behind what both streams do, and before what they do next. */
void copy_block(sg_rows *base, const sg_rows *source, size_t bytes)
{
    const char *doing = "copying rows of logits";
    sg_error why;
    sg_status source_status = status_of(source, &why);
    sg_cuda_rows_call call(base);
    sg_cuda_rows *from = of(source);
    call.share(source_status, why);
    call.order(from->desk.stream, call.stream(), doing);
    call.copy(call.rows->block, from->block, bytes, doing);
    call.order(call.stream(), from->desk.stream, doing);
}

void copy(sg_rows *base, const sg_rows *source)
{
    copy_block(base, source, of(base)->block_bytes);
}

void adopt(sg_rows *base, const sg_rows *source)
{
    copy_block(base, source, of(base)->state_bytes);
}

void forget(sg_rows *base)
{
    sg_cuda_rows_call call(base);
    sg_cuda_rows *rows = call.rows;
    call.zero(rows->block + rows->state_bytes, rows->block_bytes - rows->state_bytes);
}

size_t save(const sg_rows *base, void *to)
{
    size_t bytes = of(base)->block_bytes;
    if (!to)
        return bytes;
    sg_cuda_rows_call call(base);
    call.down(to, call.rows->block, bytes);
    return call.fine() ? bytes : 0;
}

void load(sg_rows *base, const void *from)
{
    sg_cuda_rows_call call(base);
    call.up(call.rows->block, from, call.rows->block_bytes);
}

void release(sg_rows *base)
{
    sg_cuda_rows *rows = of(base);
    rows->desk.end();
    sg_cuda_free(rows->block);
    sg_cuda_free(rows->work);
    free(rows);
}

const sg_rows_methods methods = {
    release,
    status_of,
    sg_cuda_rows_set_logits,
    sg_cuda_rows_get_logits,
    sg_cuda_rows_get_mean_square,
    copy,
    adopt,
    forget,
    save,
    load,
    sg_cuda_rows_draw,
    sg_cuda_rows_log_prob,
    sg_cuda_rows_update,
    sg_cuda_rows_inner_updates,
    sg_cuda_rows_observe,
    sg_cuda_rows_collision,
    sg_cuda_rows_masses,
};

/* ---- Memory ---- */

/* Sizes of the parts of the block, in bytes; false when they overflow. */
struct layout {
    size_t padded, tiles, reals, masses, norms, moments;
    bool init(const sg_rows_config *config)
    {
        size_t real = config->precision == SG_FP32 ? sizeof(float) : sizeof(double);
        padded = (config->vocabulary + SG_LANES - 1) / SG_LANES * SG_LANES;
        tiles = (padded + SG_TILE - 1) / SG_TILE;
        size_t most = padded * real * 3 + tiles * (sizeof(double) * 2 + sizeof(sg_row_look)) + 64;
        if (config->states > ((size_t)-1 / 2 - 8 * 4096) / most)
            return false;
        reals = sg_cuda_aligned(config->states * padded * real);
        masses = sg_cuda_aligned(config->states * tiles * sizeof(double));
        norms = sg_cuda_aligned(config->states * sizeof(sg_cuda_norm));
        moments = sg_cuda_aligned(config->states * sizeof(sg_cuda_moment));
        return true;
    }
};

sg_status take_memory(sg_cuda_rows *rows, const layout &plan, sg_error *error)
{
    char what[96];
    sg_cuda_facts facts;
    size_t arrays = sg_optimizer_arrays(rows->base.config.optimizer);
    rows->state_bytes = plan.reals + plan.masses + plan.norms;
    rows->block_bytes = rows->state_bytes + (arrays - 1) * plan.reals + plan.moments;
    size_t parts = sg_cuda_aligned(rows->base.config.states * plan.tiles * sizeof(sg_row_look));
    snprintf(what, sizeof what, "a table of %zu states of %zu tokens", rows->base.config.states,
             rows->base.config.vocabulary);
    sg_status status = sg_cuda_describe(&facts, error);
    if (status == SG_OK)
        status = rows->desk.start(error);
    if (status == SG_OK)
        status = sg_cuda_alloc((void **)&rows->block, rows->block_bytes, what, error);
    if (status == SG_OK)
        status = sg_cuda_alloc((void **)&rows->work, plan.masses + parts, what, error);
    if (status != SG_OK)
        return status;
    snprintf(rows->name, sizeof rows->name, "cuda/sm_%d%d", facts.major, facts.minor);
    rows->base.name = rows->name;
    char *at = rows->block + rows->state_bytes;
    rows->table = sg_cuda_table();
    rows->table.config = rows->base.config;
    rows->table.padded = plan.padded;
    rows->table.tiles = plan.tiles;
    rows->table.q = rows->block;
    rows->table.mass = (double *)(rows->block + plan.reals);
    rows->table.norm = (sg_cuda_norm *)(rows->block + plan.reals + plan.masses);
    rows->table.m = arrays > 1 ? at : nullptr;
    rows->table.v = arrays > 2 ? at + plan.reals : nullptr;
    rows->table.moment = (sg_cuda_moment *)(at + (arrays - 1) * plan.reals);
    rows->table.values = (double *)rows->work;
    rows->table.parts = rows->work + plan.masses;
    return SG_OK;
}

} // namespace

extern "C" sg_status sg_cuda_rows_alloc(sg_rows **rows, const sg_rows_config *config,
                                        sg_error *error)
{
    layout plan;
    if (!plan.init(config))
        return sg_fail(error, SG_ENOMEM,
                       "%zu states of %zu tokens need more memory than an address can name",
                       config->states, config->vocabulary);
    sg_cuda_rows *made = (sg_cuda_rows *)calloc(1, sizeof *made);
    if (!made)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table of logits");
    made->base.methods = &methods;
    made->base.config = *config;
    made->resident_samples = -1;
    made->desk.init(&words);
    sg_status status = take_memory(made, plan, error);
    if (status == SG_OK) /* what lies between the parts is saved too */
        status = sg_cuda_zero(made->block, made->block_bytes, made->desk.stream, error);
    if (status == SG_OK)
        status = sg_cuda_check(sg_cuda_rows_queue_fill(made->table, made->desk.stream),
                               "making rows of logits", error);
    if (status != SG_OK) {
        release(&made->base);
        return status;
    }
    *rows = &made->base;
    return SG_OK;
}

extern "C" sg_cuda_stream *sg_cuda_rows_stream(const sg_rows *rows)
{
    return of(rows)->desk.stream;
}
