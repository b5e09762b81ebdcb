/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/collapse.h"

#include <math.h>

static double earlier(double a, double b)
{
    return a < b ? a : b;
}

/* State of the collapse rule on its way along a run. */
struct watch {
    double smooth, start, peak, drawdown, largest_move;
    double dip; /* step at which the current dip started, INFINITY when there is none */
};

/* Returns the step of the collapse once the dip has lasted long enough, else INFINITY. */
static double watch_next(struct watch *w, sg_fate_rule rule, double step, double gap, double J)
{
    const double keep = 1 - 2.0 / (10 + 1);
    double kept = pow(keep, gap); /* rows may be several gradient steps apart */
    w->smooth = kept * w->smooth + (1 - kept) * J;
    w->peak = fmax(w->peak, w->smooth);
    w->drawdown = fmax(w->drawdown, w->peak - w->smooth);
    w->largest_move = fmax(w->largest_move, fabs(w->smooth - w->start));
    double gained = w->peak - w->start, least = 0.05 * rule.horizon;
    bool low = gained >= 0.1 * (rule.optimum - w->start) && gained > 0 &&
               w->smooth < w->peak - rule.drop * gained;
    if (!low)
        w->dip = INFINITY;
    else if (w->dip == INFINITY)
        w->dip = step;
    return low && step - w->dip >= least ? w->dip : INFINITY;
}

static bool is_divergent(const sg_series *s, size_t i)
{
    const double *finite[] = {s->J, s->entropy, s->tail_entropy_share, s->tail_mass,
                              s->logit_range};
    for (size_t k = 0; k < sizeof finite / sizeof *finite; k++) {
        if (finite[k] != NULL && !isfinite(finite[k][i]))
            return true;
    }
    return (s->logit_range != NULL && s->logit_range[i] > 1e4) ||
           (s->tail_mass != NULL && s->tail_mass[i] > 0.5);
}

sg_fate sg_fate_of(const sg_series *series, sg_fate_rule rule)
{
    sg_fate fate = {.collapse = INFINITY,
                    .divergence = INFINITY,
                    .entropy_collapse = INFINITY,
                    .entropy_explosion = INFINITY};
    struct watch w = {.dip = INFINITY};
    for (size_t i = 0; i < series->n; i++) {
        double step = series->step[i], J = series->J[i];
        if (is_divergent(series, i))
            fate.divergence = earlier(fate.divergence, step);
        if (!isfinite(J)) /* nothing can be said of what follows */
            break;
        if (i == 0) {
            w.smooth = w.start = w.peak = J;
        } else if (fate.collapse == INFINITY) {
            fate.collapse = watch_next(&w, rule, step, step - series->step[i - 1], J);
        } else {
            watch_next(&w, rule, step, step - series->step[i - 1], J); /* the drawdown goes on */
        }
        if (series->entropy != NULL) {
            double h = series->entropy[i], h0 = series->entropy[0];
            if (h < 0.02 * h0 && J < 0.9 * rule.optimum)
                fate.entropy_collapse = earlier(fate.entropy_collapse, step);
            if (h > 2 * h0)
                fate.entropy_explosion = earlier(fate.entropy_explosion, step);
        }
        if (series->tail_entropy_share != NULL && series->tail_entropy_share[i] > 0.5)
            fate.entropy_explosion = earlier(fate.entropy_explosion, step);
    }
    fate.stall = series->n > 0 && fate.divergence == INFINITY &&
                 w.largest_move <= 0.01 * (rule.optimum - w.start);
    fate.survival = earlier(earlier(fate.collapse, fate.divergence), rule.horizon);
    fate.censored = fate.collapse == INFINITY && fate.divergence == INFINITY;
    fate.drawdown = w.drawdown;
    return fate;
}
