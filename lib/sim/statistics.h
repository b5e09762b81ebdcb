/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_STATISTICS_H
#define SG_STATISTICS_H

#include "sim/dispersion.h"
#include "sim/run.h"

/* Inside lib/sim only: how far the tokens of responses are from one common ratio, over every
 * minibatch of every run of an arm. A run fills a dispersion of its own; finished runs are merged
 * into that of their arm, in any order. */

/* One dispersion for each arm. SG_ENOMEM. */
sg_status sg_statistics_alloc(sg_dispersion **arms, const sg_config *config, sg_error *error);
void sg_statistics_free(sg_dispersion *arms, const sg_config *config);

/* Lets the run, which is run number `seed` of its arm, fill one. SG_ENOMEM. */
sg_status sg_statistics_start(sg_run *run, const sg_config *config, size_t seed, sg_error *error);
/* The responses of the minibatch at gradient step `step`, from 1. */
void sg_statistics_add(sg_run *run, size_t step);

/* A new table with the rows of sg_dispersion_append for each arm, and the configuration. */
sg_status sg_statistics_table(const sg_dispersion *arms, const sg_config *config, sg_table **table,
                              sg_error *error);

#endif
