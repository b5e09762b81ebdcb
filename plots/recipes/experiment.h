/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EXPERIMENT_H
#define SG_EXPERIMENT_H

#include "plots/recipes.h"
#include "sim/config.h"

/* The experiment of a training figure: the options' own or NAME.yaml in their folder, with seed and
 * threads of the options when they are set. */
sg_status sg_experiment_read(const sg_figure_options *options, const char *name, sg_config *config,
                             sg_error *error);

/* Its runs. Nothing is left of an interrupted simulation. */
sg_status sg_experiment_run(const sg_figure_options *options, const sg_config *config,
                            const sg_simulate_callbacks *callbacks, sg_table **runs,
                            sg_error *error);

/* Metadata of the runs go with the numbers of the figure. */
sg_status sg_experiment_copy_meta(sg_table *to, const sg_table *from, sg_error *error);

#endif
