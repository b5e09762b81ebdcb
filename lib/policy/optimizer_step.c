/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One step of an optimiser: each tensor where it lies. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/flat.h"
#include "policy/net_matrix.h"
#include "policy/optimizer_parts.h"

/* Numbers that one thread handles at a time. */
enum { PIECE = 1 << 15 };

double sg_tensor_norm2(sg_precision precision, const sg_tensor *t, const void *values)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(precision);
    size_t real = sg_real_size(precision), n = t->rows * t->columns;
    const char *x = (const char *)values + t->offset * real;
    double total = 0;
    /* Sums of chunks are added in order; a group of them at a time, which the threads share. */
    enum { GROUP = 256 };
    for (size_t start = 0; start < n; start += (size_t)GROUP * SG_RULE_CHUNK) {
        size_t left = n - start, chunks = (left + SG_RULE_CHUNK - 1) / SG_RULE_CHUNK;
        double sums[GROUP];
        chunks = chunks < GROUP ? chunks : GROUP;
#pragma omp parallel for schedule(static) if (chunks > 32)
        for (size_t c = 0; c < chunks; c++) {
            size_t at = c * SG_RULE_CHUNK;
            sums[c] = kernels->norm2(left - at < SG_RULE_CHUNK ? left - at : SG_RULE_CHUNK,
                                     x + (start + at) * real);
        }
        for (size_t c = 0; c < chunks; c++)
            total += sums[c];
    }
    return total;
}

void sg_tensor_add(sg_precision precision, size_t size, double scale, const void *delta,
                   void *parameters)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(precision);
    size_t real = sg_real_size(precision);
#pragma omp parallel for schedule(static) if (size > 4 * PIECE)
    for (size_t start = 0; start < size; start += PIECE)
        kernels->add(size - start < PIECE ? size - start : PIECE, scale,
                     (const char *)delta + start * real, (char *)parameters + start * real);
}

static sg_status norm_of_trained(const sg_tensor_optimizer *o, const sg_flat *x, double *norm,
                                 sg_error *error)
{
    double total = 0, norm2 = 0;
    for (size_t i = 0; i < o->count; i++) {
        if (!o->tensors[i].trained)
            continue;
        sg_status status = sg_flat_norm2(x, &o->tensors[i], &norm2, error);
        if (status)
            return status;
        total += norm2;
    }
    *norm = sqrt(total);
    return SG_OK;
}

/* v of each column moves on with the mean of g^2 over the vocabulary; roots[] becomes
 * sqrt(vhat) + eps. */
static void couple(sg_tensor_optimizer *o, const sg_tensor *t, const sg_rule_numbers *p,
                   const sg_rule_kernels *kernels, const void *g, void *v)
{
    sg_column_sums(kernels, t->rows, t->columns, p->scale, true, g, o->real, o->tiles, o->sums);
    for (size_t k = 0; k < t->columns; k++) {
        bool narrow = o->precision == SG_FP32;
        double old = narrow ? (double)((float *)v)[k] : ((double *)v)[k];
        double now = sg_rule_couple(*p, old, o->sums[k], (double)t->rows);
        double root = sg_rule_coupled_root(*p, now);
        if (narrow) {
            ((float *)v)[k] = (float)now;
            ((float *)o->roots)[k] = (float)root;
        } else {
            ((double *)v)[k] = now;
            ((double *)o->roots)[k] = root;
        }
    }
}

static void step_here(sg_tensor_optimizer *o, size_t tensor, const sg_rule_numbers *p,
                      const void *parameters, void *gradient)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(o->precision);
    const sg_tensor *t = &o->tensors[tensor];
    size_t n = t->rows * t->columns, at = t->offset * o->real;
    const char *theta = (const char *)parameters + at;
    char *g = (char *)gradient + at, *m = (char *)o->first + at - o->resident * o->real;
    char *v = (char *)o->second + (o->second_offset[tensor] - o->second_resident) * o->real;
    bool share = sg_optimizer_couples(o, t);
    if (share)
        couple(o, t, p, kernels, g, v);
    size_t rows = PIECE / t->columns + 1, piece = share ? rows * t->columns : PIECE;
