/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels of the light/heavy split, compiled once per instruction set. */
#include <string.h>

#include "backend/cpu/light.h"
#include "backend/sample_maths.h"

#include "backend/cpu/light_gates.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

/* Eight lanes: one AVX-512 register. Sums over lanes always go this way. */
typedef double lanes __attribute__((vector_size(64), aligned(8), may_alias));

static double lanes_sum(const lanes *a)
{
    return (((*a)[0] + (*a)[4]) + ((*a)[2] + (*a)[6])) +
           (((*a)[1] + (*a)[5]) + ((*a)[3] + (*a)[7]));
}

static double sum_block(const double *x)
{
    const lanes *v = (const lanes *)(const void *)x;
    lanes t = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    return lanes_sum(&t);
}

static double light_step(size_t n, double *restrict q, double *restrict move, double kappa,
                         double *block)
{
    double best = 0;
    for (size_t b = 0; b < n; b += SG_LIGHT_FAN) {
        for (size_t i = b; i < b + SG_LIGHT_FAN; i++)
            q[i] = sg_scale_exp_near(q[i], move[i] - kappa * q[i]);
        memset(move + b, 0, SG_LIGHT_FAN * sizeof *move);
        block[b / SG_LIGHT_FAN] = sum_block(q + b);
    }
    /* The order of positive doubles is that of their bits; NaN is greater than any number. */
    int64_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t bits = (int64_t)sg_bits_of_double(q[i]);
        most = bits > most ? bits : most;
    }
    best = sg_double_of_bits((uint64_t)most);
    return best;
}

/* A few blocks at a time, added in double precision: the error grows with n / 4096. */
static void light_add_sums(size_t n, const double *q, double inverse_scale, sg_light_sums *sums)
{
    enum { CHUNK = SG_LIGHT_CHUNK };
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t m = n - first < CHUNK ? n - first : CHUNK;
        lanes power[SG_LIGHT_TERMS], power_log[SG_LIGHT_TERMS];
        memset(power, 0, sizeof power);
        memset(power_log, 0, sizeof power_log);
        double x[CHUNK], logarithm[CHUNK];
        size_t whole = (m + 7) / 8 * 8;
        for (size_t i = 0; i < m; i++)
            x[i] = q[first + i] * inverse_scale;
        for (size_t i = m; i < whole; i++)
            x[i] = 0;
        for (size_t i = 0; i < whole; i++) {
            double y = sg_log(x[i]);
            logarithm[i] = x[i] == 0 ? 0 : y;
        }
        for (size_t i = 0; i < whole; i += 8) {
            lanes value = *(const lanes *)(const void *)(x + i);
            lanes of_log = *(const lanes *)(const void *)(logarithm + i), term = value;
            for (size_t k = 0; k < SG_LIGHT_TERMS; k++) {
                power[k] += term;
                power_log[k] += term * of_log;
                term *= value;
            }
        }
        for (size_t k = 0; k < SG_LIGHT_TERMS; k++) {
            sums->power[k] += lanes_sum(&power[k]);
            sums->power_log[k] += lanes_sum(&power_log[k]);
        }
    }
}

static void light_carry(size_t n, const double *q, double inverse_scale, const double *s,
                        double factor, double *to)
{
    const double s1 = s[0], s2 = s[1], s3 = s[2], s4 = s[3];
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        double x = q[i] * inverse_scale;
        double y = 1 + x * (s1 + x * (s2 + x * (s3 + x * s4)));
        to[i] = q[i] * factor / y;
    }
}

static void light_fold(size_t n, const double *x, double *sum)
{
    size_t whole = n / SG_LIGHT_FAN;
    for (size_t b = 0; b < whole; b++)
        sum[b] = sum_block(x + b * SG_LIGHT_FAN);
    if (n % SG_LIGHT_FAN) {
        double last[SG_LIGHT_FAN] = {0};
        memcpy(last, x + whole * SG_LIGHT_FAN, n % SG_LIGHT_FAN * sizeof *x);
        sum[whole] = sum_block(last);
    }
}

static void light_gate(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                       const double *log_ratio, const double *logp_old, const double *advantage,
                       double *coefficient)
{
    enum { CHUNK = 64 };
    double ratio[CHUNK], excess[CHUNK];
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t m = n - first < CHUNK ? n - first : CHUNK;
        const double *d = log_ratio + first;
        for (size_t i = 0; i < m; i++)
            ratio[i] = sg_exp(d[i]);
        for (size_t i = 0; i < m; i++)
            excess[i] = sg_light_excess(d[i], ratio[i]);
        sample_gate_sample(kind, parameter, m, d, ratio, excess, logp_old + first,
                           advantage + first, coefficient + first);
    }
}

const sg_light_kernels SG_EXPAND(sg_light_kernels_, SG_ISA) = {light_step, light_add_sums,
                                                               light_carry, light_fold, light_gate};
