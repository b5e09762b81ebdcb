/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One run in one precision: included by bandits.simd.c, hence no include guard. */
#include "backend/cpu/light_gates.h"

typedef SG_REAL SG_NAME(lanes) __attribute__((vector_size(SG_BANDIT_LANES * sizeof(SG_REAL)),
                                              aligned(sizeof(SG_REAL)), may_alias));

/* What a run holds: the row, then the samples of a step. */
typedef struct SG_NAME(bandit_state) {
    size_t n;                        /* cells of a row */
    SG_REAL *q, *cumulative;         /* [n], [tall * 16] */
    SG_REAL *old, *advantage, *push; /* [padded] */
    SG_REAL *live;                   /* [padded] 1, and 0 for the padding */
    SG_INDEX *at;                    /* [padded] cell of the arm */
    SG_REAL total;                   /* sum q */
} SG_NAME(bandit_state);

/* Sum of 16 numbers by halves. */
static inline SG_REAL SG_NAME(lanes_total)(const SG_REAL *lane)
{
    SG_REAL eight[8], four[4];
#pragma omp simd
    for (size_t l = 0; l < 8; l++)
        eight[l] = lane[l] + lane[l + 8];
#pragma omp simd
    for (size_t l = 0; l < 4; l++)
        four[l] = eight[l] + eight[l + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

static SG_REAL SG_NAME(array_total)(const SG_REAL *x, size_t n)
{
    const SG_NAME(lanes) *v = (const SG_NAME(lanes) *)(const void *)x;
    SG_NAME(lanes) sum = {0};
    for (size_t i = 0; i < n / SG_BANDIT_LANES; i++)
        sum += v[i];
    return SG_NAME(lanes_total)((const SG_REAL *)&sum);
}

/* Running sums of each lane; J. `before` gets the mass of the lanes before each. */
static SG_REAL SG_NAME(accumulate)(SG_NAME(bandit_state) * s, const SG_REAL *reward,
                                   SG_REAL *before)
{
    const SG_NAME(lanes) *q = (const SG_NAME(lanes) *)(const void *)s->q;
    const SG_NAME(lanes) *r = (const SG_NAME(lanes) *)(const void *)reward;
    SG_NAME(lanes) *c = (SG_NAME(lanes) *)(void *)s->cumulative;
    SG_NAME(lanes) sum = {0}, gain = {0};
    for (size_t i = 0; i < s->n / SG_BANDIT_LANES; i++) {
        sum += q[i];
        gain += q[i] * r[i];
        c[i] = sum;
    }
    before[0] = 0;
    for (size_t l = 0; l < SG_BANDIT_LANES; l++)
        before[l + 1] = before[l] + sum[l];
    s->total = before[SG_BANDIT_LANES];
    return SG_NAME(lanes_total)((const SG_REAL *)&gain) / s->total;
}

/* Inverse CDF: the lane whose mass contains the target, then the group inside it. */
static void SG_NAME(draw)(SG_NAME(bandit_state) * s, const sg_bandit_job *job,
                          const SG_REAL *uniform, const SG_REAL *before)
{
    const SG_REAL *cumulative = s->cumulative;
    const SG_REAL *masses = cumulative + s->n - SG_BANDIT_LANES; /* of whole lanes */
    for (size_t first = 0; first < job->padded; first += SG_BANDIT_LANES) {
        SG_REAL target[SG_BANDIT_LANES], rest[SG_BANDIT_LANES];
        SG_INDEX lane[SG_BANDIT_LANES] = {0}, group[SG_BANDIT_LANES] = {0};
#pragma omp simd
        for (size_t j = 0; j < SG_BANDIT_LANES; j++)
            target[j] = uniform[first + j] * s->total;
        for (size_t l = 1; l < SG_BANDIT_LANES; l++)
#pragma omp simd
            for (size_t j = 0; j < SG_BANDIT_LANES; j++)
                lane[j] += before[l] <= target[j];
#pragma omp simd
        for (size_t j = 0; j < SG_BANDIT_LANES; j++) {
            SG_REAL mass = masses[lane[j]] * SG_BELOW_ONE;
            rest[j] = target[j] - before[lane[j]];
            rest[j] = rest[j] < mass ? rest[j] : mass; /* never past the last arm of the lane */
        }
        for (SG_INDEX half = (SG_INDEX)job->tall / 2; half > 0; half /= 2)
#pragma omp simd
            for (size_t j = 0; j < SG_BANDIT_LANES; j++) {
                SG_REAL sum = cumulative[(group[j] + half - 1) * SG_BANDIT_LANES + lane[j]];
                group[j] += (SG_INDEX)(sum <= rest[j]) * half;
            }
#pragma omp simd
        for (size_t j = 0; j < SG_BANDIT_LANES; j++)
            s->at[first + j] = group[j] * SG_BANDIT_LANES + lane[j];
    }
}

/* A_j of the drawn arms; 0 in a group of equal rewards and for the padding. */
static void SG_NAME(advantages)(SG_NAME(bandit_state) * s, const sg_bandit_job *job,
                                const SG_REAL *reward)
{
    enum { L = SG_BANDIT_LANES };
    size_t n = job->bandits->samples;
    SG_REAL sum[L] = {0}, square[L] = {0}, differs[L] = {0}, one = reward[s->at[0]];
    for (size_t first = 0; first < job->padded; first += L) {
        SG_REAL *a = s->advantage + first, *live = s->live + first;
#pragma omp simd
        for (size_t l = 0; l < L; l++) {
            a[l] = reward[s->at[first + l]];
            s->old[first + l] = s->q[s->at[first + l]];
        }
#pragma omp simd
        for (size_t l = 0; l < L; l++) {
            a[l] *= live[l];
            sum[l] += a[l];
            differs[l] += a[l] != one ? live[l] : 0;
        }
    }
    SG_REAL mean = SG_NAME(lanes_total)(sum) / (SG_REAL)n, factor = 1;
    for (size_t first = 0; first < job->padded; first += L) {
        SG_REAL *a = s->advantage + first, *live = s->live + first;
#pragma omp simd
        for (size_t l = 0; l < L; l++) {
            a[l] = (a[l] - mean) * live[l];
            square[l] += a[l] * a[l];
        }
    }
    if (job->bandits->advantage == SG_ADVANTAGE_GRPO)
        factor = 1 / (SG_MATH(sqrt)(SG_NAME(lanes_total)(square) / (SG_REAL)(n - 1)) +
                      (SG_REAL)job->bandits->eps);
    else if (job->bandits->advantage == SG_ADVANTAGE_RLOO)
        factor = (SG_REAL)n / (SG_REAL)(n - 1);
    if (SG_NAME(lanes_total)(differs) == 0)
        memset(s->advantage, 0, job->padded * sizeof *s->advantage);
    else
        for (size_t j = 0; j < job->padded; j++)
            s->advantage[j] *= factor;
}

static inline bool SG_NAME(needs_log)(sg_gate_kind kind)
{
    return kind != SG_GATE_SAPO && kind != SG_GATE_HARD && kind != SG_GATE_UNCLIPPED &&
           kind != SG_GATE_REINFORCE && kind != SG_GATE_SPO && kind != SG_GATE_CISPO;
}

/* Steps whose |change of a logit| may exceed 32: through logarithms, with the peak at q = 1. */
static void SG_NAME(far_pass)(SG_NAME(bandit_state) * s, size_t samples, SG_REAL kappa)
{
    SG_REAL peak = (SG_REAL)-INFINITY, total = 0, *z = s->cumulative; /* not in use now */
    for (size_t i = 0; i < s->n; i++)
        z[i] = SG_MATH(log)(s->q[i]) - kappa * s->q[i];
    for (size_t j = 0; j < samples; j++)
        z[s->at[j]] += s->push[j];
    for (size_t i = 0; i < s->n; i++)
        peak = z[i] > peak ? z[i] : peak;
    for (size_t i = 0; i < s->n; i++) {
        s->q[i] = SG_MATH(exp)(z[i] - peak);
        total += s->q[i];
    }
    s->total = total;
}

/* q *= exp(-kappa q), q of sampled arms times exp(push) each, and the new total. W is the sum of
 * the pushes, so |kappa q| <= |W|; size is the sum of their absolute values. */
static void SG_NAME(near_pass)(SG_NAME(bandit_state) * s, size_t padded, SG_REAL kappa,
                               SG_REAL push, SG_REAL size)
{
    enum { L = SG_BANDIT_LANES };
    SG_NAME(lanes) sum = {0};
    SG_REAL factor[L], change = 0;
    bool small = SG_MATH(fabs)(push) <= (SG_REAL)0x1p-5;
    for (size_t i = 0; i < s->n; i += L) {
        SG_REAL *restrict q = s->q + i;
        if (small)
#pragma omp simd
            for (size_t l = 0; l < L; l++)
                q[l] = q[l] + q[l] * SG_NAME(exp_less_one)(-kappa * q[l]);
        else
#pragma omp simd
            for (size_t l = 0; l < L; l++)
                q[l] = SG_SCALE_EXP_NEAR(q[l], -kappa * q[l]);
        sum += *(const SG_NAME(lanes) *)(const void *)q;
    }
    for (size_t first = 0; first < padded; first += L) {
#pragma omp simd
        for (size_t l = 0; l < L; l++)
            factor[l] = SG_MATH(exp)(s->push[first + l]);
        for (size_t l = 0; l < L; l++) { /* an arm may be there more than once */
            SG_REAL *q = s->q + s->at[first + l], before = *q;
            *q = before * factor[l];
            change += *q - before;
        }
    }
    /* Without cancellation to speak of as long as no arm moves far. */
    s->total = size <= 1 ? SG_NAME(lanes_total)((const SG_REAL *)&sum) + change
                         : SG_NAME(array_total)(s->q, s->n);
}

/* Keeps sum q in [2^-20, 2^20] by an exact power of two. */
static void SG_NAME(rescale)(SG_NAME(bandit_state) * s)
{
    if (!(s->total < (SG_REAL)0x1p-20 || s->total > (SG_REAL)0x1p20) ||
        s->total > (SG_REAL)0x1p120 || !(s->total > (SG_REAL)0x1p-120))
        return;
    SG_REAL power = (SG_REAL)ldexp(1.0, -ilogb((double)s->total));
    for (size_t i = 0; i < s->n; i++)
        s->q[i] *= power;
    s->total *= power;
}

/* One update; `total` is sum q when the arms were drawn. */
static void SG_NAME(update)(SG_NAME(bandit_state) * s, const sg_bandit_job *job,
                            const sg_bandit *bandit, SG_REAL total)
{
    enum { L = SG_BANDIT_LANES };
    sg_gate_kind kind = bandit->objective.gate;
    SG_REAL scale = total / s->total, sum[L] = {0}, size[L] = {0};
    SG_REAL factor = (SG_REAL)(bandit->lr / (double)job->bandits->samples);
    for (size_t first = 0; first < job->padded; first += L) {
        SG_REAL ratio[L], excess[L], log_ratio[L], logp_old[L] = {0}, c[L];
        const SG_REAL *old = s->old + first, *advantage = s->advantage + first;
        const SG_REAL *live = s->live + first;
        SG_REAL *push = s->push + first;
#pragma omp simd
        for (size_t l = 0; l < L; l++)
            ratio[l] = s->q[s->at[first + l]];
#pragma omp simd
        for (size_t l = 0; l < L; l++) {
            ratio[l] = ratio[l] * scale / old[l];
            excess[l] = ratio[l] - 1;
            log_ratio[l] = excess[l]; /* NaN where the ratio is */
        }
        if (SG_NAME(needs_log)(kind))
#pragma omp simd
            for (size_t l = 0; l < L; l++)
                log_ratio[l] = SG_MATH(log)(ratio[l]);
        if (kind == SG_GATE_DPPO_TV)
#pragma omp simd
            for (size_t l = 0; l < L; l++)
                logp_old[l] = SG_MATH(log)(old[l] / total);
        SG_NAME(sample_gate)
        (kind, &bandit->objective.parameter, L, log_ratio, ratio, excess, logp_old, advantage, c);
#pragma omp simd
        for (size_t l = 0; l < L; l++) {
            /* The padding has an arm whose coefficient may overflow. */
            push[l] = live[l] != 0 ? factor * c[l] * advantage[l] : 0;
            sum[l] += push[l];
            size[l] += SG_MATH(fabs)(push[l]);
        }
    }
    SG_REAL push = SG_NAME(lanes_total)(sum), kappa = push / s->total;
    SG_REAL sizes = SG_NAME(lanes_total)(size);
    if (sizes <= 32)
        SG_NAME(near_pass)(s, job->padded, kappa, push, sizes);
    else
        SG_NAME(far_pass)(s, job->bandits->samples, kappa);
    SG_NAME(rescale)(s);
}

static void SG_NAME(state_init)(SG_NAME(bandit_state) * s, const sg_bandit_job *job, void *scratch)
{
    size_t cells = job->tall * SG_BANDIT_LANES, padded = job->padded;
    s->n = job->depth * SG_BANDIT_LANES;
    SG_REAL *at = scratch;
    s->q = at;
    s->cumulative = s->q + cells;
    s->old = s->cumulative + cells;
    s->advantage = s->old + padded;
    s->live = s->advantage + padded;
    s->push = s->live + padded;
    s->at = (SG_INDEX *)(void *)(s->push + padded);
    memcpy(s->q, job->start, s->n * sizeof *s->q);
    for (size_t j = 0; j < padded; j++)
        s->live[j] = j < job->bandits->samples ? 1 : 0;
    for (size_t i = s->n; i < cells; i++)
        s->cumulative[i] = (SG_REAL)INFINITY;
}

static void SG_NAME(bandit_run)(const sg_bandit_job *job, size_t run, void *scratch)
{
    const sg_bandits *bandits = job->bandits;
    const sg_bandit *bandit = &bandits->run[run];
    const SG_REAL *reward = job->reward, *uniform = job->uniform;
    double *value = job->value + run * (bandits->steps + 1);
    SG_REAL before[SG_BANDIT_LANES + 1];
    SG_NAME(bandit_state) s;
    SG_NAME(state_init)(&s, job, scratch);
    value[0] = (double)SG_NAME(accumulate)(&s, reward, before);
    uniform += (size_t)bandit->replicate * bandits->steps * job->padded;
    for (size_t t = 0; t < bandits->steps; t++) {
        SG_REAL total = s.total;
        SG_NAME(draw)(&s, job, uniform + t * job->padded, before);
        SG_NAME(advantages)(&s, job, reward);
        for (size_t k = 0; k < bandits->updates; k++)
            SG_NAME(update)(&s, job, bandit, total);
        value[t + 1] = (double)SG_NAME(accumulate)(&s, reward, before);
    }
    if (job->logits)
        for (size_t v = 0; v < bandits->arms; v++)
            job->logits[run * bandits->arms + v] =
                sg_log((double)s.q[v % job->depth * SG_BANDIT_LANES + v / job->depth]);
}
