/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/isa.h"
#include "policy/net_matrix.h"
#include "policy/optimizer_parts.h"

extern const sg_rule_kernels sg_rule_kernels_portable[2];
#ifdef __x86_64__
extern const sg_rule_kernels sg_rule_kernels_avx2[2];
extern const sg_rule_kernels sg_rule_kernels_avx512[2];
#endif

const sg_rule_kernels *sg_rule_kernels_select(sg_precision precision)
{
    const sg_rule_kernels *table = sg_rule_kernels_portable;
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX2)
        table = sg_rule_kernels_avx2;
    if (isa == SG_ISA_AVX512)
        table = sg_rule_kernels_avx512;
#endif
    return &table[precision];
}

double sg_schedule_factor(const sg_schedule *s, uint64_t step)
{
    double t = (double)step, warmup = (double)s->warmup, total = (double)s->total;
    double rise = step < s->warmup ? t / warmup : 1;
    if (s->kind == SG_SCHEDULE_CONSTANT || step <= s->warmup)
        return rise;
    double done = step >= s->total ? 1 : (t - warmup) / (total - warmup);
    double left =
        s->kind == SG_SCHEDULE_LINEAR ? 1 - done : (1 + cos(3.14159265358979324 * done)) / 2;
    return s->floor + (1 - s->floor) * left;
}

sg_status sg_rule_check(const sg_rule_config *c, sg_error *error)
{
    bool moments = c->rule >= SG_RULE_ADAM;
    if (!(c->lr > 0 && c->lr < INFINITY))
        return sg_fail(error, SG_EARGUMENT, "the learning rate is %g; it must be above 0", c->lr);
    if (c->rule != SG_RULE_SGD && !(c->beta1 >= 0 && c->beta1 < 1))
        return sg_fail(error, SG_EARGUMENT, "beta1 is %g; it must be in [0, 1)", c->beta1);
    if (moments && !(c->beta2 >= 0 && c->beta2 < 1))
        return sg_fail(error, SG_EARGUMENT, "beta2 is %g; it must be in [0, 1)", c->beta2);
    if (moments && !(c->eps >= 0 && c->eps < INFINITY))
        return sg_fail(error, SG_EARGUMENT, "eps is %g; it must be 0 or above", c->eps);
    if (c->rule == SG_RULE_ADAMW && !(c->weight_decay >= 0 && c->weight_decay < INFINITY))
        return sg_fail(error, SG_EARGUMENT, "weight_decay is %g; it must be 0 or above",
                       c->weight_decay);
    if (!(c->clip_norm >= 0))
        return sg_fail(error, SG_EARGUMENT, "clip_norm is %g; it must be 0 (off) or above",
                       c->clip_norm);
    if (c->schedule.kind != SG_SCHEDULE_CONSTANT &&
        (c->schedule.total <= c->schedule.warmup ||
         !(c->schedule.floor >= 0 && c->schedule.floor <= 1)))
        return sg_fail(error, SG_EARGUMENT,
                       "a falling learning rate needs more steps in total (%llu) than of warm-up "
                       "(%llu) and a floor in [0, 1] (%g)",
                       (unsigned long long)c->schedule.total,
                       (unsigned long long)c->schedule.warmup, c->schedule.floor);
    return SG_OK;
}

static void *zeros(size_t count, size_t size)
{
    void *at = sg_matrix_alloc(count * size);
    if (at)
        memset(at, 0, count * size);
    return at;
}

/* Where the tensors' second moments lie; room for sums of columns here. */
static void lay_out(sg_tensor_optimizer *o, size_t *columns, size_t *tiles)
{
    *columns = 1;
    *tiles = 0;
    for (size_t i = 0; i < o->count && o->config.rule >= SG_RULE_ADAM; i++) {
        const sg_tensor *t = &o->tensors[i];
        bool coupled = sg_optimizer_couples(o, t);
        size_t room = coupled ? sg_column_tiles(t->rows) * t->columns : 0;
        o->second_offset[i] = o->second_size;
        o->second_size += ((coupled ? 1 : t->rows) * t->columns + 15) / 16 * 16;
        if (o->device)
            continue;
        *columns = t->columns > *columns ? t->columns : *columns;
        *tiles = room > *tiles ? room : *tiles;
    }
}

