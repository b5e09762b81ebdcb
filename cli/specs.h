/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_SPECS_H
#define SG_CLI_SPECS_H

#include "cli/command.h"
#include "core/table.h"
#include "objective/objective.h"

typedef struct cli_objectives {
    sg_objective *items;
    size_t count;
} cli_objectives;

/* The objectives of --objective, then those among the operands from number `first` on. Prints what
 * is wrong and returns the exit code; 0 when there is at least one. Free the items. */
int cli_specs_parse(cli_objectives *objectives, const cli_call *call, const cli_list *specs,
                    size_t first);

/* The names of the objectives, for completion. */
const char *cli_specs_word(size_t index);

/* Numbers separated by commas, "+1,-1", each finite. `label` names the option. Free the numbers. */
int cli_numbers_parse(double **numbers, size_t *count, const char *label, const char *text);

/* Adds the resolved objectives to the metadata, "sapo:tau_pos=1,tau_neg=1.05 grpo:...". */
sg_status cli_specs_stamp(const cli_objectives *objectives, sg_table *table, sg_error *error);

#endif
