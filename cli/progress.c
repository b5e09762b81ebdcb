/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/say.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

cli_progress cli_progress_start(const cli_call *call, const char *unit)
{
    double start = now();
    return (cli_progress){.name = call->command->name,
                          .unit = unit,
                          .on = !cli_is_quiet() && !call->common.no_progress,
                          .terminal = isatty(STDERR_FILENO),
                          .start = start,
                          .last = start};
}

static void duration_words(double seconds, char *buffer, size_t size)
{
    if (seconds < 90)
        snprintf(buffer, size, "%.0f s", seconds);
    else if (seconds < 5400)
        snprintf(buffer, size, "%.0f min", seconds / 60);
    else
        snprintf(buffer, size, "%.1f h", seconds / 3600);
}

void cli_progress_update(cli_progress *progress, double done, double total)
{
    double time = now();
    if (!progress->on || time - progress->last < (progress->terminal ? 0.1 : 60.0))
        return;
    progress->last = time;
    double elapsed = time - progress->start, rate = done / elapsed;
    char left[32] = "?";
    if (done > 0)
        duration_words((total - done) / rate, left, sizeof left);
    fprintf(stderr, "%s%s: %.0f %%, %.0f of %.0f %s, %.3g a second, %s left%s",
            progress->terminal ? "\r" : "", progress->name, total > 0 ? 100 * done / total : 0,
            done, total, progress->unit, rate, left, progress->terminal ? "\033[K" : "\n");
    fflush(stderr);
    progress->drawn = progress->terminal;
}

void cli_progress_end(cli_progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
