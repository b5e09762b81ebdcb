/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_KL_H
#define SG_KL_H

#include <math.h>
#include <stdbool.h>

/* Per-token estimators of KL(p || ref) from samples of p, with e = logp - logp_ref (Schulman 2020):
 *   k1 e    abs |e|    k2 e^2 / 2    k3 exp(-e) - 1 + e
 * and their derivative by logp. k1+ and k3+ (verl) have the value of k1 and k3 and the derivative of k2, because those
 * values have a derivative whose mean is not the gradient of the KL.
 * By hand, e = 0.3: k1 0.3, k2 0.045, k3 0.0408182 with derivative 0.2591818. */
typedef enum sg_kl_kind {
    SG_KL_K1,
    SG_KL_ABS,
    SG_KL_K2,
    SG_KL_K3,
    SG_KL_K1_PLUS,
    SG_KL_K3_PLUS,
} sg_kl_kind;

typedef struct sg_kl {
    double value, derivative;
} sg_kl;

static inline sg_kl sg_kl_at(sg_kl_kind kind, double e)
{
    switch (kind) {
    case SG_KL_K1:
        return (sg_kl){e, 1};
    case SG_KL_ABS:
        return (sg_kl){fabs(e), e > 0 ? 1.0 : e < 0 ? -1.0 : 0.0};
    case SG_KL_K2:
        return (sg_kl){e * e / 2, e};
    case SG_KL_K3:
        return (sg_kl){expm1(-e) + e, -expm1(-e)};
    case SG_KL_K1_PLUS:
        return (sg_kl){e, e};
    case SG_KL_K3_PLUS:
        return (sg_kl){expm1(-e) + e, e};
    }
    return (sg_kl){NAN, NAN};
}

/* Names "k1", "abs", "k2", "k3" (also "low_var_kl"), "k1+", "k3+". */
bool sg_kl_from_name(const char *name, sg_kl_kind *kind);
const char *sg_kl_name(sg_kl_kind kind);

#endif
