/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_LOOK_H
#define SG_LIGHT_LOOK_H

#include "backend/light_row.h"
#include "backend/rows_math.h"

/* What a light row and its next update look like: light tokens through power series, explicit ones
 * one by one. The team calls these functions. */

/* Where a team works something out: shared by its lanes. */
enum { SG_LIGHT_SUMS = 8, SG_LIGHT_SHARE = SG_TEAM_LANES < 8 ? 8 / SG_TEAM_LANES : 1 };

typedef struct sg_light_room {
    double term[SG_LIGHT_FAN][SG_LIGHT_SUMS], sum[SG_LIGHT_SUMS], value[SG_LIGHT_FAN];
    double series[3][SG_LIGHT_TERMS], moment[9];
} sg_light_room;

/* Cauchy product of two series. */
SG_TEAM_CODE void sg_light_multiply(const double *a, const double *b, double *product)
{
    for (size_t k = SG_TEAM_LANE; k < SG_LIGHT_TERMS; k += SG_TEAM_LANES) {
        double sum = 0;
        for (size_t j = 0; j <= k; j++)
            sum += a[j] * b[k - j];
        product[k] = sum;
    }
    SG_TEAM_WAIT();
}

/* log y, from (log y)' = y' / y, coefficient by coefficient. */
SG_TEAM_CODE void sg_light_log(const double *s, const double *inverse, double *logarithm)
{
    for (size_t k = SG_TEAM_LANE; k < SG_LIGHT_TERMS; k += SG_TEAM_LANES) {
        double sum = 0;
        for (size_t j = 1; j <= SG_LIGHT_ORDER && j <= k; j++)
            sum += (double)j * s[j - 1] * inverse[k - j];
        logarithm[k] = k > 0 ? sum / (double)k : 0;
    }
    SG_TEAM_WAIT();
}

/* Adds the terms of n tokens to room->sum, each sum in the order of the tokens. The next terms must
 * wait. */
SG_TEAM_CODE void sg_light_add_terms(sg_light_room *room, size_t n)
{
    SG_TEAM_WAIT();
    size_t first = SG_TEAM_LANE * SG_LIGHT_SHARE;
    if (first >= SG_LIGHT_SUMS)
        return;
    double sum[SG_LIGHT_SHARE];
    for (size_t j = 0; j < SG_LIGHT_SHARE; j++)
        sum[j] = room->sum[first + j];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < SG_LIGHT_SHARE; j++)
            sum[j] += room->term[i][first + j];
    for (size_t j = 0; j < SG_LIGHT_SHARE; j++)
        room->sum[first + j] = sum[j];
}

/* Tokens of the block that starts at this one. */
SG_TEAM_CODE size_t sg_light_block_size(const sg_light_row *row, size_t first)
{
    return row->count - first < SG_LIGHT_FAN ? row->count - first : (size_t)SG_LIGHT_FAN;
}

/* ---- The row as it is ---- */

/* sum pi^2; the leader's. */
SG_TEAM_CODE double sg_light_row_collision(const sg_light_row *row, sg_light_room *room)
{
    double sum = 0, unit = row->base->scale / row->total;
    sg_light_multiply(row->inverse, row->inverse, room->series[0]);
    for (size_t i = 0; i < 2; i++)
        sum += unit * unit * sg_light_contract(room->series[0], row->sums[i].power, 1);
    for (size_t first = 0; first < row->count; first += SG_LIGHT_FAN) {
        size_t n = sg_light_block_size(row, first);
        for (size_t i = SG_TEAM_LANE; i < n; i += SG_TEAM_LANES)
            room->value[i] = row->q[first + i] / row->total;
        SG_TEAM_WAIT();
        for (size_t i = 0; i < n && SG_TEAM_LEADS; i++)
            sum += room->value[i] * room->value[i];
        SG_TEAM_WAIT();
    }
    return sum;
}

