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
    SG_REAL fresh[3];                /* the gate at ratio 1 for A < 0, A = 0, A > 0 */
    SG_REAL sum, size;               /* of the pushes, of their absolute values */
} SG_NAME(bandit_state);

/* Sum of 16 numbers by halves. */
static inline SG_REAL SG_NAME(lanes_total)(const SG_REAL *lane)
{
    typedef SG_REAL eight __attribute__((vector_size(8 * sizeof(SG_REAL))));
    typedef SG_REAL four __attribute__((vector_size(4 * sizeof(SG_REAL))));
    eight low, high;
    memcpy(&low, lane, sizeof low);
    memcpy(&high, lane + 8, sizeof high);
    low += high;
    four left, right;
    memcpy(&left, &low, sizeof left);
    memcpy(&right, (const char *)&low + sizeof left, sizeof right);
    left += right;
    return (left[0] + left[2]) + (left[1] + left[3]);
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

/* to[j] = from[at[j]] among 16 numbers. */
static inline void SG_NAME(pick)(const SG_REAL *from, const SG_INDEX *at, SG_REAL *to)
{
#if SG_SHUFFLES
    typedef SG_INDEX indices
        __attribute__((vector_size(SG_BANDIT_LANES * sizeof(SG_INDEX)), may_alias));
    SG_NAME(lanes) source;
    indices which;
    memcpy(&source, from, sizeof source);
    memcpy(&which, at, sizeof which);
    source = __builtin_shuffle(source, which);
    memcpy(to, &source, sizeof source);
#else
    for (size_t j = 0; j < SG_BANDIT_LANES; j++)
        to[j] = from[at[j]];
#endif
}

#if SG_SHUFFLES
/* How many running sums of the lane are at most the rest: one by one, where a register can be permuted
 * by another, is faster than to search. */
static inline void SG_NAME(count_groups)(const SG_NAME(bandit_state) * s, const SG_INDEX *lane,
                                         const SG_REAL *rest, SG_INDEX *group)
{
    typedef SG_INDEX indices
        __attribute__((vector_size(SG_BANDIT_LANES * sizeof(SG_INDEX)), may_alias));
    const SG_NAME(lanes) *sums = (const SG_NAME(lanes) *)(const void *)s->cumulative;
    SG_NAME(lanes) target;
    indices which, count = {0};
    memcpy(&target, rest, sizeof target);
    memcpy(&which, lane, sizeof which);
    for (size_t g = 0; g < s->n / SG_BANDIT_LANES; g++)
        count -= __builtin_shuffle(sums[g], which) <= target;
    memcpy(group, &count, sizeof count);
}
#endif

/* Inverse CDF: the lane whose mass contains the target, then the group inside it. */
static void SG_NAME(draw)(SG_NAME(bandit_state) * s, const sg_bandit_job *job,
                          const SG_REAL *uniform, const SG_REAL *before)
{
    const SG_REAL *cumulative = s->cumulative;
    const SG_REAL *masses = cumulative + s->n - SG_BANDIT_LANES; /* of whole lanes */
    for (size_t first = 0; first < job->padded; first += SG_BANDIT_LANES) {
        SG_REAL target[SG_BANDIT_LANES], rest[SG_BANDIT_LANES], mass[SG_BANDIT_LANES];
        SG_INDEX lane[SG_BANDIT_LANES] = {0}, group[SG_BANDIT_LANES] = {0};
#pragma omp simd
        for (size_t j = 0; j < SG_BANDIT_LANES; j++)
            target[j] = uniform[first + j] * s->total;
        for (size_t l = 1; l < SG_BANDIT_LANES; l++)
#pragma omp simd
            for (size_t j = 0; j < SG_BANDIT_LANES; j++)
                lane[j] += before[l] <= target[j];
        SG_NAME(pick)(masses, lane, mass);
        SG_NAME(pick)(before, lane, rest);
#pragma omp simd
        for (size_t j = 0; j < SG_BANDIT_LANES; j++) {
            mass[j] *= SG_BELOW_ONE; /* never past the last arm of the lane */
            rest[j] = target[j] - rest[j];
            rest[j] = rest[j] < mass[j] ? rest[j] : mass[j];
        }
#if SG_SHUFFLES
        if (job->depth <= 2 * SG_BANDIT_LANES)
            SG_NAME(count_groups)(s, lane, rest, group);
        else
#endif
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
static void SG_NAME(far_pass)(SG_NAME(bandit_state) * s, size_t samples)
{
    SG_REAL kappa = s->sum / s->total;
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

/* q *= exp(-kappa q), q of sampled arms times exp(push) each, and the new total. |kappa q| <= |sum of
 * the pushes|. */
static void SG_NAME(near_pass)(SG_NAME(bandit_state) * s, size_t padded)
{
    enum { L = SG_BANDIT_LANES };
    SG_REAL kappa = s->sum / s->total;
    SG_NAME(lanes) sum = {0};
    SG_REAL factor[L], change = 0;
    bool small = SG_MATH(fabs)(s->sum) <= (SG_REAL)0x1p-5;
    /* Centred advantages at ratio 1 leave nothing but rounding: no q would change a bit. */
    bool moves = !(SG_MATH(fabs)(s->sum) < SG_NO_MOVE);
    for (size_t i = 0; moves && i < s->n; i += L) {
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
    SG_REAL mass = moves ? SG_NAME(lanes_total)((const SG_REAL *)&sum) : s->total;
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
    s->total = s->size <= 1 ? mass + change : SG_NAME(array_total)(s->q, s->n);
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

/* Coefficients of 16 samples; `total` is sum q when the arms were drawn. */
static void SG_NAME(coefficients)(const SG_NAME(bandit_state) * s, const sg_objective *objective,
                                  size_t first, SG_REAL total, SG_REAL *c)
{
    enum { L = SG_BANDIT_LANES };
    SG_REAL ratio[L], excess[L], log_ratio[L], logp_old[L] = {0}, scale = total / s->total;
    const SG_REAL *old = s->old + first;
#pragma omp simd
    for (size_t l = 0; l < L; l++)
        ratio[l] = s->q[s->at[first + l]];
#pragma omp simd
    for (size_t l = 0; l < L; l++) {
        ratio[l] = ratio[l] * scale / old[l];
        excess[l] = ratio[l] - 1;
        log_ratio[l] = excess[l]; /* NaN where the ratio is */
    }
    if (SG_NAME(needs_log)(objective->gate))
#pragma omp simd
        for (size_t l = 0; l < L; l++)
            log_ratio[l] = SG_MATH(log)(ratio[l]);
    if (sg_gate_reads_old(objective->gate))
#pragma omp simd
        for (size_t l = 0; l < L; l++)
            logp_old[l] = SG_MATH(log)(old[l] / total);
    SG_NAME(sample_gate)
    (objective->gate, &objective->parameter, L, log_ratio, ratio, excess, logp_old,
     s->advantage + first, c);
}

/* The pushes of an update. In the first one every ratio is exactly 1. */
static void SG_NAME(push)(SG_NAME(bandit_state) * s, const sg_bandit_job *job,
                          const sg_bandit *bandit, SG_REAL total, bool is_first)
{
    enum { L = SG_BANDIT_LANES };
    SG_REAL sum[L] = {0}, size[L] = {0}, c[L];
    SG_REAL factor = (SG_REAL)(bandit->lr / (double)job->bandits->samples);
    bool fresh = is_first && !sg_gate_reads_old(bandit->objective.gate) && s->total == total;
    for (size_t first = 0; first < job->padded; first += L) {
        const SG_REAL *a = s->advantage + first, *live = s->live + first;
        SG_REAL *push = s->push + first;
        if (fresh)
#pragma omp simd
            for (size_t l = 0; l < L; l++)
                c[l] = a[l] > 0 ? s->fresh[2] : a[l] < 0 ? s->fresh[0] : s->fresh[1];
        else
            SG_NAME(coefficients)(s, &bandit->objective, first, total, c);
#pragma omp simd
        for (size_t l = 0; l < L; l++) {
            /* The padding has an arm whose coefficient may overflow. */
            push[l] = live[l] != 0 ? factor * c[l] * a[l] : 0;
            sum[l] += push[l];
            size[l] += SG_MATH(fabs)(push[l]);
        }
    }
    s->sum = SG_NAME(lanes_total)(sum);
    s->size = SG_NAME(lanes_total)(size);
}

static void SG_NAME(move)(SG_NAME(bandit_state) * s, const sg_bandit_job *job)
{
    if (s->size <= 32)
        SG_NAME(near_pass)(s, job->padded);
    else
        SG_NAME(far_pass)(s, job->bandits->samples);
    SG_NAME(rescale)(s);
}

static void SG_NAME(state_init)(SG_NAME(bandit_state) * s, const sg_bandit_job *job,
                                const sg_objective *objective, void *scratch)
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
    const SG_REAL zero[3] = {0, 0, 0}, one[3] = {1, 1, 1}, sign[3] = {-1, 0, 1};
    SG_NAME(sample_gate)
    (objective->gate, &objective->parameter, 3, zero, one, zero, zero, sign, s->fresh);
    for (size_t i = s->n; i < cells; i++)
        s->cumulative[i] = (SG_REAL)INFINITY;
}

/* Runs first..end-1, at most SG_BANDIT_TOGETHER, step by step side by side: what one of them waits for
 * leaves time to the others. */
static void SG_NAME(bandit_run)(const sg_bandit_job *job, size_t first, size_t end, void *scratch)
{
    const sg_bandits *bandits = job->bandits;
    const SG_REAL *reward = job->reward, *uniform = job->uniform;
    SG_REAL before[SG_BANDIT_TOGETHER][SG_BANDIT_LANES + 1], total[SG_BANDIT_TOGETHER];
    SG_NAME(bandit_state) s[SG_BANDIT_TOGETHER];
    size_t runs = end - first, columns = bandits->steps + 1;
    double *value = job->value + first * columns;
    for (size_t r = 0; r < runs; r++) {
        SG_NAME(state_init)
        (&s[r], job, &bandits->run[first + r].objective, (char *)scratch + r * job->scratch);
        value[r * columns] = (double)SG_NAME(accumulate)(&s[r], reward, before[r]);
    }
    for (size_t t = 0; t < bandits->steps; t++) {
        for (size_t r = 0; r < runs; r++) {
            size_t row = (size_t)bandits->run[first + r].replicate * bandits->steps + t;
            SG_NAME(draw)(&s[r], job, uniform + row * job->padded, before[r]);
            total[r] = s[r].total;
        }
        for (size_t r = 0; r < runs; r++)
            SG_NAME(advantages)(&s[r], job, reward);
        for (size_t k = 0; k < bandits->updates; k++) {
            for (size_t r = 0; r < runs; r++)
                SG_NAME(push)(&s[r], job, &bandits->run[first + r], total[r], k == 0);
            for (size_t r = 0; r < runs; r++)
                SG_NAME(move)(&s[r], job);
        }
        for (size_t r = 0; r < runs; r++)
            value[r * columns + t + 1] = (double)SG_NAME(accumulate)(&s[r], reward, before[r]);
    }
    for (size_t r = 0; r < runs && job->logits; r++)
        for (size_t v = 0; v < bandits->arms; v++)
            job->logits[(first + r) * bandits->arms + v] =
                sg_log((double)s[r].q[v % job->depth * SG_BANDIT_LANES + v / job->depth]);
}
