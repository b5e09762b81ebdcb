/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_OUTCOME_H
#define SG_OUTCOME_H

#include "core/status.h"
#include "core/table.h"

/* What came out, in numbers: one row for each arm of a table of fates (collapse.h). All intervals
 * are of 95 %; those of means are percentile bootstraps over seeds with 10,000 resamples.
 *
 *   runs, failed, failed_low, failed_high   collapsed or diverged, and Wilson's interval of its rate
 *   J_last, J_last_low, J_last_high         interquartile mean of the score at the end, 0 of a run
 *                                           that has diverged; it hides failures, hence also
 *   J_last_worst, J_last_cvar               the worst run, and the mean of the worst tenth
 *   drawdown                                the largest of any run
 *   pairs                                   seeds that the baseline has too
 *   gain, gain_low, gain_high               mean paired difference of J_last from the baseline's run
 *                                           of the same seed; NaN for the baseline
 *   failed_alone, baseline_failed_alone     seeds on which just one of the two failed
 *   failed_p                                McNemar's exact test of these two
 *   failed_30, failed_70                    failures when a collapse is the loss of 30 or 70 % of
 *                                           the gain
 *
 * `baseline` is the number of an arm, from 0. SG_EARGUMENT, SG_EDATA, SG_ENOMEM. */
sg_status sg_training_outcome(const sg_table *fates, size_t baseline, sg_table **outcome,
                              sg_error *error);

#endif
