/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef WHOLE_RUN_H
#define WHOLE_RUN_H

#include <check.h>
#include <stdlib.h>

#include "sim/run.h"

/* One run of an experiment with what it stands on, to look at from the inside. */
typedef struct whole_run {
    sg_task task;
    double *logits;
    sg_run run;
} whole_run;

static inline void open_run(whole_run *w, const sg_config *config)
{
    sg_error error = {0};
    sg_prior prior = sg_config_prior(config);
    w->logits = malloc(prior.vocabulary * sizeof *w->logits);
    sg_prior_logits(&prior, w->logits);
    ck_assert_msg(sg_config_check(config, &error) == SG_OK, "%s", error.message);
    ck_assert_int_eq(sg_task_init(&w->task, config, w->logits, NULL), SG_OK);
    ck_assert_msg(sg_run_init(&w->run, config, &w->task, w->logits, 0, 9, &error) == SG_OK, "%s",
                  error.message);
}

static inline void close_run(whole_run *w)
{
    sg_run_clear(&w->run);
    sg_task_clear(&w->task);
    free(w->logits);
}

#endif
