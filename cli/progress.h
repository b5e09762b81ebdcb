/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_PROGRESS_H
#define SG_CLI_PROGRESS_H

#include <stdbool.h>

#include "cli/command.h"

/* How far long work has come, on standard error: on a terminal one line that is redrawn at most ten
 * times a second, elsewhere a line a minute. Silent with -q and --no-progress. */
typedef struct cli_progress {
    const char *name, *unit;
    bool on, terminal, drawn;
    double start, last; /* seconds of the monotonic clock */
} cli_progress;

cli_progress cli_progress_start(const cli_call *call, const char *unit);
void cli_progress_update(cli_progress *progress, double done, double total);
void cli_progress_end(cli_progress *progress); /* removes the line from the terminal */

#endif
