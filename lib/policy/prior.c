/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/prior.h"

#include <math.h>

/* Written so that NaN is outside every range. */
static bool inside(double x, double low, double high)
{
    return x >= low && x <= high;
}

sg_status sg_prior_check(const sg_prior *prior, sg_error *error)
{
    size_t tail = prior->vocabulary - prior->head;
    if (prior->vocabulary < 2)
        return sg_fail(error, SG_EARGUMENT, "vocabulary is %zu; a policy needs at least 2 tokens",
                       prior->vocabulary);
    if (prior->head < 1 || prior->head > prior->vocabulary)
        return sg_fail(error, SG_EARGUMENT, "head is %zu; it must be 1 to vocabulary (%zu)",
                       prior->head, prior->vocabulary);
    if (prior->head_shape == SG_HEAD_GEOMETRIC &&
        !(prior->head_ratio > 0 && prior->head_ratio <= 1))
        return sg_fail(error, SG_EARGUMENT, "head_ratio is %g; it must be in (0, 1]",
                       prior->head_ratio);
    /* Beyond these bounds a probability would underflow. */
    if (prior->head_shape == SG_HEAD_GEOMETRIC &&
        log(prior->head_ratio) * (double)prior->head < -600)
        return sg_fail(error, SG_EARGUMENT,
                       "head_ratio %g over %zu head tokens falls below 1e-260; raise head_ratio or "
                       "shorten the head",
                       prior->head_ratio, prior->head);
    if (prior->head_shape == SG_HEAD_ZIPF && !inside(prior->head_exponent, 0, 20))
        return sg_fail(error, SG_EARGUMENT, "head_exponent is %g; it must be in [0, 20]",
                       prior->head_exponent);
    if (tail == 0 && prior->tail_mass != 0)
        return sg_fail(error, SG_EARGUMENT,
                       "head takes the whole vocabulary (%zu), so tail_mass must be 0, not %g",
                       prior->head, prior->tail_mass);
    if (tail > 0 && !(prior->tail_mass >= 1e-200 && prior->tail_mass < 1))
        return sg_fail(error, SG_EARGUMENT,
                       "tail_mass is %g for %zu tail tokens; it must be above 0 and below 1",
                       prior->tail_mass, tail);
    if (tail > 0 && prior->tail_shape == SG_TAIL_ZIPF && !inside(prior->tail_exponent, 0, 10))
        return sg_fail(error, SG_EARGUMENT, "tail_exponent is %g; it must be in [0, 10]",
                       prior->tail_exponent);
    return SG_OK;
}

/* A compensated sum (Kahan): a million equal terms keep every digit. */
struct sum {
    double total, lost;
};

static void add(struct sum *sum, double x)
{
    double y = x - sum->lost, next = sum->total + y;
    sum->lost = (next - sum->total) - y;
    sum->total = next;
}

/* Turns log weights into log probabilities of total mass `mass`. */
static void normalize(double *log_weight, size_t n, double mass)
{
    struct sum sum = {0};
    for (size_t i = 0; i < n; i++)
        add(&sum, exp(log_weight[i]));
    double shift = log(mass) - log(sum.total);
    for (size_t i = 0; i < n; i++)
        log_weight[i] += shift;
}

void sg_prior_logits(const sg_prior *prior, double *logits)
{
    size_t head = prior->head, tail = prior->vocabulary - head;
    for (size_t k = 0; k < head; k++)
        logits[k] = prior->head_shape == SG_HEAD_GEOMETRIC
                        ? (double)k * log(prior->head_ratio)
                        : -prior->head_exponent * log((double)(k + 1));
    normalize(logits, head, 1 - prior->tail_mass);
    double exponent = prior->tail_shape == SG_TAIL_ZIPF ? prior->tail_exponent : 0;
    for (size_t j = 0; j < tail; j++)
        logits[head + j] = exponent == 0 ? 0 : -exponent * log((double)(j + 1));
    normalize(logits + head, tail, prior->tail_mass);
}

sg_prior_summary sg_prior_summarize(const sg_prior *prior, const double *logits)
{
    struct sum head = {0}, tail = {0}, collision = {0}, entropy = {0}, head_entropy = {0};
    for (size_t v = 0; v < prior->vocabulary; v++) {
        double p = exp(logits[v]);
        add(v < prior->head ? &head : &tail, p);
        add(&collision, p * p);
        add(&entropy, -p * logits[v]);
    }
    for (size_t v = 0; v < prior->head; v++)
        add(&head_entropy, -exp(logits[v]) / head.total * (logits[v] - log(head.total)));
    return (sg_prior_summary){.vocabulary = prior->vocabulary,
                              .tail_mass = tail.total,
                              .collision = collision.total,
                              .head_entropy = head_entropy.total,
                              .entropy = entropy.total};
}

sg_status sg_prior_check_sweep(const sg_prior_summary *cells, size_t count, bool allow_confounded,
                               sg_error *error)
{
    if (allow_confounded || count < 2)
        return SG_OK;
    size_t least_mass = 0, most_mass = 0, least_entropy = 0, most_entropy = 0;
    for (size_t i = 1; i < count; i++) {
        if (cells[i].tail_mass < cells[least_mass].tail_mass)
            least_mass = i;
        if (cells[i].tail_mass > cells[most_mass].tail_mass)
            most_mass = i;
        if (cells[i].head_entropy < cells[least_entropy].head_entropy)
            least_entropy = i;
        if (cells[i].head_entropy > cells[most_entropy].head_entropy)
            most_entropy = i;
    }
    const sg_prior_summary *a = &cells[least_mass], *b = &cells[most_mass];
    if (!(b->tail_mass <= 1.01 * a->tail_mass))
        return sg_fail(error, SG_EARGUMENT,
                       "this is not a sweep of the vocabulary alone: the tail mass is %.4g at "
                       "V = %zu but %.4g at V = %zu; hold it fixed, or allow confounded cells",
                       a->tail_mass, a->vocabulary, b->tail_mass, b->vocabulary);
    a = &cells[least_entropy];
    b = &cells[most_entropy];
    if (!(b->head_entropy - a->head_entropy <= 0.01))
        return sg_fail(
            error, SG_EARGUMENT,
            "this is not a sweep of the vocabulary alone: the head's entropy is %.4f nat "
            "at V = %zu but %.4f at V = %zu; hold its shape fixed, or allow confounded "
            "cells",
            a->head_entropy, a->vocabulary, b->head_entropy, b->vocabulary);
    return SG_OK;
}
