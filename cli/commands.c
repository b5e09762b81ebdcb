/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"

#include <string.h>

#include "cli/say.h"

enum { MAX_COMMANDS = 32 };

const cli_command *const cli_commands[] = {
    &cli_objectives_command,
    &cli_curve,
    &cli_replay,
    &cli_simulate,
    &cli_figure,
    &cli_bench,
    &cli_info,
    &cli_help,
    &cli_version_command,
    NULL,
};

const cli_command *cli_command_find(const char *name)
{
    for (const cli_command *const *command = cli_commands; *command; command++)
        if (strcmp((*command)->name, name) == 0)
            return *command;
    return NULL;
}

int cli_fail_unknown_command(const char *name)
{
    const char *names[MAX_COMMANDS + 1] = {0};
    for (size_t i = 0; cli_commands[i] && i < MAX_COMMANDS; i++)
        names[i] = cli_commands[i]->name;
    const char *nearest = sg_nearest_name(name, names);
    if (nearest)
        return cli_fail(SG_EARGUMENT, "there is no command '%.60s'; did you mean %s?", name,
                        nearest);
    return cli_fail(SG_EARGUMENT, "there is no command '%.60s'; 'softgate' alone lists them", name);
}
