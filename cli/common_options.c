/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/command.h"

#include <string.h>

#define PLACE(field) .offset = offsetof(cli_common, field)

/* Each of these can also be set in the environment: SOFTGATE_SEED for --seed, and so on
 * (see parse.c); the command line wins. */
const cli_option cli_common_options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_TEXT,
     .value = "FILE",
     .help = "write to FILE instead of standard output (-); .csv, .json and .npz choose the format",
     .group = CLI_OUTPUT,
     .neutral = true,
     PLACE(output)},
    {.name = "format",
     .kind = CLI_CHOICE,
     .value = "csv|json|npz|table",
     .help = "format of the data; without it a table on a terminal, csv elsewhere",
     .group = CLI_OUTPUT,
     PLACE(format)},
    {.name = "seed",
     .kind = CLI_INTEGER,
     .value = "N",
     .min = 0,
     .max = 9007199254740992.0,
     .help = "seed of the random numbers; the same seed gives the same bytes",
     .group = CLI_COMPUTE,
     PLACE(seed)},
    {.name = "threads",
     .kind = CLI_INTEGER,
     .value = "N",
     .min = 1,
     .max = 1024,
     .help = "threads to use; results do not depend on it (default: all cores)",
     .group = CLI_COMPUTE,
     .neutral = true,
     PLACE(threads)},
    {.name = "backend",
     .kind = CLI_CHOICE,
     .value = "auto|cpu|cuda",
     .help = "where to compute; cuda is for simulate and bench, and auto is the CPU until CUDA has "
             "been shown right and faster on a device",
     .group = CLI_COMPUTE,
     PLACE(backend)},
    {.name = "no-progress",
     .kind = CLI_FLAG,
     .help = "do not report progress on standard error",
     .group = CLI_LONG,
     .neutral = true,
     PLACE(no_progress)},
    {.name = "quiet",
     .letter = 'q',
     .kind = CLI_FLAG,
     .help = "say nothing on standard error but errors",
     .group = CLI_TALK,
     .neutral = true,
     PLACE(quiet)},
    {.name = "verbose",
     .letter = 'v',
     .kind = CLI_FLAG,
     .help = "say more on standard error",
     .group = CLI_TALK,
     .neutral = true,
     PLACE(verbose)},
    {.name = "no-color",
     .kind = CLI_FLAG,
     .help = "no colour, as with NO_COLOR=1 in the environment",
     .group = CLI_TALK,
     .neutral = true,
     PLACE(no_color)},
    {.name = "help",
     .letter = 'h',
     .kind = CLI_FLAG,
     .help = "show this help",
     .group = CLI_TALK,
     .neutral = true,
     PLACE(help)},
    {.name = NULL},
};

const cli_option *cli_option_next(const cli_command *command, size_t *state)
{
    size_t own = 0;
    while (command->options && command->options[own].name)
        own++;
    if (*state < own)
        return &command->options[(*state)++];
    for (;;) {
        const cli_option *option = &cli_common_options[*state - own];
        if (!option->name)
            return NULL;
        ++*state;
        if (option->group & command->groups)
            return option;
    }
}

sg_backend_kind cli_backend(const cli_call *call)
{
    const char *name = call->common.backend;
    return strcmp(name, "cuda") == 0  ? SG_BACKEND_CUDA
           : strcmp(name, "cpu") == 0 ? SG_BACKEND_CPU
                                      : SG_BACKEND_AUTO;
}
