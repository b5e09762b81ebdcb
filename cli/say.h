/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_SAY_H
#define SG_CLI_SAY_H

#include <stdbool.h>

#include "core/status.h"

/* What the tool says to people, on standard error. Standard output is for data. */
enum {
    CLI_EXIT_DONE = 0,
    CLI_EXIT_NEGATIVE = 1, /* the answer is no */
    CLI_EXIT_USAGE = 2,    /* what was asked or given is wrong: change it */
    CLI_EXIT_IO = 3,       /* a file, a device or another program failed */
    CLI_EXIT_INTERRUPTED = 130,
};

/* Set once, from the options. */
void cli_say_setup(bool quiet, bool verbose, bool no_color);

/* Exit code of a status. Data that cannot be used counts as wrong usage: running the same command
 * again cannot help, which is what separates 2 from 3. */
int cli_exit_code(sg_status status);

/* "softgate: SENTENCE" in one line; both return the exit code. Never silenced. */
int cli_fail(sg_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_report(const sg_error *error);

/* Talk that -q silences, and talk that only -v wants. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool cli_is_quiet(void);

#endif