/* The light tokens of head or tail, from the series of 1/y, log(y)/y and 1/y^2. */
SG_TEAM_CODE void sg_light_look_at_part(const sg_light_row *row, const sg_light_sums *sums,
                                        const sg_light_room *room, double *mass, double *mass_log,
                                        double *square)
{
    double scale = row->base->scale;
    *mass = scale * sg_light_contract(row->inverse, sums->power, 0);
    /* log q = log scale + log x - log y */
    *mass_log =
        sg_log(scale) * *mass + scale * (sg_light_contract(row->inverse, sums->power_log, 0) -
                                         sg_light_contract(room->series[1], sums->power, 0));
    *square = scale * scale * sg_light_contract(room->series[2], sums->power, 1);
}

SG_TEAM_CODE void sg_light_look_at_token(sg_row_look *look, double *square, double q,
                                         double logarithm, bool tail)
{
    if (!(q > 0))
        return;
    *(tail ? &look->tail_mass : &look->head_mass) += q;
    *(tail ? &look->tail_mass_log : &look->head_mass_log) += q * logarithm;
    square[tail] += q * q;
    look->positive++;
    look->max = q > look->max ? q : look->max;
    look->min = q < look->min ? q : look->min;
}

/* The extremes are known. *observation is the leader's. */
SG_TEAM_CODE void sg_light_row_observe(const sg_light_row *row, sg_light_room *room,
                                       sg_row_observation *observation)
{
    sg_row_look look;
    double square[2];
    sg_light_log(row->s, row->inverse, room->series[0]);
    sg_light_multiply(row->inverse, room->series[0], room->series[1]);
    sg_light_multiply(row->inverse, row->inverse, room->series[2]);
    sg_light_look_at_part(row, &row->sums[0], room, &look.head_mass, &look.head_mass_log,
                          &square[0]);
    sg_light_look_at_part(row, &row->sums[1], room, &look.tail_mass, &look.tail_mass_log,
                          &square[1]);
    sg_light_row_extremes(row, &look.max, &look.min);
    look.min = look.min > 0 ? look.min : (double)INFINITY;
    look.positive = row->positive;
    for (size_t first = 0; first < row->count; first += SG_LIGHT_FAN) {
        size_t n = sg_light_block_size(row, first);
        sg_team_log(n, row->q + first, room->value);
        SG_TEAM_WAIT();
        for (size_t i = 0; i < n && SG_TEAM_LEADS; i++)
            sg_light_look_at_token(&look, square, row->q[first + i], room->value[i],
                                   (size_t)row->token[first + i] >= row->base->head);
        SG_TEAM_WAIT();
    }
    if (SG_TEAM_LEADS) {
        look.mass = look.head_mass + look.tail_mass;
        look.mass_log = look.head_mass_log + look.tail_mass_log;
        look.square = square[0] + square[1];
        *observation = sg_row_observation_of(&look, row->base->vocabulary);
    }
    SG_TEAM_WAIT();
}

/* ---- What the update in row->move is about to do ---- */

/* Columns of room->sum: the sums of sg_row_sums (rows_math.h), in its order. */
enum {
    SG_LIGHT_FREE_MASS,
    SG_LIGHT_FREE_COLLISION,
    SG_LIGHT_TOUCHED,
    SG_LIGHT_FIRST,
    SG_LIGHT_EXCESS,
    SG_LIGHT_REVERSE,
    SG_LIGHT_NORM2,
    SG_LIGHT_CHANGES,
};

