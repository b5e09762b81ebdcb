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
    /* The threads share the chunks of a group. */
    for (size_t start = 0; start < n; start += (size_t)SG_RULE_GROUP * SG_RULE_CHUNK) {
        size_t left = n - start, chunks = (left + SG_RULE_CHUNK - 1) / SG_RULE_CHUNK;
        double sums[SG_RULE_GROUP], sum = 0;
        chunks = chunks < SG_RULE_GROUP ? chunks : SG_RULE_GROUP;
#pragma omp parallel for schedule(static) if (chunks > 32)
        for (size_t c = 0; c < chunks; c++) {
            size_t at = c * SG_RULE_CHUNK;
            sums[c] = kernels->norm2(left - at < SG_RULE_CHUNK ? left - at : SG_RULE_CHUNK,
                                     x + (start + at) * real);
        }
        for (size_t c = 0; c < chunks; c++)
            sum += sums[c];
        total += sum;
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

static void step_tensor(sg_tensor_optimizer *o, size_t tensor, const sg_rule_numbers *p,
                        const void *parameters, void *gradient)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(o->precision);
    const sg_tensor *t = &o->tensors[tensor];
    size_t n = t->rows * t->columns, at = t->offset * o->real;
    const char *theta = (const char *)parameters + at;
    char *g = (char *)gradient + at, *m = (char *)o->first + at;
    char *v = (char *)o->second + o->second_offset[tensor] * o->real;
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

/* ---- a step of all tensors */

typedef struct stepping {
    sg_tensor_optimizer *o;
    const sg_flat *parameters, *gradient;
    bool move; /* parameters += delta */
} stepping;

static double trained_norm2(const stepping *s)
{
    const sg_tensor_optimizer *o = s->o;
    double sum = 0;
    for (size_t i = 0; i < o->count; i++)
        if (o->tensors[i].trained)
            sum += sg_tensor_norm2(o->precision, &o->tensors[i], s->gradient->host);
    return sum;
}

/* Numbers of the next step but for the clip. */
static sg_rule_numbers numbers_of(const sg_tensor_optimizer *o, double lr)
{
    const sg_rule_config *c = &o->config;
    double t = (double)o->time;
    sg_rule_numbers p = {.scale = 1,
                         .step = lr,
                         .beta1 = c->beta1,
                         .beta2 = c->beta2,
                         .eps = c->eps,
                         .decay = c->rule == SG_RULE_ADAMW ? lr * c->weight_decay : 0};
    if (c->rule >= SG_RULE_ADAM) {
        p.step = lr / (1 - pow(c->beta1, t));
        p.correction2 = 1 / (1 - pow(c->beta2, t));
    }
    return p;
}

/* The device finds the clip by itself, and the host does not wait without a report. */
static sg_status step_there(const stepping *s, double lr, sg_step_report *report, sg_error *error)
{
    const sg_tensor_optimizer *o = s->o;
    sg_cuda_step_norms norms = {0, 0};
    sg_cuda_step step = {.rule = o->config.rule == SG_RULE_SGD        ? SG_CUDA_RULE_SGD
                                 : o->config.rule == SG_RULE_MOMENTUM ? SG_CUDA_RULE_MOMENTUM
                                                                      : SG_CUDA_RULE_ADAM,
                         .numbers = numbers_of(o, lr),
                         .clip_norm = o->config.clip_norm,
                         .count = o->slice_count,
                         .slices = o->slices,
                         .first = o->device_first,
                         .second = o->device_second,
                         .parameters = s->parameters->device};
    sg_status status = SG_OK;
    for (size_t i = 0; report && i < o->count && !status; i++) {
        const sg_tensor *t = &o->tensors[i];
        if (!t->trained)
            status = sg_cuda_flat_zero(s->gradient->device, t->offset, t->rows * t->columns, error);
    }
    if (!status && o->slice_count > 0)
        status = sg_cuda_flat_step(s->gradient->device, &step, report ? &norms : NULL, error);
    if (report) {
        double norm = sqrt(norms.gradient);
        *report =
            (sg_step_report){norm, sg_rule_clip(norm, o->config.clip_norm), lr, sqrt(norms.step)};
    }
    return status;
}

static void step_here(const stepping *s, double lr, sg_step_report *report)
{
    sg_tensor_optimizer *o = s->o;
    double most = o->config.clip_norm, norm = most > 0 || report ? sqrt(trained_norm2(s)) : 0;
    sg_rule_numbers p = numbers_of(o, lr);
    p.scale = sg_rule_clip(norm, most);
    for (size_t i = 0; i < o->count; i++) {
        const sg_tensor *t = &o->tensors[i];
        size_t n = t->rows * t->columns, byte = t->offset * o->real;
        char *g = (char *)s->gradient->host + byte;
        if (!t->trained) {
            memset(g, 0, n * o->real);
            continue;
        }
        step_tensor(o, i, &p, s->parameters->host, s->gradient->host);
        if (s->move)
            sg_tensor_add(o->precision, n, 1, g, (char *)s->parameters->host + byte);
    }
    if (report)
        *report = (sg_step_report){norm, p.scale, lr, sqrt(trained_norm2(s))};
}

static sg_status step_all(const stepping *s, sg_step_report *report, sg_error *error)
{
    sg_tensor_optimizer *o = s->o;
    o->time++;
    double lr = o->config.lr * sg_schedule_factor(&o->config.schedule, o->time);
    if (o->device)
        return step_there(s, lr, report, error);
    step_here(s, lr, report);
    return SG_OK;
}

sg_status sg_tensor_optimizer_move(sg_tensor_optimizer *o, const sg_flat *parameters,
                                   const sg_flat *gradient, sg_step_report *report, sg_error *error)
{
    stepping s = {o, parameters, gradient, true};
    return step_all(&s, report, error);
}

sg_step_report sg_tensor_optimizer_delta(sg_tensor_optimizer *o, const void *parameters,
                                         void *gradient)
{
    sg_flat theta = {o->precision, o->size, (void *)(uintptr_t)parameters, NULL};
    sg_flat g = {o->precision, o->size, gradient, NULL};
    stepping s = {o, &theta, &g, false};
    sg_step_report report;
    step_all(&s, &report, NULL); /* only a device can fail */
    return report;
}
