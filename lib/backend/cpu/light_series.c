/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Power series in x = q0 / scale, and what a row and its last update look like through them. */
#include "backend/cpu/light.h"

#include <math.h>
#include <string.h>

#include "core/vec.h"
#include "core/vec_math.h"

enum { TERMS = SG_LIGHT_TERMS, ORDER = SG_LIGHT_ORDER };

void sg_light_multiply(const double *a, const double *b, double *product)
{
    for (size_t k = 0; k < TERMS; k++) {
        double sum = 0;
        for (size_t j = 0; j <= k; j++)
            sum += a[j] * b[k - j];
        product[k] = sum;
    }
}

void sg_light_inverse(const double *s, double *inverse)
{
    inverse[0] = 1;
    for (size_t k = 1; k < TERMS; k++) {
        double sum = 0;
        for (size_t j = 1; j <= ORDER && j <= k; j++)
            sum += s[j - 1] * inverse[k - j];
        inverse[k] = -sum;
    }
}

/* (log y)' = y' / y, coefficient by coefficient. */
void sg_light_log(const double *s, const double *inverse, double *logarithm)
{
    logarithm[0] = 0;
    for (size_t k = 1; k < TERMS; k++) {
        double sum = 0;
        for (size_t j = 1; j <= ORDER && j <= k; j++)
            sum += (double)j * s[j - 1] * inverse[k - j];
        logarithm[k] = sum / (double)k;
    }
}

double sg_light_contract(const double *a, const double *power, size_t shift)
{
    double sum = 0;
    for (size_t k = TERMS - shift; k-- > 0;) /* small terms first */
        sum += a[k] * power[k + shift];
    return sum;
}

/* Sums over the tokens of one part (head or tail). */
typedef struct light_part {
    double mass, mass_log, square; /* sum q, sum q log q, sum q^2 */
} light_part;

static void look_at_light(const sg_light_row *row, light_part part[2])
{
    double logarithm[TERMS], product[TERMS], square[TERMS], scale = row->base->scale;
    sg_light_log(row->s, row->inverse, logarithm);
    sg_light_multiply(row->inverse, logarithm, product);
    sg_light_multiply(row->inverse, row->inverse, square);
    for (size_t i = 0; i < 2; i++) {
        const sg_light_sums *sums = &row->sums[i];
        part[i].mass = scale * sg_light_contract(row->inverse, sums->power, 0);
        /* log q = log scale + log x - log y */
        part[i].mass_log = sg_log(scale) * part[i].mass +
                           scale * (sg_light_contract(row->inverse, sums->power_log, 0) -
                                    sg_light_contract(product, sums->power, 0));
        part[i].square = scale * scale * sg_light_contract(square, sums->power, 1);
    }
}

double sg_light_row_collision(const sg_light_row *row)
{
    double square[TERMS], sum = 0, unit = row->base->scale / row->total;
    sg_light_multiply(row->inverse, row->inverse, square);
    for (size_t i = 0; i < 2; i++)
        sum += unit * unit * sg_light_contract(square, row->sums[i].power, 1);
    for (size_t e = 0; e < row->count; e++)
        sum += row->q[e] / row->total * (row->q[e] / row->total);
    return sum;
}

sg_row_observation sg_light_row_observe(sg_light_row *row)
{
    enum { CHUNK = SG_LIGHT_FAN };
    light_part part[2]; /* head, tail */
    double least = INFINITY, most = 0, logarithm[CHUNK];
    size_t underflowed = row->base->vocabulary - row->positive;
    look_at_light(row, part);
    for (size_t first = 0; first < row->count; first += CHUNK) {
        size_t n = row->count - first < CHUNK ? row->count - first : CHUNK;
        const double *q = row->q + first;
        sg_vec_log(n, q, logarithm);
        for (size_t e = 0; e < n; e++) {
            if (!(q[e] > 0))
                continue;
            light_part *to = &part[(size_t)row->token[first + e] >= row->base->head];
            underflowed--;
            to->mass += q[e];
            to->mass_log += q[e] * logarithm[e];
            to->square += q[e] * q[e];
            most = q[e] > most ? q[e] : most;
            least = q[e] < least ? q[e] : least;
        }
    }
    double top, bottom;
    sg_light_row_extremes(row, &top, &bottom);
    most = top > most ? top : most;
    least = bottom > 0 && bottom < least ? bottom : least;
    const light_part *head = &part[0], *tail = &part[1];
    double total = head->mass + tail->mass, log_total = sg_log(total);
    double entropy = log_total - (head->mass_log + tail->mass_log) / total;
    double tail_part = (tail->mass * log_total - tail->mass_log) / total;
    return (sg_row_observation){
        .entropy = entropy < 0 ? 0 : entropy,
        .head_entropy = sg_log(head->mass) - head->mass_log / head->mass,
        .tail_mass = tail->mass / total,
        .tail_entropy_share = entropy > 0 ? fmin(fmax(tail_part / entropy, 0), 1) : 0,
        .collision = (head->square + tail->square) / (total * total),
        .max_prob = most / total,
        .logit_range = sg_log(most / least),
        .underflowed = underflowed,
    };
}

