/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels of a tree's rows, compiled once per instruction set. Loops run over the lanes of a tile, which are
 * independent of each other, so that the compiler makes vector code of them. */
#include "backend/cpu/tree_rows.h"
#include "backend/tree_rows_math.h"
#include "core/vec_math.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)
#define SG_STRING(a) #a
#define SG_NAME_OF(a) "cpu/" SG_STRING(a)

static void read_f32(size_t n, const void *from, double *restrict x)
{
    const float *restrict y = from;
    for (size_t i = 0; i < n; i++)
        x[i] = (double)y[i];
}

static void read_f64(size_t n, const void *from, double *restrict x)
{
    memcpy(x, from, n * sizeof *x);
}

static void write_f32(size_t n, const double *restrict x, void *to)
{
    float *restrict y = to;
    for (size_t i = 0; i < n; i++)
        y[i] = (float)x[i];
}

static void write_f64(size_t n, const double *restrict x, void *to)
{
    memcpy(to, x, n * sizeof *x);
}

static void add(size_t n, const double *restrict y, double *restrict x)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static size_t lanes_from(size_t at, size_t n)
{
    return n - at < SG_TREE_LANES ? n - at : SG_TREE_LANES;
}

static double add_lanes(double lane[SG_TREE_LANES])
{
    double sum = 0;
    for (size_t half = 16; half > 0; half /= 2)
        for (size_t group = 0; group < SG_TREE_LANES; group += 32)
            for (size_t l = 0; l < half; l++)
                lane[group + l] += lane[group + l + half];
    sum = lane[0];
    for (size_t group = 32; group < SG_TREE_LANES; group += 32)
        sum += lane[group];
    return sum;
}

static double greatest_of(const double lane[SG_TREE_LANES], double least)
{
    for (size_t l = 0; l < SG_TREE_LANES; l++)
        least = lane[l] > least ? lane[l] : least;
    return least;
}

static void weigh(size_t n, const double *z, double *peak, double *sum)
{
    double lane[SG_TREE_LANES];
    for (size_t l = 0; l < SG_TREE_LANES; l++)
        lane[l] = -INFINITY;
    for (size_t at = 0; at < n; at += SG_TREE_LANES)
        for (size_t l = 0, m = lanes_from(at, n); l < m; l++)
            lane[l] = z[at + l] > lane[l] ? z[at + l] : lane[l];
    *peak = greatest_of(lane, -INFINITY);
    double base = sg_tree_base(*peak);
    memset(lane, 0, sizeof lane);
    for (size_t at = 0; at < n; at += SG_TREE_LANES)
        for (size_t l = 0, m = lanes_from(at, n); l < m; l++)
            lane[l] += sg_exp(z[at + l] - base);
    *sum = add_lanes(lane);
}

static void weights(size_t n, const double *z, double offset, double *weight, double *piece)
{
    for (size_t i = 0; i < n; i++)
        weight[i] = sg_exp(z[i] - offset);
    for (size_t at = 0, k = 0; at < n; at += SG_TREE_PIECE, k++) {
        piece[k] = 0;
        for (size_t i = at; i < n && i < at + SG_TREE_PIECE; i++)
            piece[k] += weight[i];
    }
}

static void gradient(size_t n, double log_norm, double diffuse, double *restrict p,
                     double *restrict g)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = sg_exp(p[i] - log_norm);
        g[i] = -diffuse * p[i];
    }
}

static double norm2(size_t n, const double *x)
{
    double lane[SG_TREE_LANES] = {0};
    for (size_t at = 0; at < n; at += SG_TREE_LANES)
        for (size_t l = 0, m = lanes_from(at, n); l < m; l++)
            lane[l] += x[at + l] * x[at + l];
    return add_lanes(lane);
}

