/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one state of the tool's voice; written before anything speaks. */
static struct {
    bool quiet, verbose, color;
} voice;

static bool terminal_has_color(void)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDERR_FILENO) && (!no_color || !*no_color) && terminal &&
           strcmp(terminal, "dumb") != 0;
}

void cli_say_setup(bool quiet, bool verbose, bool no_color)
{
    voice.quiet = quiet;
    voice.verbose = verbose;
    voice.color = !no_color && terminal_has_color();
}

bool cli_is_quiet(void)
{
    return voice.quiet;
}

int cli_exit_code(sg_status status)
{
    switch (status) {
    case SG_OK:
        return CLI_EXIT_DONE;
    case SG_EARGUMENT:
    case SG_EDATA:
        return CLI_EXIT_USAGE;
    case SG_EINTERRUPTED:
        return CLI_EXIT_INTERRUPTED;
    default:
        return CLI_EXIT_IO;
    }
}

int cli_report(const sg_error *error)
{
    const char *open = voice.color ? "\033[1;31m" : "", *close = voice.color ? "\033[0m" : "";
    const char *message = error->message[0] ? error->message : sg_status_meaning(error->status);
    fflush(stdout); /* on a terminal, what was printed before stays before */
    fprintf(stderr, "%ssoftgate:%s %s\n", open, close, message);
    return cli_exit_code(error->status);
}

int cli_fail(sg_status status, const char *format, ...)
{
    char message[SG_MESSAGE_SIZE];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    sg_error error;
    sg_fail(&error, status, "%s", message); /* cleans control characters */
    return cli_report(&error);
}

__attribute__((format(printf, 1, 0))) static void talk(const char *format, va_list list)
{
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
}

void cli_note(const char *format, ...)
{
    if (voice.quiet)
        return;
    va_list list;
    va_start(list, format);
    talk(format, list);
    va_end(list);
}

void cli_detail(const char *format, ...)
{
    if (!voice.verbose)
        return;
    va_list list;
    va_start(list, format);
    talk(format, list);
    va_end(list);
}
