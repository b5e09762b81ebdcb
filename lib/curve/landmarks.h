/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LANDMARKS_H
#define SG_LANDMARKS_H

#include "core/status.h"
#include "objective/objective.h"

/* The numbers that sum up a soft gate: how wide it is, what it leaves at ratio 0, and how much it
 * amplifies. All are found by search on the gate itself, so they hold for every gate with one peak
 * (sapo, gate-*, gipo, vespo); what does not exist in [0, ratio_limit] is NaN (a hard clip never
 * comes back to c = 1, say). By hand: sapo with tau = 1 has half_width 1.762747, floor sech^2(1/2)
 * = 0.786448, peak 1.574675 at ratio 2.060088, and c = 1 again at 3.466497. Thread-safe; a few
 * hundred gate evaluations. */
typedef struct sg_landmarks {
    double half_width; /* ratio - 1 > 0 where the weight is 1/2 */
    double floor;      /* weight at ratio 0 */
    double peak;       /* largest coefficient */
    double peak_ratio; /* and where it is */
    double unit_ratio; /* where the coefficient is 1 again, above the peak */
} sg_landmarks;

/* SG_EARGUMENT for a ratio_limit that is not above 1. */
sg_status sg_landmarks_find(sg_landmarks *landmarks, const sg_objective *objective,
                            double advantage, double ratio_limit, sg_error *error);

/* Gate value at an exact ratio >= 0 (0 included), which exp(log_ratio) cannot always hit. */
sg_gate_value sg_gate_at_ratio(const sg_objective *objective, double ratio, double advantage);

#endif
