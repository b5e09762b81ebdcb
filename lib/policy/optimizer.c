/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/isa.h"
#include "policy/net_bytes.h"
#include "policy/net_matrix.h"
#include "policy/optimizer_kernels.h"

/* Numbers that one thread handles at a time, and whose sums are added up in order. */
enum { CHUNK = 1 << 15 };

struct sg_tensor_optimizer {
    sg_rule_config config;
    sg_precision precision;
    size_t real, count, size;
    uint64_t time;
    void *first;  /* m or b: [size] */
    void *second; /* v: laid out by second_offset; one number a column where coupled */
    double *sums; /* room for the sums of chunks, or of a coupled tensor's columns */
    void *roots;  /* of a coupled tensor's columns: sqrt(vhat) + eps */
    size_t second_size;
    sg_tensor *tensors;
    size_t *second_offset;
};

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

static bool coupled(const sg_tensor_optimizer *o, const sg_tensor *t)
{
    return o->config.rule == SG_RULE_COUPLED_ADAM && t->over_vocabulary;
}

static void *zeros(size_t count, size_t size)
{
    void *at = sg_matrix_alloc(count * size);
    if (at)
        memset(at, 0, count * size);
    return at;
}

sg_status sg_tensor_optimizer_alloc(sg_tensor_optimizer **out, const sg_rule_config *config,
                                    sg_precision precision, const sg_tensor *tensors, size_t count,
                                    size_t size, sg_error *error)
{
    *out = NULL;
    sg_status status = sg_rule_check(config, error);
    if (status)
        return status;
    sg_tensor_optimizer *o = calloc(1, sizeof *o);
    bool good = o != NULL;
    if (good) {
        *o = (sg_tensor_optimizer){.config = *config,
                                   .precision = precision,
                                   .real = sg_real_size(precision),
                                   .count = count,
                                   .size = size,
                                   .tensors = calloc(count, sizeof *tensors),
                                   .second_offset = calloc(count, sizeof(size_t))};
        good = o->tensors && o->second_offset;
    }
    size_t bytes = 0, columns = 1;
    if (good) {
        memcpy(o->tensors, tensors, count * sizeof *tensors);
        for (size_t i = 0; i < count && config->rule >= SG_RULE_ADAM; i++) {
            const sg_tensor *t = &tensors[i];
            o->second_offset[i] = o->second_size;
            o->second_size += ((coupled(o, t) ? 1 : t->rows) * t->columns + 15) / 16 * 16;
            columns = t->columns > columns ? t->columns : columns;
        }
        size_t first = config->rule == SG_RULE_SGD ? 0 : size;
        bytes = (first + o->second_size) * o->real;
        o->first = zeros(first, o->real);
        o->second = zeros(o->second_size, o->real);
        o->sums = zeros(size / CHUNK + 1 + columns, sizeof(double));
        o->roots = zeros(columns, sizeof(double));
        good = o->first && o->second && o->sums && o->roots;
    }
    if (!good) {
        sg_tensor_optimizer_free(o);
        return sg_fail(error, SG_ENOMEM, "the optimizer's state needs %.3g GiB of memory",
                       (double)bytes * 0x1p-30);
    }
    *out = o;
    return SG_OK;
}

void sg_tensor_optimizer_free(sg_tensor_optimizer *o)
{
    if (!o)
        return;
    free(o->first);
    free(o->second);
    free(o->sums);
    free(o->roots);
    free(o->tensors);
    free(o->second_offset);
    free(o);
}

static size_t first_bytes(const sg_tensor_optimizer *o)
{
    return o->config.rule == SG_RULE_SGD ? 0 : o->size * o->real;
}

void sg_tensor_optimizer_copy(sg_tensor_optimizer *o, const sg_tensor_optimizer *source)
{
    o->time = source->time;
    memcpy(o->first, source->first, first_bytes(o));
    memcpy(o->second, source->second, o->second_size * o->real);
}

void sg_tensor_optimizer_forget(sg_tensor_optimizer *o)
{
    o->time = 0;
    memset(o->first, 0, first_bytes(o));
    memset(o->second, 0, o->second_size * o->real);
}

void sg_tensor_optimizer_set(sg_tensor_optimizer *o, double lr, double clip_norm, uint64_t time)
{
    o->config.lr = lr;
    o->config.clip_norm = clip_norm;
    o->time = time - 1;
}

