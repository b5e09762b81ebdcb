/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_COMMANDS_H
#define SG_CLI_COMMANDS_H

#include "cli/command.h"

/* One file a command: command_NAME.c. */
extern const cli_command cli_objectives_command;
extern const cli_command cli_curve;
extern const cli_command cli_replay;
extern const cli_command cli_simulate;
extern const cli_command cli_figure;
extern const cli_command cli_bench;
extern const cli_command cli_info;
extern const cli_command cli_help;
extern const cli_command cli_version_command;

/* Says that there is no such command, with the nearest one; returns the exit code. */
int cli_fail_unknown_command(const char *name);

#endif
