/* SPDX-License-Identifier: GPL-3.0-or-later */
/* No include guard: gate.h includes this once per precision, with
 *   SG_REAL            the number type
 *   SG_NAME(name)      the name with the precision's suffix
 *   SG_MATH(function)  the maths function of that precision (exp or expf, ...)
 *   SG_SIDE(a, b)      if that is not the plain choice of a number by the sign of the advantage; a and b are made of
 *                      parameters alone, in double precision
 *   SG_INVERSE(x)      if there is something quicker for the same 1 / x of 1 <= x <= 2 or NaN
 * The paper of each formula is named at its gate; methods.c lists them all. */

#ifndef SG_SIDE
#define SG_SIDE(above, below) (positive ? (SG_REAL)(above) : (SG_REAL)(below))
#define SG_SIDE_IS_PLAIN
#endif
#ifndef SG_INVERSE
#define SG_INVERSE(x) (1 / (x))
#define SG_INVERSE_IS_PLAIN
#endif

/* One ratio x: its logarithm, itself, and x - 1 (kept apart because it is exact near x = 1). */
typedef struct SG_NAME(sg_gate_point) {
    SG_REAL log_ratio, ratio, excess;
    SG_REAL logp_old; /* log-probability of the token under the old policy; see sg_objective_eval */
} SG_NAME(sg_gate_point);

typedef struct SG_NAME(sg_gate_value) {
    SG_REAL surrogate, weight, coefficient, printed;
} SG_NAME(sg_gate_value);

SG_HD static inline SG_NAME(sg_gate_point)
    SG_NAME(sg_gate_point_from_log)(SG_REAL log_ratio, SG_REAL logp_old)
{
    SG_NAME(sg_gate_point) at;
    at.log_ratio = log_ratio;
    at.ratio = SG_MATH(exp)(log_ratio);
    at.excess = SG_MATH(expm1)(log_ratio);
    at.logp_old = logp_old;
    return at;
}

/* c = x w, and 0 where w underflowed: exact for gates that close faster than x grows, also at x = infinity. */
SG_HD static inline SG_REAL SG_NAME(sg_gate_times_ratio)(SG_REAL weight, SG_REAL ratio)
{
    return weight == 0 ? 0 : ratio * weight;
}

/* A gate whose printed loss is its surrogate: f and w are given, c follows. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_plain)(SG_REAL surrogate, SG_REAL weight, SG_REAL ratio)
{
    SG_NAME(sg_gate_value) v;
    v.surrogate = surrogate;
    v.weight = weight;
    v.coefficient = SG_NAME(sg_gate_times_ratio)(weight, ratio);
    v.printed = surrogate;
    return v;
}

/* A gate that detaches its weight: trainers print c * logp_new. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_detached)(SG_REAL surrogate, SG_REAL weight, SG_REAL coefficient,
                              SG_NAME(sg_gate_point) at)
{
    SG_NAME(sg_gate_value) v;
    v.surrogate = surrogate;
    v.weight = weight;
    v.coefficient = coefficient;
    v.printed = coefficient == 0 ? 0 : coefficient * (at.logp_old + at.log_ratio);
    return v;
}

/* f = r. Importance sampling without any trust region. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_unclipped)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at,
                               bool positive)
{
    (void)p;
    (void)positive;
    return SG_NAME(sg_gate_plain)(at.ratio, 1, at.ratio);
}

/* c = 1, f = 1 + ln r. REINFORCE (Williams 1992). */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_reinforce)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at,
                               bool positive)
{
    (void)p;
    (void)positive;
    return SG_NAME(sg_gate_detached)(1 + at.log_ratio, 1 / at.ratio, 1, at);
}