/* ---- sums of squares: chunk by chunk, then in order */

static double sum_squares(const sg_rule_kernels *kernels, const char *x, size_t n, size_t real,
                          double *sums)
{
    size_t chunks = (n + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) if (chunks > 4)
    for (size_t c = 0; c < chunks; c++) {
        size_t length = n - c * CHUNK < CHUNK ? n - c * CHUNK : CHUNK;
        sums[c] = kernels->norm2(length, x + c * CHUNK * real);
    }
    double total = 0;
    for (size_t c = 0; c < chunks; c++)
        total += sums[c];
    return total;
}

double sg_tensor_norm2(sg_precision precision, const sg_tensor *t, const void *values)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(precision);
    size_t real = sg_real_size(precision), n = t->rows * t->columns;
    const char *x = (const char *)values + t->offset * real;
    double total = 0;
    for (size_t at = 0; at < n; at += CHUNK)
        total += kernels->norm2(n - at < CHUNK ? n - at : CHUNK, x + at * real);
    return total;
}

static double norm_of_trained(const sg_tensor_optimizer *o, const sg_rule_kernels *kernels,
                              const char *x)
{
    double total = 0;
    for (size_t i = 0; i < o->count; i++) {
        const sg_tensor *t = &o->tensors[i];
        if (t->trained)
            total += sum_squares(kernels, x + t->offset * o->real, t->rows * t->columns, o->real,
                                 o->sums);
    }
    return sqrt(total);
}

/* ---- one step */

/* v of each column moves on with the mean of g^2 over the vocabulary; roots[] becomes
 * sqrt(vhat) + eps. */
static void couple(sg_tensor_optimizer *o, size_t tensor, const sg_rule_numbers *p, const char *g)
{
    const sg_tensor *t = &o->tensors[tensor];
    double *column = o->sums;
    void *v = (char *)o->second + o->second_offset[tensor] * o->real;
    bool narrow = o->precision == SG_FP32;
    memset(column, 0, t->columns * sizeof *column);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t k = 0; k < t->columns; k++) {
            size_t i = r * t->columns + k;
            double x = p->scale * (narrow ? (double)((const float *)(const void *)g)[i]
                                          : ((const double *)(const void *)g)[i]);
            column[k] += x * x;
        }
    for (size_t k = 0; k < t->columns; k++) {
        double old = narrow ? (double)((float *)v)[k] : ((double *)v)[k];
        double now = p->beta2 * old + (1 - p->beta2) * column[k] / (double)t->rows;
        double root = sqrt(now * p->correction2) + p->eps;
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
                        const sg_rule_kernels *kernels, const char *parameters, char *gradient)
{
    const sg_tensor *t = &o->tensors[tensor];
    size_t n = t->rows * t->columns, at = t->offset * o->real;
    char *g = gradient + at, *m = (char *)o->first + at;
    char *v = (char *)o->second + o->second_offset[tensor] * o->real;
    bool share = coupled(o, t);
    if (!t->trained) {
        memset(g, 0, n * o->real);
        return;
    }
    if (share)
        couple(o, tensor, p, g);
    size_t rows = CHUNK / t->columns + 1, piece = share ? rows * t->columns : CHUNK;
#pragma omp parallel for schedule(static) if (n > 4 * CHUNK)
    for (size_t start = 0; start < n; start += piece) {
        size_t length = n - start < piece ? n - start : piece, byte = start * o->real;
        if (share)
            kernels->coupled(length / t->columns, t->columns, p, g + byte, m + byte, o->roots);
        else if (o->config.rule == SG_RULE_SGD)
            kernels->sgd(length, p, g + byte);
        else if (o->config.rule == SG_RULE_MOMENTUM)
            kernels->momentum(length, p, g + byte, m + byte);
        else
            kernels->adam(length, p, g + byte, m + byte, v + byte, parameters + at + byte);
    }
}

