/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CHECKPOINT_H
#define SG_CHECKPOINT_H

#include "sim/run.h"

/* Inside lib/sim only: what a simulation needs to go on after its process was killed. One file
 * holds who wrote it, the experiment, the records of finished runs, the last state of every other
 * run that has begun, and the statistics of each arm's finished runs, if they are asked for.
 *
 * Runs are trained by several threads. Each keeps its own state here from time to time, and
 * whichever does so when the file is old enough writes the file for all. Only the functions with
 * `run` in their comment may be called by several threads at once. */

/* A run that is over. */
typedef struct sg_finished {
    sg_record *records; /* NULL: not over */
    size_t count;
    bool ended_early;
    size_t start_steps; /* of the warm start */
} sg_finished;

typedef struct sg_checkpoint sg_checkpoint;

/* Reads the file when options->resume, fills finished[] from it, and writes it anew, so that a
 * path that cannot be written is found now. finished: [runs], outlives the checkpoint. `backend`
 * has room for SG_BACKEND_NAME bytes and is saved too; it is changed inside critical(sg_checkpoint)
 * only. statistics: [arms], filled from the file and outlives the checkpoint, or NULL with 0 arms. SG_EIO, SG_EDATA, SG_ENOMEM, SG_EARGUMENT
 * when there is a file and it is not to be continued. */
enum { SG_BACKEND_NAME = 64 };
sg_status sg_checkpoint_start(sg_checkpoint **checkpoint, const sg_checkpoint_options *options,
                              const sg_config *config, size_t runs, sg_finished *finished,
                              char *backend, struct sg_dispersion *statistics, size_t arms,
                              sg_error *error);
void sg_checkpoint_free(sg_checkpoint *checkpoint);

/* The run goes on where the file left it, or stays at its start. */
sg_status sg_checkpoint_continue(const sg_checkpoint *checkpoint, size_t index, sg_run *run,
                                 sg_error *error);
/* Between two steps of the run: keep its state if that is due, or if `now`. */
sg_status sg_checkpoint_keep(sg_checkpoint *checkpoint, size_t index, const sg_run *run, bool now,
                             sg_error *error);
/* The run is over; its records become those of `finished`, and its statistics, if there are any, are merged into those
 * of its arm, index % arms. */
sg_status sg_checkpoint_finish_run(sg_checkpoint *checkpoint, size_t index, sg_finished over,
                                   const struct sg_dispersion *statistics, sg_error *error);
/* Write the file now. */
sg_status sg_checkpoint_write(sg_checkpoint *checkpoint, sg_error *error);

#endif