/* Hard clip, PPO / GRPO (1707.06347, 2402.03300): min(r A, clip(r, 1 - eps_low, 1 + eps_high) A). For A < 0 dual
 * clip (1912.09729) and the two-sided delta of trainers both cap f; edges belong to the band. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_hard)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL low = (SG_REAL)(1 - p->eps_low), high = (SG_REAL)(1 + p->eps_high);
    SG_REAL cap = (SG_REAL)(p->dual_clip < p->delta ? p->dual_clip : p->delta);
    SG_REAL lowest = positive ? 0 : low, ceiling = positive ? high : cap;
    SG_REAL raised = at.ratio < lowest ? lowest : at.ratio;
    SG_REAL surrogate = raised > ceiling ? ceiling : raised;
    SG_REAL weight = ((at.ratio >= lowest) & (at.ratio <= ceiling)) ? 1 : 0;
    return SG_NAME(sg_gate_plain)(surrogate, weight, at.ratio);
}

/* SAPO (2511.20347): f = (4 / tau) sigmoid(tau (r - 1)), w = 4 p (1 - p) = sech^2(tau (r - 1) / 2).
 * One exponential of -|x| serves both and cannot overflow. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_sapo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL tau = SG_SIDE(p->tau_pos, p->tau_neg);
    SG_REAL scale = SG_SIDE(4 / p->tau_pos, 4 / p->tau_neg);
    SG_REAL x = tau * at.excess;
    SG_REAL e = SG_MATH(exp)(-SG_MATH(fabs)(x));
    SG_REAL h = SG_INVERSE(1 + e);
    SG_REAL sigmoid = x < 0 ? e * h : h;
    return SG_NAME(sg_gate_plain)(scale * sigmoid, 4 * e * h * h, at.ratio);
}

/* Gaussian weight (2602.19345): f = 1 + sqrt(pi / 2) / tau erf(tau (r - 1) / sqrt 2). */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_erf)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL tau = SG_SIDE(p->tau_pos, p->tau_neg);
    SG_REAL t = tau * at.excess;
    const SG_REAL sqrt_half = (SG_REAL)0.70710678118654752440;
    const SG_REAL sqrt_half_pi = (SG_REAL)1.25331413731550025121;
    SG_REAL surrogate = 1 + sqrt_half_pi / tau * SG_MATH(erf)(t * sqrt_half);
    return SG_NAME(sg_gate_plain)(surrogate, SG_MATH(exp)(-t * t / 2), at.ratio);
}

/* Cauchy weight (2602.19345): f = 1 + atan(tau (r - 1)) / tau. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_arctan)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL tau = SG_SIDE(p->tau_pos, p->tau_neg);
    SG_REAL t = tau * at.excess;
    return SG_NAME(sg_gate_plain)(1 + SG_MATH(atan)(t) / tau, 1 / (1 + t * t), at.ratio);
}

/* Softsign gate (2602.19345): f = 1 + (r - 1) / sqrt(1 + tau^2 (r - 1)^2). */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_softsign)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL tau = SG_SIDE(p->tau_pos, p->tau_neg);
    SG_REAL t = tau * at.excess;
    SG_REAL u = 1 / SG_MATH(sqrt)(1 + t * t);
    SG_REAL slope = t > (SG_REAL)1e8 ? 1 : t * u; /* t u -> 1, where t * t would overflow */
    return SG_NAME(sg_gate_plain)(1 + slope / tau, u * u * u, at.ratio);
}