sg_step_report sg_tensor_optimizer_delta(sg_tensor_optimizer *o, const void *parameters,
                                         void *gradient)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(o->precision);
    const sg_rule_config *c = &o->config;
    sg_step_report report = {.clip_factor = 1};
    o->time++;
    double t = (double)o->time;
    report.lr = c->lr * sg_schedule_factor(&c->schedule, o->time);
    report.grad_norm = norm_of_trained(o, kernels, gradient);
    if (c->clip_norm > 0 && report.grad_norm > c->clip_norm)
        report.clip_factor = c->clip_norm / report.grad_norm;
    sg_rule_numbers p = {.scale = report.clip_factor,
                         .step = report.lr,
                         .beta1 = c->beta1,
                         .beta2 = c->beta2,
                         .eps = c->eps,
                         .decay = c->rule == SG_RULE_ADAMW ? report.lr * c->weight_decay : 0};
    if (c->rule >= SG_RULE_ADAM) {
        p.step = report.lr / (1 - pow(c->beta1, t));
        p.correction2 = 1 / (1 - pow(c->beta2, t));
    }
    for (size_t i = 0; i < o->count; i++)
        step_tensor(o, i, &p, kernels, parameters, gradient);
    report.delta_norm = norm_of_trained(o, kernels, gradient);
    return report;
}

void sg_tensor_add(sg_precision precision, size_t size, double scale, const void *delta,
                   void *parameters)
{
    const sg_rule_kernels *kernels = sg_rule_kernels_select(precision);
    size_t real = sg_real_size(precision);
#pragma omp parallel for schedule(static) if (size > 4 * CHUNK)
    for (size_t start = 0; start < size; start += CHUNK)
        kernels->add(size - start < CHUNK ? size - start : CHUNK, scale,
                     (const char *)delta + start * real, (char *)parameters + start * real);
}

/* ---- looking at it, and storing it */

double sg_tensor_optimizer_second(const sg_tensor_optimizer *o, size_t tensor, size_t row,
                                  size_t column)
{
    const sg_tensor *t = &o->tensors[tensor];
    if (o->config.rule < SG_RULE_ADAM || o->time == 0)
        return 0;
    size_t i = o->second_offset[tensor] + (coupled(o, t) ? 0 : row * t->columns) + column;
    double v = o->precision == SG_FP32 ? (double)((float *)o->second)[i] : ((double *)o->second)[i];
    return v / (1 - pow(o->config.beta2, (double)o->time));
}

uint64_t sg_tensor_optimizer_time(const sg_tensor_optimizer *o)
{
    return o->time;
}

static const char magic[] = "softgate optimizer 1";

static uint64_t shape_of(const sg_tensor_optimizer *o)
{
    uint64_t shape[] = {o->config.rule, o->precision, o->size, o->second_size, o->count};
    uint64_t hash = sg_store_hash(SG_STORE_SEED, shape, sizeof shape);
    for (size_t i = 0; i < o->count; i++) {
        uint64_t tensor[] = {o->tensors[i].offset, o->tensors[i].rows, o->tensors[i].columns};
        hash = sg_store_hash(hash, tensor, sizeof tensor);
    }
    return hash;
}

static size_t state_bytes(const sg_tensor_optimizer *o)
{
    return first_bytes(o) + o->second_size * o->real;
}

size_t sg_tensor_optimizer_bytes(const sg_tensor_optimizer *o)
{
    return sizeof(sg_store_header) + state_bytes(o);
}

void sg_tensor_optimizer_write(const sg_tensor_optimizer *o, void *bytes)
{
    sg_store_header header = {.shape = shape_of(o), .size = state_bytes(o), .extra = o->time};
    char *content = (char *)bytes + sizeof header;
    memcpy(header.magic, magic, sizeof magic);
    memcpy(content, o->first, first_bytes(o));
    memcpy(content + first_bytes(o), o->second, o->second_size * o->real);
    header.hash = sg_store_hash(SG_STORE_SEED, content, header.size);
    memcpy(bytes, &header, sizeof header);
}

sg_status sg_tensor_optimizer_read(sg_tensor_optimizer *o, const void *bytes, size_t size,
                                   sg_error *error)
{
    sg_store_header header;
    const void *content;
    sg_status status = sg_store_open(bytes, size, magic, shape_of(o), state_bytes(o), &header,
                                     &content, "state of an optimizer", error);
    if (status)
        return status;
    memcpy(o->first, content, first_bytes(o));
    memcpy(o->second, (const char *)content + first_bytes(o), o->second_size * o->real);
    o->time = header.extra;
    return SG_OK;
}
