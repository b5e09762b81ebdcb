/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_STRIP_H
#define SG_STRIP_H

#include <stddef.h>

#include "core/status.h"
#include "core/table.h"

/* One run, looked at step by step: the series by which its health is judged, and simple alarm rules
 * over them. The rules are the same for all runs and know nothing of how a run ended. */

typedef enum sg_alarm_kind {
    SG_ALARM_ABOVE,        /* value > limit */
    SG_ALARM_BELOW,        /* value < limit */
    SG_ALARM_ABOVE_START,  /* value > limit * first value */
    SG_ALARM_BELOW_START,  /* value < limit * first value */
    SG_ALARM_ABOVE_MEDIAN, /* value > limit * median of all earlier values, of at least 20 */
    SG_ALARM_BELOW_PEAK,   /* (value - first) < limit * (peak so far - first), the peak >= 0.1 up */
} sg_alarm_kind;

typedef struct sg_alarm_rule {
    const char *series, *name;
    sg_alarm_kind kind;
    double limit;
} sg_alarm_rule;

/* The rules; NULL past the end. */
const sg_alarm_rule *sg_alarm_rule_at(size_t index);

/* The run of a table that fails first (see collapse.h), or the first one when none does or when the
 * table does not say: rows [*first, *first + *count). A table without the columns objective,
 * params and seed, such as a trainer's log, is one run. */
sg_status sg_strip_choose(const sg_table *runs, size_t *first, size_t *count, sg_error *error);

/* Its series: columns step, reward, entropy, kl_old_new, grad_norm, eur_pos, eur_neg, ratio_mean,
 * ratio_mean_pos, ratio_mean_neg, ratio_max_pos, ratio_max_neg, sequence_variance,
 * sequence_deviation, sequence_deviation_true, negative_share, ess; a series that the table lacks is
 * NaN. negative_share = gate_mass_neg / (gate_mass_pos + gate_mass_neg), or
 * the column coefficient_share_neg. SG_EDATA without a column step or without rows. */
sg_status sg_strip_series(const sg_table *runs, size_t first, size_t count, sg_table **series,
                          sg_error *error);

/* Where rules hold in a table of sg_strip_series: columns series, rule (texts), low, high (steps,
 * half an interval beyond the first and the last row in which it holds). By hand: ess = 1, 0.4,
 * 0.3, 1 at the steps 1..4 gives one row from 1.5 to 3.5. A NaN never alarms. */
sg_status sg_strip_alarms(const sg_table *series, sg_table **alarms, sg_error *error);

#endif