/* GIPO (2603.03955): c = r exp(-(ln r)^2 / (2 sigma^2)); trainers print that detached weight times r. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_gipo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    (void)positive;
    SG_REAL sigma = (SG_REAL)p->sigma, d = at.log_ratio;
    const SG_REAL sqrt_half = (SG_REAL)0.70710678118654752440;
    const SG_REAL sqrt_half_pi = (SG_REAL)1.25331413731550025121;
    SG_REAL scale = sigma * sqrt_half_pi * SG_MATH(exp)(sigma * sigma / 2);
    SG_REAL here = SG_MATH(erf)((d - sigma * sigma) / sigma * sqrt_half);
    SG_REAL one = SG_MATH(erf)(-sigma * sqrt_half);
    SG_NAME(sg_gate_value) v;
    v.surrogate = 1 + scale * (here - one);
    v.weight = SG_MATH(exp)(-d * d / (2 * sigma * sigma));
    v.coefficient = SG_MATH(exp)(d * (1 - d / (2 * sigma * sigma)));
    v.printed = v.coefficient;
    return v;
}

/* SPO (2401.16025): f = r -+ (r - 1)^2 / (2 eps); the weight turns negative outside the band. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_spo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL bend = SG_SIDE(-1 / p->eps, 1 / p->eps);
    SG_REAL surrogate = 1 + at.excess * (1 + bend * at.excess / 2);
    return SG_NAME(sg_gate_plain)(surrogate, 1 + bend * at.excess, at.ratio);
}

/* CISPO (2506.13585): c = clamp(r, low, high), detached. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_cispo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    (void)positive;
    SG_REAL low = (SG_REAL)p->low, high = (SG_REAL)p->high;
    bool below = at.ratio<low, above = at.ratio> high;
    SG_REAL bound = below ? low : high;
    SG_REAL outside = bound * (1 + at.log_ratio - SG_MATH(log)(bound));
    SG_REAL surrogate = (below | above) ? outside : at.ratio;
    SG_REAL coefficient = below ? low : above ? high : at.ratio;
    SG_REAL weight = (below | above) ? bound / at.ratio : 1;
    return SG_NAME(sg_gate_detached)(surrogate, weight, coefficient, at);
}

/* CE-GPPO (2509.20712): outside the band the gradient keeps a constant size, beta (1 +- eps). */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_ce_gppo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL edge = SG_SIDE(1 + p->eps_high, 1 - p->eps_low);
    SG_REAL beta = SG_SIDE(p->beta_high, p->beta_low);
    bool inside = positive ? at.ratio <= edge : at.ratio >= edge;
    if (inside)
        return SG_NAME(sg_gate_plain)(at.ratio, 1, at.ratio);
    SG_REAL surrogate = edge * (1 + beta * (at.log_ratio - SG_MATH(log)(edge)));
    return SG_NAME(sg_gate_detached)(surrogate, beta * edge / at.ratio, beta * edge, at);
}

/* ASPO (2510.06062): for A > 0 the ratio is inverted, c = min(1/r, cap) inside r <= 1 + eps_high, detached;
 * for A <= 0 the hard clip. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_aspo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    if (!positive)
        return SG_NAME(sg_gate_hard)(p, at, positive);
    SG_REAL high = (SG_REAL)(1 + p->eps_high), cap = (SG_REAL)p->cap;
    if (at.ratio > high)
        return SG_NAME(sg_gate_detached)(2 - 1 / high, 0, 0, at);
    if (at.ratio * cap < 1) {
        SG_REAL surrogate = 2 - cap + cap * (at.log_ratio + SG_MATH(log)(cap));
        return SG_NAME(sg_gate_detached)(surrogate, cap / at.ratio, cap, at);
    }
    SG_REAL inverse = 1 / at.ratio;
    return SG_NAME(sg_gate_detached)(2 - inverse, inverse * inverse, inverse, at);
}

/* TOPR (2503.14286): c = 1 for positive rewards, min(x, 1) for negative ones, detached. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_topr)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    (void)p;
    bool tapered = !positive & (at.ratio <= 1);
    SG_REAL surrogate = tapered ? at.ratio : 1 + at.log_ratio;
    SG_REAL weight = tapered ? 1 : 1 / at.ratio;
    return SG_NAME(sg_gate_detached)(surrogate, weight, tapered ? at.ratio : 1, at);
}

/* Lower incomplete gamma function g(k, x), k >= 1, x >= 0: the power series (all terms positive) up to
 * x = k + 30, beyond it Gamma(k) less the asymptotic tail, which is then below 1e-9 of it. */
