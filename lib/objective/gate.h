/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_GATE_H
#define SG_GATE_H

/* Gate maths: what every policy objective does with one probability ratio.
 *
 * The token objective is f(x, A) * A, where x is the token ratio r = exp(d), d = logp_new - logp_old,
 * or the sequence ratio s = exp(mean d), or the product W = exp(sum d), and A is the advantage. A gate gives
 *
 *     surrogate   f            the factor of A in the objective
 *     weight      w = df/dx    the gradient weight (the "gate" of the SAPO paper)
 *     coefficient c = x * w    what multiplies A * grad log pi: this is what the optimiser sees
 *     printed     L / (-A)     the factor in the loss that a trainer prints. It is f, except for methods
 *                              that detach their weight: there it is c * logp_new (or c, for gipo)
 *
 * For methods that detach the weight, f is the implicit surrogate, f = 1 + integral of c(u)/u from 1 to x,
 * so that w = df/dx holds for every gate. A = 0 takes the negative branch (except vespo and topr).
 *
 * This header is the only place where these formulas stand. It is included by C and by CUDA, and
 * compiled for double (the reference) and float. Everything here is pure and thread-safe; parameters must have been
 * validated (objective.h does). A NaN log-ratio gives NaN. Limits at x -> infinity are exact:
 * c is 0 for sapo, gate-*, vespo and gipo even where exp(d) overflows.
 *
 * By hand: sapo, tau 1, d = ln 2, A > 0: f = 4 sigmoid(1) = 2.924234, w = sech^2(1/2) = 0.786448, c = 1.572895. */

#include <math.h>
#include <stdbool.h>

#include "core/host_device.h"

/* Every gate once: X(identifier, inline function suffix). */
#define SG_GATE_LIST(X)                                                                      \
    X(SG_GATE_UNCLIPPED, unclipped)                                                          \
    X(SG_GATE_REINFORCE, reinforce)                                                          \
    X(SG_GATE_HARD, hard)                                                                    \
    X(SG_GATE_SAPO, sapo)                                                                    \
    X(SG_GATE_ERF, erf)                                                                      \
    X(SG_GATE_ARCTAN, arctan)                                                                \
    X(SG_GATE_SOFTSIGN, softsign)                                                            \
    X(SG_GATE_GIPO, gipo)                                                                    \
    X(SG_GATE_SPO, spo)                                                                      \
    X(SG_GATE_CISPO, cispo)                                                                  \
    X(SG_GATE_CE_GPPO, ce_gppo)                                                              \
    X(SG_GATE_ASPO, aspo)                                                                    \
    X(SG_GATE_TOPR, topr)                                                                    \
    X(SG_GATE_VESPO, vespo)                                                                  \
    X(SG_GATE_DPPO_TV, dppo_tv)                                                              \
    X(SG_GATE_DPPO_KL, dppo_kl)                                                              \
    X(SG_GATE_GMPO, gmpo)

typedef enum sg_gate_kind {
#define SG_GATE_ENUM(id, suffix) id,
    SG_GATE_LIST(SG_GATE_ENUM)
#undef SG_GATE_ENUM
} sg_gate_kind;

/* Parameters of all gates, by their names in papers. A gate reads only its own. */
#define SG_GATE_PARAMETER_LIST(X)                                                            \
    X(tau_pos)     /* temperature for A > 0; > 0 */                                          \
    X(tau_neg)     /* temperature for A <= 0; > 0 */                                         \
    X(eps_low)     /* lower clip width; in [0, 1); log space for gmpo */                     \
    X(eps_high)    /* upper clip width; >= 0 */                                              \
    X(dual_clip)   /* upper bound C on x for A < 0 (off = infinity); > 1 */                  \
    X(delta)       /* two-sided clip: upper bound on x for both signs (off = infinity) */    \
    X(low)         /* cispo lower bound on the weight; in [0, 1] */                          \
    X(high)        /* cispo upper bound on the weight; >= 1 */                               \
    X(beta_low)    /* ce-gppo weight below the band, A < 0; >= 0 */                          \
    X(beta_high)   /* ce-gppo weight above the band, A > 0; >= 0 */                          \
    X(cap)         /* aspo cap of 1/r, dppo cap of r; > 1 */                              \
    X(sigma)       /* gipo width in log ratio; > 0 */                                        \
    X(eps)         /* spo width; > 0 */                                                      \
    X(k_pos)       /* vespo exponent for A >= 0; >= 1 */                                     \
    X(k_neg)       /* vespo exponent for A < 0; >= 1 */                                      \
    X(lambda_pos)  /* vespo rate for A >= 0; > 0 */                                          \
    X(lambda_neg)  /* vespo rate for A < 0; > 0 */                                           \
    X(delta_low)   /* dppo-tv probability drop allowed for A <= 0; in (0, 1] */              \
    X(delta_high)  /* dppo-tv probability rise allowed for A > 0; in (0, 1] */               \
    X(kl_low)      /* dppo-kl divergence allowed to a drop, A <= 0; > 0 */                   \
    X(kl_high)     /* dppo-kl divergence allowed to a rise, A > 0; > 0 */

typedef struct sg_gate_parameters {
#define SG_GATE_FIELD(name) double name;
    SG_GATE_PARAMETER_LIST(SG_GATE_FIELD)
#undef SG_GATE_FIELD
} sg_gate_parameters;

/* Gates that read at.logp_old for more than the printed loss: the coefficient depends on the old probability. */
SG_HD static inline bool sg_gate_reads_old(sg_gate_kind kind)
{
    return kind == SG_GATE_DPPO_TV || kind == SG_GATE_DPPO_KL;
}

/* double: sg_gate_point, sg_gate_value, sg_gate_at(); float: the same names with suffix _f32. */
#define SG_REAL double
#define SG_NAME(name) name
#define SG_MATH(function) function
#include "objective/gate_math.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_MATH

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_MATH(function) function##f
#include "objective/gate_math.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_MATH

#endif