/* Light tokens move by d = -a x / y: sums of d^j p are power series again. */
SG_TEAM_CODE void sg_light_change_of_light(const sg_light_row *row, double kappa,
                                           sg_light_room *room)
{
    const double *power_of = row->inverse;
    for (size_t j = 1; j <= 8; j++) { /* moment[j] = sum (q / scale)^j */
        if (SG_TEAM_LEADS)
            room->moment[j] = sg_light_contract(power_of, row->sums[0].power, j - 1) +
                              sg_light_contract(power_of, row->sums[1].power, j - 1);
        sg_light_multiply(power_of, row->inverse, room->series[j % 2]);
        power_of = room->series[j % 2];
    }
    if (!SG_TEAM_LEADS)
        return;
    const double *moment = room->moment;
    double scale = row->base->scale, unit = scale / row->total, a = -kappa * scale;
    double *sum = room->sum, term = unit * a; /* unit a^j / j! */
    sum[SG_LIGHT_FREE_MASS] = unit * moment[1];
    sum[SG_LIGHT_FREE_COLLISION] = unit * unit * moment[2];
    sum[SG_LIGHT_TOUCHED] = 0;
    sum[SG_LIGHT_FIRST] = unit * a * moment[2];
    sum[SG_LIGHT_EXCESS] = sum[SG_LIGHT_REVERSE] = 0;
    sum[SG_LIGHT_NORM2] = a * a * moment[2];
    sum[SG_LIGHT_CHANGES] = 0; /* not a sum: its greatest term is wanted */
    for (size_t j = 2; j <= 7; j++) {
        term *= a / (double)j;
        sum[SG_LIGHT_EXCESS] += term * moment[j + 1];
        sum[SG_LIGHT_REVERSE] += (double)(j - 1) * term * moment[j + 1];
    }
}

SG_TEAM_CODE void sg_light_change_of_explicit(const sg_light_row *row, double kappa, double lr,
                                              bool sampled, size_t slot, double *term)
{
    double p = row->q[slot] / row->total, d = row->move[slot] - kappa * row->q[slot];
    double x = sg_exp_excess(d), gradient = d / lr;
    term[SG_LIGHT_FREE_MASS] = sampled ? 0 : p;
    term[SG_LIGHT_FREE_COLLISION] = sampled ? 0 : p * p;
    term[SG_LIGHT_TOUCHED] = sampled ? gradient * gradient : 0;
    term[SG_LIGHT_FIRST] = p * d;
    term[SG_LIGHT_EXCESS] = p * x;
    term[SG_LIGHT_REVERSE] = p * (d * (x + d) - x);
    term[SG_LIGHT_NORM2] = d * d;
    term[SG_LIGHT_CHANGES] = sampled ? 0 : d;
}

/* The extremes are known when kappa < 0. *change is the leader's. */
SG_TEAM_CODE void sg_light_row_change(const sg_light_row *row, double lr, double push, size_t n,
                                      const int32_t *slots, sg_light_room *room,
                                      sg_row_change *change)
{
    double kappa = lr * push / row->total, most = 0, top, bottom;
    sg_light_change_of_light(row, kappa, room);
    if (kappa < 0) {
        sg_light_row_extremes(row, &top, &bottom);
        most = -kappa * top;
    }
    for (size_t first = 0; first < row->count; first += SG_LIGHT_FAN) {
        size_t some = sg_light_block_size(row, first);
        for (size_t i = SG_TEAM_LANE; i < some; i += SG_TEAM_LANES)
            sg_light_change_of_explicit(row, kappa, lr, false, first + i, room->term[i]);
        SG_TEAM_WAIT();
        for (size_t j = SG_TEAM_LANE; j < n; j += SG_TEAM_LANES)
            if ((size_t)slots[j] - first < some)
                sg_light_change_of_explicit(row, kappa, lr, true, (size_t)slots[j],
                                            room->term[(size_t)slots[j] - first]);
        sg_light_add_terms(room, some);
        for (size_t i = 0; i < some && SG_TEAM_LEADS; i++) {
            double d = room->term[i][SG_LIGHT_CHANGES];
            most = d > most ? d : most;
        }
        SG_TEAM_WAIT();
    }
    if (SG_TEAM_LEADS) {
        const double *sum = room->sum;
        sg_row_sums sums = {sum[SG_LIGHT_FREE_MASS], sum[SG_LIGHT_FREE_COLLISION],
                            sum[SG_LIGHT_TOUCHED],   sum[SG_LIGHT_FIRST],
                            sum[SG_LIGHT_EXCESS],    sum[SG_LIGHT_REVERSE],
                            sum[SG_LIGHT_NORM2],     most};
        sg_row_job job;
        job.push = push;
        *change = sg_row_change_of(&job, &sums);
    }
    SG_TEAM_WAIT();
}

#endif
