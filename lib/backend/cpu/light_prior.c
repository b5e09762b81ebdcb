/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The values that light tokens start from, and the tree of their sums. */
#include "backend/cpu/light.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/isa.h"
#include "core/vec.h"
#include "core/vec_math.h"

enum { FAN = SG_LIGHT_FAN };

const sg_light_kernels *sg_light_kernels_select(const char **name)
{
    const sg_light_kernels *kernels = &sg_light_kernels_portable;
    *name = "light/portable";
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX2) {
        kernels = &sg_light_kernels_avx2;
        *name = "light/avx2";
    } else if (isa == SG_ISA_AVX512) {
        kernels = &sg_light_kernels_avx512;
        *name = "light/avx512";
    }
#endif
    return kernels;
}

static size_t groups(size_t n)
{
    return (n + FAN - 1) / FAN;
}

sg_light_prior *sg_light_prior_new(size_t vocabulary, size_t head)
{
    sg_light_prior *prior = calloc(1, sizeof *prior);
    if (!prior)
        return NULL;
    atomic_init(&prior->owners, 1);
    prior->vocabulary = vocabulary;
    prior->head = head;
    size_t width = vocabulary, cells = vocabulary;
    do {
        width = groups(width);
        prior->width[prior->levels++] = width;
        cells += width;
    } while (width > FAN && prior->levels < SG_LIGHT_LEVELS);
    prior->q = malloc(cells * sizeof *prior->q);
    if (!prior->q) {
        free(prior);
        return NULL;
    }
    double *at = prior->q + vocabulary;
    for (size_t l = 0; l < prior->levels; at += prior->width[l++])
        prior->sum[l] = at;
    return prior;
}

sg_light_prior *sg_light_prior_retain(sg_light_prior *prior)
{
    atomic_fetch_add(&prior->owners, 1);
    return prior;
}

void sg_light_prior_free(sg_light_prior *prior)
{
    if (!prior || atomic_fetch_sub(&prior->owners, 1) > 1)
        return;
    free(prior->q);
    free(prior->heavy);
    free(prior->heavy_q);
    free(prior);
}

bool sg_light_prior_reserve_heavy(sg_light_prior *prior, size_t capacity)
{
    if (capacity <= prior->heavy_capacity)
        return true;
    int32_t *heavy = realloc(prior->heavy, capacity * sizeof *heavy);
    if (heavy)
        prior->heavy = heavy;
    double *heavy_q = realloc(prior->heavy_q, capacity * sizeof *heavy_q);
    if (heavy_q)
        prior->heavy_q = heavy_q;
    if (!heavy || !heavy_q)
        return false;
    prior->heavy_capacity = capacity;
    return true;
}

sg_light_prior *sg_light_prior_clone(const sg_light_prior *prior)
{
    sg_light_prior *copy = sg_light_prior_new(prior->vocabulary, prior->head);
    if (!copy)
        return NULL;
    if (!sg_light_prior_reserve_heavy(copy, prior->heavy_count)) {
        sg_light_prior_free(copy);
        return NULL;
    }
    memcpy(copy->q, prior->q, prior->vocabulary * sizeof *copy->q);
    for (size_t l = 0; l < prior->levels; l++)
        memcpy(copy->sum[l], prior->sum[l], prior->width[l] * sizeof(double));
    copy->total = prior->total;
    copy->scale = prior->scale;
    memcpy(copy->sums, prior->sums, sizeof copy->sums);
    if (prior->heavy_count) {
        memcpy(copy->heavy, prior->heavy, prior->heavy_count * sizeof *copy->heavy);
        memcpy(copy->heavy_q, prior->heavy_q, prior->heavy_count * sizeof *copy->heavy_q);
    }
    copy->heavy_count = prior->heavy_count;
    copy->top = prior->top;
    copy->bottom = prior->bottom;
    copy->positive = prior->positive;
    return copy;
}

static double sum_top(const sg_light_prior *prior)
{
    const double *top = prior->sum[prior->levels - 1];
    double total = 0;
    for (size_t i = 0; i < prior->width[prior->levels - 1]; i++)
        total += top[i];
    return total;
}

void sg_light_prior_tree(sg_light_prior *prior, const sg_light_kernels *kernels)
{
    kernels->fold(prior->vocabulary, prior->q, prior->sum[0]);
    for (size_t l = 1; l < prior->levels; l++)
        kernels->fold(prior->width[l - 1], prior->sum[l - 1], prior->sum[l]);
    prior->total = sum_top(prior);
}

