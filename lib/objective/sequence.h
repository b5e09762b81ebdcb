/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SEQUENCE_H
#define SG_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>

/* From token gates to a sequence gate (SAPO paper, assumptions A1 and A2). For one row with
 * live log-ratios d_t, mean mu and population variance Var, and the log-form gate g(z) = sech^2(tau z / 2):
 *   D      = |mean_t g(d_t) - g(mu)|            <= (tau^2 / 4) Var, a theorem
 *   D_true = |mean_t w(exp d_t) - g(mu)|        with the gate that the optimiser uses; no bound holds
 * By hand: d = (0.3, -0.1, 0.5), tau 1: mu 0.2333333, Var 0.06222222, D 0.01472737, bound 0.01555556,
 * D_true 0.03000969. */
typedef struct sg_sequence_gate {
    double mean;      /* mu; exp(mu) is GSPO's sequence ratio s */
    double variance;  /* Var */
    double deviation; /* D */
    double bound;     /* tau^2 / 4 Var */
    double deviation_true; /* D_true */
} sg_sequence_gate;

/* n >= 1 finite log-ratios, tau > 0. Everything NaN when n is 0. */
sg_sequence_gate sg_sequence_gate_of(const double *log_ratio, size_t n, double tau);

/* Is a deviation above the bound by more than the rounding of sums of n terms? */
static inline bool sg_sequence_gate_exceeds(const sg_sequence_gate *gate, double deviation)
{
    return deviation > gate->bound + 1e-12;
}

#endif
