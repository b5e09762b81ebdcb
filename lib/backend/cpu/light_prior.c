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

sg_light_prior *sg_light_prior_new(size_t vocabulary, size_t head)
{
    sg_light_prior *prior = calloc(1, sizeof *prior);
    if (!prior)
        return NULL;
    atomic_init(&prior->owners, 1);
    size_t cells = sg_light_base_layout(&prior->base, vocabulary, head);
    double *q = malloc(cells * sizeof *q);
    if (!q) {
        free(prior);
        return NULL;
    }
    sg_light_base_place(&prior->base, q);
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
    free(prior->base.q);
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

/* Without the heavy tokens, which only matter where rows start. */
sg_light_prior *sg_light_prior_clone(const sg_light_prior *prior)
{
    const sg_light_base *from = &prior->base;
    sg_light_prior *copy = sg_light_prior_new(from->vocabulary, from->head);
    if (!copy)
        return NULL;
    double *q = copy->base.q;
    size_t cells = sg_light_base_layout(&copy->base, from->vocabulary, from->head);
    memcpy(q, from->q, cells * sizeof *q);
    copy->base = *from;
    sg_light_base_place(&copy->base, q);
    return copy;
}

static double sum_top(const sg_light_base *base)
{
    const double *top = base->sum[base->levels - 1];
    double total = 0;
    for (size_t i = 0; i < base->width[base->levels - 1]; i++)
        total += top[i];
    return total;
}

static void make_tree(sg_light_base *base, const sg_light_kernels *kernels)
{
    kernels->fold(base->vocabulary, base->q, base->sum[0]);
    for (size_t l = 1; l < base->levels; l++)
        kernels->fold(base->width[l - 1], base->sum[l - 1], base->sum[l]);
    base->total = sum_top(base);
}

bool sg_light_prior_settle(sg_light_prior *prior, const sg_light_kernels *kernels, double threshold)
{
    sg_light_base *base = &prior->base;
    make_tree(base, kernels);
    double limit = threshold * base->total, most = 0, least = INFINITY;
    prior->heavy_count = base->positive = 0;
    base->top = base->bottom = -1;
    for (size_t first = 0; first < base->vocabulary; first += FAN) {
        size_t end = base->vocabulary < first + FAN ? base->vocabulary : first + FAN;
        double *q = base->q;
        size_t positive = 0, remarkable = 0;
        for (size_t v = first; v < end; v++) {
            positive += q[v] > 0;
            remarkable += (q[v] > most) | ((q[v] > 0) & (q[v] < least)) | (q[v] > limit);
        }
        base->positive += positive;
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
                base->positive--;
                continue;
            }
            if (q[v] > most) {
                most = q[v];
                base->top = (int32_t)v;
            }
            if (q[v] > 0 && q[v] < least) {
                least = q[v];
                base->bottom = (int32_t)v;
            }
        }
    }
    if (prior->heavy_count)
        make_tree(base, kernels);
    /* Room above the greatest light token, for sampled ones that have risen. */
    base->scale = most > 0 && 4 * most < limit ? 4 * most : limit;
    memset(base->sums, 0, sizeof base->sums);
    kernels->add_sums(base->head, base->q, 1 / base->scale, &base->sums[0]);
    kernels->add_sums(base->vocabulary - base->head, base->q + base->head, 1 / base->scale,
                      &base->sums[1]);
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
            made->base.q[v] = logits[v] - max;
        sg_vec_exp(vocabulary, made->base.q, made->base.q);
        done = sg_light_prior_settle(made, sg_light_kernels_select(&name), SG_LIGHT_THRESHOLD);
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
