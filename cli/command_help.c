/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/commands.h"
#include "cli/say.h"

typedef struct help_options {
    bool manual, completion;
} help_options;

static const cli_option options[] = {
    {.name = "manual",
     .kind = CLI_FLAG,
     .help = "print the manual page as scdoc source",
     .offset = offsetof(help_options, manual)},
    {.name = "completion",
     .kind = CLI_FLAG,
     .help = "print the completion script for bash",
     .offset = offsetof(help_options, completion)},
    {.name = NULL},
};

static const cli_example examples[] = {
    {"softgate help curve", "all about one command"},
    {"source <(softgate help --completion)", "complete commands and options in this shell"},
    {NULL, NULL},
};

static const char *command_word(size_t index)
{
    return cli_commands[index] ? cli_commands[index]->name : NULL;
}

static int run(const cli_call *call)
{
    const help_options *own = call->options;
    if (own->manual) {
        cli_help_manual();
    } else if (own->completion) {
        cli_help_completion();
    } else if (call->operands.count == 0) {
        cli_help_overview();
    } else {
        const char *name = call->operands.items[0];
        const cli_command *command = cli_command_find(name);
        if (!command)
            return cli_fail_unknown_command(name);
        cli_help_command(command);
    }
    return CLI_EXIT_DONE;
}

const cli_command cli_help = {
    .name = "help",
    .summary = "explain a command",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .word = command_word,
    .description = "Explains a command, its options and examples; without a command lists all of "
                   "them.",
    .options = options,
    .size = sizeof(help_options),
    .groups = CLI_TALK,
    .examples = examples,
    .run = run,
};