SG_HD static inline SG_REAL SG_NAME(sg_gate_lower_gamma)(SG_REAL k, SG_REAL x)
{
    if (!(x > 0))
        return x == 0 ? 0 : x;
    SG_REAL front = SG_MATH(exp)(k * SG_MATH(log)(x) - x), sum, term;
    if (x > k + 30) {
        if (front == 0 || front != front) /* x so large that the tail is nothing */
            return SG_MATH(tgamma)(k);
        sum = term = 1 / x;
        for (int n = 1; n < 20; n++) {
            term *= (k - n) / x;
            sum += term;
        }
        return SG_MATH(tgamma)(k) - front * sum;
    }
    sum = term = 1 / k;
    for (int n = 1; n < 500 && term > sum * (SG_REAL)1e-17; n++) {
        term *= x / (k + n);
        sum += term;
    }
    return front * sum;
}

/* VESPO (2602.10693): c = W^k exp(lambda (1 - W)), detached. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_vespo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL k = SG_SIDE(p->k_pos, p->k_neg);
    SG_REAL lambda = SG_SIDE(p->lambda_pos, p->lambda_neg);
    /* Where exp(d) overflows the exponent is infinity - infinity; its limit is - infinity. */
    bool beyond = at.excess == (SG_REAL)INFINITY;
    SG_REAL coefficient = beyond ? 0 : SG_MATH(exp)(k * at.log_ratio - lambda * at.excess);
    SG_REAL weight = beyond ? 0 : SG_MATH(exp)((k - 1) * at.log_ratio - lambda * at.excess);
    SG_REAL scale = SG_MATH(exp)(lambda - k * SG_MATH(log)(lambda));
    SG_REAL area = SG_NAME(sg_gate_lower_gamma)(k, lambda * at.ratio) -
                   SG_NAME(sg_gate_lower_gamma)(k, lambda);
    return SG_NAME(sg_gate_detached)(1 + scale * area, weight, coefficient, at);
}

/* What the two forms of DPPO (2602.04879) share: c = min(r, cap), detached, while the token is `inside` its trust
 * region; outside, f stays at what it is where the region ends, at the log-ratio `edge`. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_dppo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool inside,
                          SG_REAL edge)
{
    SG_REAL cap = (SG_REAL)p->cap, log_x = inside ? at.log_ratio : edge;
    SG_REAL x = inside ? at.ratio : SG_MATH(exp)(edge);
    SG_REAL surrogate = x <= cap ? x : cap * (1 + log_x - SG_MATH(log)(cap));
    SG_REAL coefficient = at.ratio <= cap ? at.ratio : cap;
    SG_REAL weight = at.ratio <= cap ? 1 : cap / at.ratio;
    return SG_NAME(sg_gate_detached)(surrogate, inside ? weight : 0, inside ? coefficient : 0, at);
}

/* DPPO-TV: the probability itself moved less than delta. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_dppo_tv)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL old = SG_MATH(exp)(at.logp_old), moved = old * at.excess; /* p - q */
    SG_REAL limit = (SG_REAL)(positive ? p->delta_high : -p->delta_low);
    bool inside = positive ? moved <= limit : moved >= limit;
    return SG_NAME(sg_gate_dppo)(p, at, inside, SG_MATH(log)(1 + limit / old));
}

/* KL(q || p) of "this token or another", q = exp(logp_old), p = q exp(d); infinite from p = 1 on. */
SG_HD static inline SG_REAL SG_NAME(sg_gate_binary_kl)(SG_REAL logp_old, SG_REAL d)
{
    SG_REAL old = SG_MATH(exp)(logp_old), rest = -SG_MATH(expm1)(logp_old);
    SG_REAL left = -SG_MATH(expm1)(logp_old + d); /* 1 - p */
    if (!(rest > 0))
        return d > 0 ? (SG_REAL)INFINITY : -d;
    return left > 0 ? rest * (SG_MATH(log)(rest) - SG_MATH(log)(left)) - old * d
                    : (SG_REAL)INFINITY;
}

