/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_FIND_EXPERIMENTS_H
#define SG_CLI_FIND_EXPERIMENTS_H

#include <stddef.h>

/* The folder of the experiment files behind the training figures, into buffer: $SOFTGATE_EXPERIMENTS if it is set; else
 * the first that exists of notebooks-data/experiments here, the same beside the build folder of the running program, and
 * share/softgate/experiments of the installation that it belongs to; else the first of these. Returns buffer. */
const char *cli_find_experiments(char *buffer, size_t size);

#endif