static void optimise(sg_optimizer_kind kind, const sg_rule_numbers *numbers, size_t n,
                     double *restrict g, double *restrict m, double *restrict v,
                     const double *restrict theta)
{
    sg_rule_f64 rule = sg_rule_of_f64(numbers);
    if (kind == SG_SGD)
        for (size_t i = 0; i < n; i++)
            g[i] *= rule.factor;
    else if (kind == SG_MOMENTUM || kind == SG_COUPLED_ADAM)
        for (size_t i = 0; i < n; i++)
            g[i] = sg_rule_momentum_f64(rule, g[i], &m[i]);
    else
        for (size_t i = 0; i < n; i++)
            g[i] = sg_rule_adam_f64(rule, g[i], &m[i], &v[i], theta[i]);
}

static void compare(size_t n, const double *p, const double *delta, const double *drift,
                    const double *mark, sg_tree_sums *sums)
{
    double first[SG_TREE_LANES] = {0}, excess[SG_TREE_LANES] = {0}, reverse[SG_TREE_LANES] = {0},
           square[SG_TREE_LANES] = {0}, mass[SG_TREE_LANES] = {0}, most[SG_TREE_LANES] = {0};
    for (size_t at = 0; at < n; at += SG_TREE_LANES)
        for (size_t l = 0, m = lanes_from(at, n); l < m; l++) {
            sg_tree_sums s = {0, first[l], excess[l], reverse[l], square[l], mass[l], most[l]};
            sg_tree_compare(&s, p[at + l], delta[at + l], drift[at + l], mark[at + l]);
            first[l] = s.first;
            excess[l] = s.excess;
            reverse[l] = s.reverse;
            square[l] = s.norm2;
            mass[l] = s.free_mass;
            most[l] = s.max_free;
        }
    *sums = (sg_tree_sums){.first = add_lanes(first),
                           .excess = add_lanes(excess),
                           .reverse = add_lanes(reverse),
                           .norm2 = add_lanes(square),
                           .free_mass = add_lanes(mass),
                           .max_free = greatest_of(most, 0)};
}

static void look(size_t n, const double *z, double log_norm, size_t head, sg_tree_look *found)
{
    double head_mass[SG_TREE_LANES] = {0}, head_plogp[SG_TREE_LANES] = {0},
           tail_mass[SG_TREE_LANES] = {0}, tail_plogp[SG_TREE_LANES] = {0},
           squares[SG_TREE_LANES] = {0}, under[SG_TREE_LANES] = {0}, high[SG_TREE_LANES],
           low[SG_TREE_LANES];
    for (size_t l = 0; l < SG_TREE_LANES; l++) {
        high[l] = -INFINITY;
        low[l] = INFINITY;
    }
    for (size_t at = 0; at < n; at += SG_TREE_LANES)
        for (size_t l = 0, m = lanes_from(at, n); l < m; l++) {
            sg_tree_look s = {head_mass[l], head_plogp[l], tail_mass[l], tail_plogp[l],
                              squares[l],   high[l],       low[l],       under[l]};
            double log_p = z[at + l] - log_norm;
            sg_tree_look_at(&s, log_p, sg_exp(log_p), at + l < head ? 1 : 0);
            head_mass[l] = s.head_mass;
            head_plogp[l] = s.head_plogp;
            tail_mass[l] = s.tail_mass;
            tail_plogp[l] = s.tail_plogp;
            squares[l] = s.squares;
            high[l] = s.highest;
            low[l] = s.lowest;
            under[l] = s.underflowed;
        }
    for (size_t l = 0; l < SG_TREE_LANES; l++)
        low[l] = -low[l];
    *found = (sg_tree_look){.head_mass = add_lanes(head_mass),
                            .head_plogp = add_lanes(head_plogp),
                            .tail_mass = add_lanes(tail_mass),
                            .tail_plogp = add_lanes(tail_plogp),
                            .squares = add_lanes(squares),
                            .highest = greatest_of(high, -INFINITY),
                            .lowest = -greatest_of(low, -INFINITY),
                            .underflowed = add_lanes(under)};
}

const sg_tree_kernels SG_EXPAND(sg_tree_kernels_, SG_ISA) = {
    SG_NAME_OF(SG_ISA),
    {[SG_FP32] = read_f32, [SG_FP64] = read_f64},
    {[SG_FP32] = write_f32, [SG_FP64] = write_f64},
    add,
    weigh,
    weights,
    gradient,
    norm2,
    optimise,
    compare,
    look,
};