bool sg_light_prior_settle(sg_light_prior *prior, const sg_light_kernels *kernels, double threshold)
{
    sg_light_prior_tree(prior, kernels);
    double limit = threshold * prior->total, most = 0, least = INFINITY;
    prior->heavy_count = prior->positive = 0;
    prior->top = prior->bottom = -1;
    for (size_t first = 0; first < prior->vocabulary; first += FAN) {
        size_t end = prior->vocabulary < first + FAN ? prior->vocabulary : first + FAN;
        double *q = prior->q;
        size_t positive = 0, remarkable = 0;
        for (size_t v = first; v < end; v++) {
            positive += q[v] > 0;
            remarkable += (q[v] > most) | ((q[v] > 0) & (q[v] < least)) | (q[v] > limit);
        }
        prior->positive += positive;
        if (!remarkable)
            continue;
        for (size_t v = first; v < end; v++) {
            if (q[v] > limit) {
                if (prior->heavy_count == prior->heavy_capacity &&
                    !sg_light_prior_reserve_heavy(prior, 2 * prior->heavy_capacity + FAN))
                    return false;
                prior->heavy[prior->heavy_count] = (int32_t)v;
                prior->heavy_q[prior->heavy_count++] = q[v];
                q[v] = 0;
                prior->positive--;
                continue;
            }
            if (q[v] > most) {
                most = q[v];
                prior->top = (int32_t)v;
            }
            if (q[v] > 0 && q[v] < least) {
                least = q[v];
                prior->bottom = (int32_t)v;
            }
        }
    }
    if (prior->heavy_count)
        sg_light_prior_tree(prior, kernels);
    /* Room above the greatest light token, for sampled ones that have risen. */
    prior->scale = most > 0 && 4 * most < limit ? 4 * most : limit;
    memset(prior->sums, 0, sizeof prior->sums);
    kernels->add_sums(prior->head, prior->q, 1 / prior->scale, &prior->sums[0]);
    kernels->add_sums(prior->vocabulary - prior->head, prior->q + prior->head, 1 / prior->scale,
                      &prior->sums[1]);
    return true;
}

sg_status sg_light_prior_alloc(sg_light_prior **prior, size_t vocabulary, size_t head,
                               const double *logits, sg_error *error)
{
    *prior = NULL;
    if (vocabulary < 2 || vocabulary > INT32_MAX)
        return sg_fail(error, SG_EARGUMENT,
                       "a vocabulary of %zu tokens is not possible: it must be in 2..2147483647",
                       vocabulary);
    if (head < 1 || head > vocabulary)
        return sg_fail(
            error, SG_EARGUMENT,
            "a head of %zu tokens is not possible: it must be in 1..%zu (the vocabulary)", head,
            vocabulary);
    double max = -INFINITY;
    for (size_t v = 0; v < vocabulary; v++) {
        if (isnan(logits[v]) || logits[v] == INFINITY)
            return sg_fail(error, SG_EDATA, "logit %zu is %g; logits must be finite or -inf", v,
                           logits[v]);
        max = logits[v] > max ? logits[v] : max;
    }
    if (max == -INFINITY)
        return sg_fail(error, SG_EDATA, "every logit is -inf; one at least must be finite");
    sg_light_prior *made = sg_light_prior_new(vocabulary, head);
    const char *name;
    bool done = made != NULL;
    if (done) {
        made->offset = max;
        for (size_t v = 0; v < vocabulary; v++)
            made->q[v] = logits[v] - max;
        sg_vec_exp(vocabulary, made->q, made->q);
        done = sg_light_prior_settle(made, sg_light_kernels_select(&name), 0x1p-10);
    }
    if (!done) {
        sg_light_prior_free(made);
        return sg_fail(error, SG_ENOMEM,
                       "a prior of %zu tokens needs %.1f MiB, which this machine does not give",
                       vocabulary, (double)vocabulary * sizeof(double) / 1048576.0);
    }
    *prior = made;
    return SG_OK;
}

/* First of x[0..n-1] at which the running sum passes *target, which becomes what is left of it; the
 * last positive one when rounding leaves the sum short. */
static size_t scan(const double *x, size_t n, double *target)
{
    size_t found = 0;
    double sum = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(x[i] > 0))
            continue;
        found = i;
        before = sum;
        sum += x[i];
        if (*target < sum)
            break;
    }
    *target -= before;
    return found;
}

static void prefetch(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        __builtin_prefetch(x + i);
}

void sg_light_prior_find(const sg_light_prior *prior, size_t n, const double *target, size_t *token,
                         double *rest)
{
    /* Level by level, so that the draws wait for memory together. */
    for (size_t j = 0; j < n; j++) {
        token[j] = 0;
        rest[j] = target[j];
    }
    for (size_t l = prior->levels + 1; l-- > 0;) {
        const double *x = l > 0 ? prior->sum[l - 1] : prior->q;
        const double *below = l > 1 ? prior->sum[l - 2] : prior->q;
        size_t width = l > 0 ? prior->width[l - 1] : prior->vocabulary;
        size_t fan = l == prior->levels ? width : FAN;
        for (size_t j = 0; j < n; j++) {
            size_t first = token[j] * fan, count = width - first < fan ? width - first : fan;
            token[j] = first + scan(x + first, count, &rest[j]);
            if (l > 0)
                prefetch(below + token[j] * FAN, FAN);
        }
    }
    for (size_t j = 0; j < n; j++) {
        double q = prior->q[token[j]];
        rest[j] = q > 0 ? fmin(fmax(rest[j] / q, 0), 0x1.fffffffffffffp-1) : 0;
    }
}

void sg_light_prior_prefetch(const sg_light_prior *prior, size_t token)
{
    __builtin_prefetch(prior->q + token, 1);
    __builtin_prefetch(prior->sum[0] + token / FAN, 1);
}

void sg_light_prior_put(sg_light_prior *prior, size_t token, double q)
{
    /* What rounding leaves of a sum of removed tokens is as rare as it is small, and finds no token
     * of positive q: draws reject it. */
    double change = q - prior->q[token];
    prior->q[token] = q;
    for (size_t l = 0; l < prior->levels; l++)
        prior->sum[l][token /= FAN] += change;
    prior->total += change;
}