static sg_status out_of_memory(double bytes, sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "the optimizer's state needs %.3g GiB of memory",
                   bytes * 0x1p-30);
}

static void list_slices(sg_tensor_optimizer *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const sg_tensor *t = &o->tensors[i];
        if (t->trained)
            o->slices[o->slice_count++] = (sg_cuda_slice){
                t->offset, t->rows, t->columns, o->second_offset[i], sg_optimizer_couples(o, t)};
    }
}

/* The arrays, when everything else is known. */
static sg_status make_arrays(sg_tensor_optimizer *o, sg_error *error)
{
    size_t columns, tiles, first = sg_optimizer_first_size(o);
    lay_out(o, &columns, &tiles);
    if (o->device) {
        list_slices(o);
        sg_status status = SG_OK;
        if (first > 0)
            status = sg_cuda_flat_alloc(&o->device_first, o->precision, first,
                                        "the optimizer's first moment", error);
        if (!status && o->second_size > 0)
            status = sg_cuda_flat_alloc(&o->device_second, o->precision, o->second_size,
                                        "the optimizer's second moment", error);
        return status;
    }
    o->first = zeros(first, o->real);
    o->second = zeros(o->second_size, o->real);
    o->tiles = zeros(tiles, sizeof(double));
    o->sums = zeros(columns, sizeof(double));
    o->roots = zeros(columns, sizeof(double));
    return o->first && o->second && o->tiles && o->sums && o->roots
               ? SG_OK
               : out_of_memory((double)(first + o->second_size) * (double)o->real, error);
}

sg_status sg_tensor_optimizer_alloc_on(sg_tensor_optimizer **out, const sg_rule_config *config,
                                       sg_precision precision, const sg_tensor *tensors,
                                       size_t count, size_t size, sg_backend_kind backend,
                                       sg_error *error)
{
    *out = NULL;
    sg_status status = sg_rule_check(config, error);
    if (status)
        return status;
    sg_tensor_optimizer *o = calloc(1, sizeof *o);
    if (!o)
        return out_of_memory(sizeof *o, error);
    *o = (sg_tensor_optimizer){.config = *config,
                               .precision = precision,
                               .real = sg_real_size(precision),
                               .count = count,
                               .size = size,
                               .device = backend == SG_BACKEND_CUDA,
                               .tensors = calloc(count, sizeof *tensors),
                               .second_offset = calloc(count, sizeof(size_t)),
                               .slices = calloc(count, sizeof(sg_cuda_slice))};
    if (o->tensors && o->second_offset && o->slices) {
        memcpy(o->tensors, tensors, count * sizeof *tensors);
        status = make_arrays(o, error);
    } else {
        status = out_of_memory((double)(count * sizeof *tensors), error);
    }
    if (status)
        sg_tensor_optimizer_free(o);
    else
        *out = o;
    return status;
}

sg_status sg_tensor_optimizer_alloc(sg_tensor_optimizer **out, const sg_rule_config *config,
                                    sg_precision precision, const sg_tensor *tensors, size_t count,
                                    size_t size, sg_error *error)
{
    return sg_tensor_optimizer_alloc_on(out, config, precision, tensors, count, size,
                                        SG_BACKEND_CPU, error);
}

void sg_tensor_optimizer_free(sg_tensor_optimizer *o)
{
    if (!o)
        return;
    void *arrays[] = {o->first, o->second,  o->tiles,         o->sums,
                      o->roots, o->tensors, o->second_offset, o->slices};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    sg_cuda_flat_free(o->device_first);
    sg_cuda_flat_free(o->device_second);
    free(o);
}

void sg_tensor_optimizer_set(sg_tensor_optimizer *o, double lr, double clip_norm, uint64_t time)
{
    o->config.lr = lr;
    o->config.clip_norm = clip_norm;
    o->time = time - 1;
}

uint64_t sg_tensor_optimizer_time(const sg_tensor_optimizer *o)
{
    return o->time;
}
