/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "curve/landmarks.h"

#include <math.h>

enum { SCAN_POINTS = 400, HALVINGS = 60 };

sg_gate_value sg_gate_at_ratio(const sg_objective *objective, double ratio, double advantage)
{
    sg_gate_point at = {log(ratio), ratio, ratio - 1, 0};
    return sg_objective_eval_at(objective, at, advantage);
}

typedef struct search {
    const sg_objective *objective;
    double advantage;
} search;

static double weight_at(search s, double ratio)
{
    return sg_gate_at_ratio(s.objective, ratio, s.advantage).weight;
}

static double coefficient_at(search s, double ratio)
{
    return sg_gate_at_ratio(s.objective, ratio, s.advantage).coefficient;
}

/* Where a function that starts above `level` at `from` first falls to it, by scan and bisection. A
 * jump across the level is no crossing. */
static double falls_to(search s, double (*function)(search, double), double level, double from,
                       double limit)
{
    double low = from, high = from;
    for (int i = 1; i <= SCAN_POINTS; i++) {
        high = from * pow(limit / from, (double)i / SCAN_POINTS);
        if (function(s, high) < level)
            break;
        low = high;
    }
    if (!(function(s, high) < level))
        return NAN;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (function(s, middle) < level)
            high = middle;
        else
            low = middle;
    }
    return fabs(function(s, low) - function(s, high)) < 1e-6 ? (low + high) / 2 : NAN;
}

/* Maximum of the coefficient: coarse scan, then golden section around the best point. */
static double peak_ratio(search s, double limit)
{
    double best = 1;
    int at = 0;
    for (int i = -SCAN_POINTS; i <= SCAN_POINTS; i++) {
        double ratio = pow(limit, (double)i / SCAN_POINTS);
        if (coefficient_at(s, ratio) > coefficient_at(s, best)) {
            best = ratio;
            at = i;
        }
    }
    if (at == SCAN_POINTS || at == -SCAN_POINTS)
        return NAN; /* still rising at the edge */
    const double golden = 0.6180339887498949;
    double low = pow(limit, (at - 1.0) / SCAN_POINTS), high = pow(limit, (at + 1.0) / SCAN_POINTS);
    for (int i = 0; i < HALVINGS; i++) {
        double left = high - golden * (high - low), right = low + golden * (high - low);
        if (coefficient_at(s, left) < coefficient_at(s, right))
            low = left;
        else
            high = right;
    }
    return (low + high) / 2;
}

sg_status sg_landmarks_find(sg_landmarks *landmarks, const sg_objective *objective,
                            double advantage, double ratio_limit, sg_error *error)
{
    if (!(ratio_limit > 1) || !isfinite(ratio_limit))
        return sg_fail(error, SG_EARGUMENT, "landmarks need a finite ratio limit above 1, not %g",
                       ratio_limit);
    search s = {objective, advantage};
    landmarks->floor = weight_at(s, 0);
    landmarks->half_width = falls_to(s, weight_at, 0.5, 1, ratio_limit) - 1;
    landmarks->peak_ratio = peak_ratio(s, ratio_limit);
    landmarks->peak = NAN;
    landmarks->unit_ratio = NAN;
    if (isfinite(landmarks->peak_ratio)) {
        landmarks->peak = coefficient_at(s, landmarks->peak_ratio);
        landmarks->unit_ratio = falls_to(s, coefficient_at, 1, landmarks->peak_ratio, ratio_limit);
    }
    return SG_OK;
}