/* exp(d) - 1 - d without cancellation. */
static double exp_excess(double d)
{
    if (!(fabs(d) < 0.34))
        return expm1(d) - d;
    uint64_t n;
    double r, p = sg_exp_polynomial(d, &r, &n);
    return r * r * p;
}

/* Sums of one update over a set of tokens; p the old probability, d the change of the logit. */
typedef struct light_change {
    double mass, collision, touched_norm2; /* free sum p, free sum p^2, sampled gradients squared */
    double first, excess, reverse, norm2;  /* sum p d, p (e^d - 1 - d), p (d e^d - e^d + 1), d^2 */
    double most;                           /* greatest d of a free token, at least 0 */
} light_change;

/* Light tokens move by d = -a x / y: sums of d^j p are power series again. */
static void change_of_light(const sg_light_row *row, double kappa, light_change *sum)
{
    double scale = row->base->scale, moment[9], power_of[TERMS], next[TERMS];
    memcpy(power_of, row->inverse, sizeof power_of);
    for (size_t j = 1; j <= 8; j++) { /* moment[j] = sum (q / scale)^j */
        moment[j] = sg_light_contract(power_of, row->sums[0].power, j - 1) +
                    sg_light_contract(power_of, row->sums[1].power, j - 1);
        sg_light_multiply(power_of, row->inverse, next);
        memcpy(power_of, next, sizeof power_of);
    }
    double unit = scale / row->total, a = -kappa * scale;
    sum->mass += unit * moment[1];
    sum->collision += unit * unit * moment[2];
    sum->norm2 += a * a * moment[2];
    sum->first += unit * a * moment[2];
    double term = unit * a; /* unit a^j / j! */
    for (size_t j = 2; j <= 7; j++) {
        term *= a / (double)j;
        sum->excess += term * moment[j + 1];
        sum->reverse += (double)(j - 1) * term * moment[j + 1];
    }
}

sg_row_change sg_light_row_change(sg_light_row *row, double lr, double push, size_t n,
                                  const int32_t *slots)
{
    double kappa = lr * push / row->total, top, bottom;
    light_change sum = {0};
    change_of_light(row, kappa, &sum);
    if (kappa < 0) {
        sg_light_row_extremes(row, &top, &bottom);
        sum.most = -kappa * top;
    }
    for (size_t e = 0; e < row->count; e++) {
        bool sampled = false;
        for (size_t j = 0; j < n && !sampled; j++)
            sampled = slots[j] == (int32_t)e;
        double p = row->q[e] / row->total, d = row->move[e] - kappa * row->q[e], x = exp_excess(d);
        double gradient = d / lr;
        if (sampled) {
            sum.touched_norm2 += gradient * gradient;
        } else {
            sum.mass += p;
            sum.collision += p * p;
            sum.most = d > sum.most ? d : sum.most;
        }
        sum.first += p * d;
        sum.excess += p * x;
        sum.reverse += p * (d * (x + d) - x);
        sum.norm2 += d * d;
    }
    /* Every term is of second order in d, none is a difference of first-order ones. */
    double x = sum.first + sum.excess;
    double excess = x > -0.29 && x < 0.41 ? sg_log_excess(x) : sg_log(1 + x) - x;
    double forward = excess + sum.excess;
    double backward = sum.reverse / (1 + x) - excess - x * x / (1 + x);
    return (sg_row_change){
        .kl_old_new = forward < 0 ? 0 : forward,
        .kl_new_old = backward < 0 ? 0 : backward,
        .grad_norm2 = push * push * sum.collision + sum.touched_norm2,
        .delta_norm2 = sum.norm2,
        .diffuse_push = push,
        .upward_push = push < 0 ? -push * sum.mass : 0,
        .max_unsampled_push = sum.most,
    };
}
