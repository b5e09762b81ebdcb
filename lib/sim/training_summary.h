/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TRAINING_SUMMARY_H
#define SG_TRAINING_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "core/table.h"

/* Many seeds in one line: what a table of sg_simulate says of each arm. An arm is one pair of
 * objective and params; arms keep their order. */

typedef struct sg_summary_column {
    const char *name;
    /* Instead of the value, its difference from the baseline arm's run of the same seed at the same
     * step: arms share their random numbers, so most of the noise cancels. */
    bool gain;
    /* A run that has diverged scores 0 from there on; else it is left out. */
    bool score;
} sg_summary_column;

/* Median and central band over the runs of an arm at every observed step. Columns: objective,
 * params, step, runs (how many were observed then and had not diverged), and for each of `columns`
 * NAME_low, NAME and NAME_high (NAME_gain_low, ... for a gain): the quantiles (1 - band) / 2, 1/2
 * and (1 + band) / 2. A value that is NaN is left out. `fates` (collapse.h; may be NULL) says which
 * runs have diverged: if they were only left out, the rest would look the better the more of them
 * there are. A step at which no run of an arm is left has no row. band in (0, 1), 0.8 for a
 * 10-90 % band; `baseline` is the number of an arm, from 0, that gains refer to. SG_EARGUMENT,
 * SG_EDATA when a column is missing.
 *
 * By hand: J = 1, 2, 4 at a step gives the median 2; as a score, with two more runs that have
 * diverged, 0, 0, 1, 2, 4 gives 1. */
sg_status sg_training_summary(const sg_table *runs, const sg_table *fates,
                              const sg_summary_column *columns, size_t count, size_t baseline,
                              double band, sg_table **summary, sg_error *error);

/* Share of the runs of an arm that have neither collapsed nor diverged against the step, by Kaplan
 * and Meier, from their fates (collapse.h). Columns: objective, params, step, alive, low, high
 * (95 % interval), at_risk, events; the last row of an arm is the end of the experiment. */
sg_status sg_training_survival(const sg_table *fates, sg_table **survival, sg_error *error);

#endif