/* The log-ratio at which that divergence reaches `limit`, above or below 0, by bisection: it grows away from d = 0, above
 * to infinity at p = 1, below it is at least rest ln rest - q d. */
SG_HD static inline SG_REAL SG_NAME(sg_gate_kl_edge)(SG_REAL logp_old, SG_REAL limit, bool above)
{
    SG_REAL old = SG_MATH(exp)(logp_old), rest = -SG_MATH(expm1)(logp_old);
    SG_REAL near = 0, most = rest > 0 ? rest * SG_MATH(log)(rest) : 0;
    SG_REAL far = above ? -logp_old : (most - limit) / old;
    for (int i = 0; i < 60; i++) {
        SG_REAL middle = (near + far) / 2;
        if (SG_NAME(sg_gate_binary_kl)(logp_old, middle) <= limit)
            near = middle;
        else
            far = middle;
    }
    return near;
}

/* DPPO-KL: KL(q || p) stays below its limit, or the step leads back towards q. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_dppo_kl)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL limit = (SG_REAL)(positive ? p->kl_high : p->kl_low), d = at.log_ratio;
    bool back = positive ? d <= 0 : d >= 0;
    bool inside = back || SG_NAME(sg_gate_binary_kl)(at.logp_old, d) <= limit;
    SG_REAL edge = inside ? d : SG_NAME(sg_gate_kl_edge)(at.logp_old, limit, positive);
    return SG_NAME(sg_gate_dppo)(p, at, inside, edge);
}

/* GMPO (2507.20673) for a row of one token: f = exp(k), k = min(d, eps_high) for A > 0 and max(d, -eps_low) for
 * A <= 0. For longer rows f is the geometric mean of exp(k): see sg_gate_gmpo_log and replay.h. */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_gmpo)(const sg_gate_parameters *p, SG_NAME(sg_gate_point) at, bool positive)
{
    SG_REAL edge = SG_SIDE(p->eps_high, -p->eps_low);
    bool live = positive ? at.log_ratio <= edge : at.log_ratio >= edge;
    SG_REAL surrogate = live ? at.ratio : SG_MATH(exp)(edge);
    return SG_NAME(sg_gate_plain)(surrogate, live ? 1 : 0, at.ratio);
}

/* The branch of a gate that an advantage takes: 0 belongs to the negative one but for topr and vespo. */
SG_HD static inline bool SG_NAME(sg_gate_positive)(sg_gate_kind kind, SG_REAL advantage)
{
    return kind == SG_GATE_TOPR || kind == SG_GATE_VESPO ? advantage >= 0 : advantage > 0;
}

/* Any gate at a point, for an advantage of any size (only its sign counts). */
SG_HD static inline SG_NAME(sg_gate_value)
    SG_NAME(sg_gate_at)(sg_gate_kind kind, const sg_gate_parameters *p, SG_NAME(sg_gate_point) at,
                        SG_REAL advantage)
{
    bool positive = SG_NAME(sg_gate_positive)(kind, advantage);
    SG_NAME(sg_gate_value) nothing;
    nothing.surrogate = nothing.weight = nothing.coefficient = nothing.printed = (SG_REAL)NAN;
    if (at.log_ratio != at.log_ratio || advantage != advantage)
        return nothing;
    switch (kind) {
#define SG_GATE_CASE(id, suffix)                                                                   \
    case id:                                                                                       \
        return SG_NAME(sg_gate_##suffix)(p, at, positive);
        SG_GATE_LIST(SG_GATE_CASE)
#undef SG_GATE_CASE
    }
    return nothing;
}

#ifdef SG_SIDE_IS_PLAIN
#undef SG_SIDE
#undef SG_SIDE_IS_PLAIN
#endif
#ifdef SG_INVERSE_IS_PLAIN
#undef SG_INVERSE
#undef SG_INVERSE_IS_PLAIN
#endif
