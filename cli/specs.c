/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/specs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/say.h"

enum { PARAMETERS_SIZE = 512 };

int cli_specs_parse(cli_objectives *objectives, const cli_call *call, const cli_list *specs,
                    size_t first)
{
    size_t extra = call->operands.count > first ? call->operands.count - first : 0;
    size_t count = specs->count + extra;
    *objectives = (cli_objectives){0};
    if (count == 0)
        return cli_fail(SG_EARGUMENT,
                        "%s needs at least one objective: --objective sapo; 'softgate objectives' "
                        "lists them",
                        call->command->name);
    objectives->items = calloc(count, sizeof *objectives->items);
    if (!objectives->items)
        return cli_fail(SG_ENOMEM, "not enough memory for %zu objectives", count);
    for (; objectives->count < count; objectives->count++) {
        size_t i = objectives->count;
        const char *spec =
            i < specs->count ? specs->items[i] : call->operands.items[first + i - specs->count];
        sg_error error;
        if (sg_objective_parse(&objectives->items[i], spec, &error) != SG_OK)
            return cli_report(&error);
    }
    return CLI_EXIT_DONE;
}

const char *cli_specs_word(size_t index)
{
    return index < sg_method_count() ? sg_method_at(index)->name : NULL;
}

static int fail_numbers(const char *label, const char *text)
{
    return cli_fail(SG_EARGUMENT,
                    "%s is '%.60s' but must be numbers separated by commas, such as 1,-1", label,
                    text);
}

int cli_numbers_parse(double **numbers, size_t *count, const char *label, const char *text)
{
    size_t most = 1;
    for (const char *c = text; *c; c++)
        most += *c == ',';
    *count = 0;
    *numbers = calloc(most, sizeof **numbers);
    if (!*numbers)
        return cli_fail(SG_ENOMEM, "not enough memory for the numbers of %s", label);
    for (const char *at = text;; at++) {
        char word[64];
        size_t length = strcspn(at, ",");
        if (length >= sizeof word)
            return fail_numbers(label, text);
        memcpy(word, at, length);
        word[length] = '\0';
        double *number = &(*numbers)[(*count)++];
        if (!sg_parse_real(word, number) || !isfinite(*number))
            return fail_numbers(label, text);
        at += length;
        if (!*at)
            return CLI_EXIT_DONE;
    }
}

sg_status cli_specs_stamp(const cli_objectives *objectives, sg_table *table, sg_error *error)
{
    sg_text text = {0};
    for (size_t i = 0; i < objectives->count; i++) {
        char parameters[PARAMETERS_SIZE];
        sg_objective_parameters(&objectives->items[i], parameters, sizeof parameters);
        sg_text_printf(&text, "%s%s%s%s", i ? " " : "", objectives->items[i].method->name,
                       *parameters ? ":" : "", parameters);
    }
    sg_status status = text.failed ? sg_fail(error, SG_ENOMEM, "not enough memory for the metadata")
                                   : sg_table_set_meta(table, "objectives", text.data, error);
    sg_text_free(&text);
    return status;
}