#pragma omp parallel for schedule(static) if (n > 4 * PIECE)
    for (size_t start = 0; start < n; start += piece) {
        size_t length = n - start < piece ? n - start : piece, byte = start * o->real;
        if (share)
            kernels->coupled(length / t->columns, t->columns, p, g + byte, m + byte, o->roots);
        else if (o->config.rule == SG_RULE_SGD)
            kernels->sgd(length, p, g + byte);
        else if (o->config.rule == SG_RULE_MOMENTUM)
            kernels->momentum(length, p, g + byte, m + byte);
        else
            kernels->adam(length, p, g + byte, m + byte, v + byte, theta + byte);
    }
}

static sg_status step_on_device(sg_tensor_optimizer *o, size_t tensor, const sg_rule_numbers *p,
                                const sg_flat *parameters, const sg_flat *gradient, sg_error *error)
{
    const sg_tensor *t = &o->tensors[tensor];
    sg_cuda_rule rule = sg_optimizer_couples(o, t)           ? SG_CUDA_RULE_COUPLED
                        : o->config.rule == SG_RULE_SGD      ? SG_CUDA_RULE_SGD
                        : o->config.rule == SG_RULE_MOMENTUM ? SG_CUDA_RULE_MOMENTUM
                                                             : SG_CUDA_RULE_ADAM;
    sg_cuda_step step = {rule,
                         *p,
                         t->offset,
                         t->rows,
                         t->columns,
                         o->second_offset[tensor],
                         o->device_first,
                         o->device_second,
                         parameters->device};
    return sg_cuda_flat_step(gradient->device, &step, error);
}

static sg_status step_tensor(sg_tensor_optimizer *o, size_t tensor, const sg_rule_numbers *p,
                             const sg_flat *parameters, const sg_flat *gradient, sg_error *error)
{
    const sg_tensor *t = &o->tensors[tensor];
    size_t n = t->rows * t->columns;
    if (sg_flat_on_device(gradient, t))
        return t->trained ? step_on_device(o, tensor, p, parameters, gradient, error)
                          : sg_cuda_flat_zero(gradient->device, t->offset, n, error);
    if (t->trained)
        step_here(o, tensor, p, parameters->host, gradient->host);
    else
        memset((char *)gradient->host + t->offset * o->real, 0, n * o->real);
    return SG_OK;
}

sg_status sg_tensor_optimizer_step(sg_tensor_optimizer *o, const sg_flat *parameters,
                                   const sg_flat *gradient, sg_step_report *report, sg_error *error)
{
    const sg_rule_config *c = &o->config;
    *report = (sg_step_report){.clip_factor = 1};
    o->time++;
    double t = (double)o->time;
    report->lr = c->lr * sg_schedule_factor(&c->schedule, o->time);
    sg_status status = norm_of_trained(o, gradient, &report->grad_norm, error);
    if (c->clip_norm > 0 && report->grad_norm > c->clip_norm)
        report->clip_factor = c->clip_norm / report->grad_norm;
    sg_rule_numbers p = {.scale = report->clip_factor,
                         .step = report->lr,
                         .beta1 = c->beta1,
                         .beta2 = c->beta2,
                         .eps = c->eps,
                         .decay = c->rule == SG_RULE_ADAMW ? report->lr * c->weight_decay : 0};
    if (c->rule >= SG_RULE_ADAM) {
        p.step = report->lr / (1 - pow(c->beta1, t));
        p.correction2 = 1 / (1 - pow(c->beta2, t));
    }
    for (size_t i = 0; i < o->count && !status; i++)
        status = step_tensor(o, i, &p, parameters, gradient, error);
    return status ? status : norm_of_trained(o, gradient, &report->delta_norm, error);
}

sg_step_report sg_tensor_optimizer_delta(sg_tensor_optimizer *o, const void *parameters,
                                         void *gradient)
{
    sg_flat theta = {o->precision, o->size, (void *)(uintptr_t)parameters, NULL, 0};
    sg_flat g = {o->precision, o->size, gradient, NULL, 0};
    sg_step_report report;
    sg_tensor_optimizer_step(o, &theta, &g, &report, NULL); /* only a device can fail */
    return report;
}
