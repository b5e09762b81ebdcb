/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_COLLAPSE_H
#define SG_COLLAPSE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "core/table.h"

/* When did a run fail, and how? The rules are fixed here, before any predictor of failure is looked
 * at.
 *
 * R is the exponentially weighted mean of J over a span of 10 gradient steps (pandas ewm(span=10, adjust=False)), R0 its
 * start, P its running maximum, Jmax the optimum.
 *   collapse           first step with P - R0 >= 0.1 (Jmax - R0) and R < P - drop (P - R0), if that holds from there for
 *                      at least 5 % of the horizon; a dip that starts inside the last 5 % is censored, not counted
 *   divergence         first step with a non-finite value, a logit range above 1e4, or a tail mass above 0.5
 *   entropy collapse   first step with H < 0.02 H0 while J < 0.9 Jmax
 *   entropy explosion  first step with H > 2 H0 or more than half of H in the tail
 *   stall              R stays within 1 % of Jmax - R0 around R0 to the end
 * Survival is the first of collapse and divergence, censored at the horizon.
 *
 * By hand: J = 0 for one step, 1 for 99, then 0 for 100, horizon 200, drop 0.5: R falls below P / 2
 * at the fourth step after the fall, since (9/11)^4 = 0.448. */
typedef struct sg_series {
    size_t n;
    const double *step; /* rising */
    const double *J;
    /* Each may be NULL: then what needs it does not happen. */
    const double *entropy, *tail_entropy_share, *tail_mass, *logit_range;
} sg_series;

typedef struct sg_fate_rule {
    double horizon; /* steps that the run was meant to take */
    double optimum; /* Jmax */
    double drop;    /* 0.5; sensitivity: 0.3 and 0.7 */
} sg_fate_rule;

typedef struct sg_fate {
    /* The step of each event, INFINITY when it did not happen. */
    double collapse, divergence, entropy_collapse, entropy_explosion;
    bool stall;
    double survival; /* step of the first of collapse and divergence, or the horizon */
    bool censored;   /* true: it survived to the horizon */
    double drawdown; /* largest P - R */
} sg_fate;

sg_fate sg_fate_of(const sg_series *series, sg_fate_rule rule);

/* One row for each run of a table of sg_simulate: objective, params, seed, survival, censored (1:
 * survived), collapse, divergence, entropy_collapse, entropy_explosion (steps, inf when it did not
 * happen), stall, drawdown, collapse_30 and collapse_70 (the same as collapse with a drop of 0.3 and
 * 0.7, to see how much hangs on the rule), J_first, J_last, J_best, J_mean (over the observed
 * steps). The horizon is the table's run.steps or, of a log that does not say it, its last step.
 *
 * Any log will do that has objective, params, seed, step, and J or else reward, by which it is then
 * judged. What a table does not have, or has without a single number, cannot fail. SG_EDATA for a
 * table without the needed columns. */
sg_status sg_fate_table(const sg_table *runs, double optimum, double drop, sg_table **fates,
                        sg_error *error);

#endif
