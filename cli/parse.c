/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reads a command's arguments by its option table. Options and operands may be mixed; "--" ends the
 * options; names are never abbreviated, because an abbreviation blocks the names of the future. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/say.h"

enum { MAX_OPTIONS = 64, NAME_SIZE = 64 };

static const cli_option *option_by_name(const cli_command *command, const char *name, size_t length)
{
    const cli_option *option;
    for (size_t state = 0; (option = cli_option_next(command, &state));)
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

static const cli_option *option_by_letter(const cli_command *command, char letter)
{
    const cli_option *option;
    for (size_t state = 0; (option = cli_option_next(command, &state));)
        if (option->letter == letter)
            return option;
    return NULL;
}

/* The option that a misspelt name is nearest to, or that it abbreviates, or NULL. */
static const char *nearest_option(const cli_command *command, const char *name)
{
    const char *names[MAX_OPTIONS + 1] = {0};
    const char *longer = NULL;
    size_t count = 0, matches = 0;
    const cli_option *option;
    for (size_t state = 0; count < MAX_OPTIONS && (option = cli_option_next(command, &state));) {
        names[count++] = option->name;
        if (strncmp(option->name, name, strlen(name)) == 0) {
            longer = option->name;
            matches++;
        }
    }
    return matches == 1 ? longer : sg_nearest_name(name, names);
}

static int fail_unknown(const cli_command *command, const char *argument)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(argument + 2, "="), argument + 2);
    const char *nearest = nearest_option(command, name);
    if (nearest)
        return cli_fail(SG_EARGUMENT, "%s has no option --%s; did you mean --%s?", command->name,
                        name, nearest);
    return cli_fail(SG_EARGUMENT, "%s has no option --%s; 'softgate %s --help' lists those it has",
                    command->name, name, command->name);
}

static bool is_choice(const char *choices, const char *value)
{
    size_t length = strlen(value);
    for (const char *at = choices; *at;) {
        size_t n = strcspn(at, "|");
        if (n == length && strncmp(at, value, n) == 0)
            return true;
        at += n + (at[n] == '|');
    }
    return false;
}

static int fail_choice(const cli_option *option, const char *label, const char *value)
{
    char words[256], sentence[320];
    const char *names[16] = {0};
    snprintf(words, sizeof words, "%s", option->value);
    size_t count = 0, length = 0;
    char *rest = NULL;
    for (char *word = strtok_r(words, "|", &rest); word && count < 15;
         word = strtok_r(NULL, "|", &rest))
        names[count++] = word;
    for (size_t i = 0; i < count && length < sizeof sentence; i++)
        length += (size_t)snprintf(sentence + length, sizeof sentence - length, "%s%s",
                                   i == 0           ? ""
                                   : i + 1 == count ? " or "
                                                    : ", ",
                                   names[i]);
    const char *nearest = sg_nearest_name(value, names);
    if (option->kind == CLI_CHOICES)
        return cli_fail(SG_EARGUMENT,
                        "%s has '%.60s' but must be %s, or several of them separated by commas",
                        label, value, sentence);
    if (nearest)
        return cli_fail(SG_EARGUMENT, "%s is '%.60s' but must be %s; did you mean %s?", label,
                        value, sentence, nearest);
    return cli_fail(SG_EARGUMENT, "%s is '%.60s' but must be %s", label, value, sentence);
}

static int fail_number(const cli_option *option, const char *label, const char *value)
{
    const char *what = option->kind == CLI_INTEGER ? "a whole number" : "a number";
    if (isinf(option->max))
        return cli_fail(SG_EARGUMENT, "%s is '%.60s' but must be %s of at least %.17g", label,
                        value, what, option->min);
    return cli_fail(SG_EARGUMENT, "%s is '%.60s' but must be %s from %.17g to %.17g", label, value,
                    what, option->min, option->max);
}

static int append(cli_list *list, const char *item)
{
    const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        return cli_fail(SG_ENOMEM, "not enough memory for the arguments");
    list->items = items;
    list->items[list->count++] = item;
    return 0;
}

/* Choices separated by commas: each of them is one. */
static int store_choices(const char **place, const cli_option *option, const char *label,
                         const char *value)
{
    for (const char *at = value;; at++) {
        char word[64];
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (length == 0 || length >= sizeof word || !is_choice(option->value, word))
            return fail_choice(option, label, word);
        at += length;
        if (!*at)
            break;
    }
    *place = value;
    return 0;
}

/* Convert and check a value; `label` says where it came from, "--threads" or "SOFTGATE_THREADS". */
static int store(void *base, const cli_option *option, const char *label, const char *value)
{
    void *place = (char *)base + option->offset;
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)place = true;
        return 0;
    case CLI_TEXT:
        if (!*value)
            return cli_fail(SG_EARGUMENT, "%s is empty; give %s", label, option->value);
        *(const char **)place = value;
        return 0;
    case CLI_CHOICE:
        if (!is_choice(option->value, value))
            return fail_choice(option, label, value);
        *(const char **)place = value;
        return 0;
    case CLI_CHOICES:
        return store_choices(place, option, label, value);
    case CLI_LIST:
        return append(place, value);
    case CLI_INTEGER: {
        int64_t number;
        if (!sg_parse_integer(value, &number) || (double)number < option->min ||
            (double)number > option->max)
            return fail_number(option, label, value);
        *(int64_t *)place = number;
        return 0;
    }
    case CLI_REAL: {
        double number;
        if (!sg_parse_real(value, &number) || !isfinite(number) || number < option->min ||
            number > option->max)
            return fail_number(option, label, value);
        *(double *)place = number;
        return 0;
    }
    }
    return 0;
}

static bool is_common(const cli_option *option)
{
    return option->group != 0;
}

void cli_append_quoted(sg_text *line, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=:,./@%";
    sg_text_append(line, " ");
    if (*word && strspn(word, plain) == strlen(word)) {
        sg_text_append(line, word);
        return;
    }
    bool control = false;
    for (const char *c = word; *c; c++)
        control = control || iscntrl((unsigned char)*c);
    sg_text_append(line, control ? "$'" : "'");
    for (const char *c = word; *c; c++) {
        if (control && iscntrl((unsigned char)*c))
            sg_text_printf(line, "\\%03o", (unsigned char)*c);
        else if (control && (*c == '\'' || *c == '\\'))
            sg_text_printf(line, "\\%c", *c);
        else if (*c == '\'')
            sg_text_append(line, "'\\''");
        else
            sg_text_append_bytes(line, c, 1);
    }
    sg_text_append(line, "'");
}

static int take(cli_call *call, const cli_option *option, const char *value)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "--%s", option->name);
    if (!option->neutral) {
        cli_append_quoted(&call->line, name);
        if (option->kind != CLI_FLAG)
            cli_append_quoted(&call->line, value);
    }
    return store(is_common(option) ? &call->common : call->options, option, name, value);
}

static int fail_no_value(const cli_option *option)
{
    return cli_fail(SG_EARGUMENT, "--%s needs a value: --%s %s", option->name, option->name,
                    option->value);
}

/* --name, --name=VALUE or --name VALUE. Moves *index past what it used. */
static int parse_long(cli_call *call, int count, char **arguments, int *index)
{
    const char *argument = arguments[*index], *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument - 2) : strlen(argument + 2);
    const cli_option *option = option_by_name(call->command, argument + 2, length);
    if (!option)
        return fail_unknown(call->command, argument);
    if (option->kind == CLI_FLAG) {
        if (equals)
            return cli_fail(SG_EARGUMENT, "--%s takes no value", option->name);
        return take(call, option, NULL);
    }
    if (equals)
        return take(call, option, equals + 1);
    if (*index + 1 >= count)
        return fail_no_value(option);
    return take(call, option, arguments[++*index]);
}

/* -q, -qv, -oFILE or -o FILE. */
static int parse_letters(cli_call *call, int count, char **arguments, int *index)
{
    for (const char *letter = arguments[*index] + 1; *letter; letter++) {
        const cli_option *option = option_by_letter(call->command, *letter);
        if (!option)
            return cli_fail(SG_EARGUMENT,
                            "%s has no option -%c; 'softgate %s --help' lists those it has",
                            call->command->name, *letter, call->command->name);
        if (option->kind == CLI_FLAG) {
            int code = take(call, option, NULL);
            if (code)
                return code;
            continue;
        }
        if (letter[1])
            return take(call, option, letter + 1);
        if (*index + 1 >= count)
            return fail_no_value(option);
        return take(call, option, arguments[++*index]);
    }
    return 0;
}

/* SOFTGATE_THREADS=2 is --threads 2, unless the command line says otherwise later. */
static int parse_environment(cli_call *call)
{
    for (const cli_option *option = cli_common_options; option->name; option++) {
        if (!(option->group & call->command->groups & (CLI_COMPUTE | CLI_LONG)))
            continue;
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "SOFTGATE_%s", option->name);
        for (char *c = name; *c; c++)
            *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        const char *value = getenv(name);
        if (!value || !*value)
            continue;
        int code = store(&call->common, option, name, value);
        if (code)
            return code;
    }
    return 0;
}

static int check_operands(const cli_call *call)
{
    const cli_command *command = call->command;
    if (call->operands.count < command->min_operands)
        return cli_fail(SG_EARGUMENT, "%s", command->missing);
    if (call->operands.count > command->max_operands)
        return cli_fail(SG_EARGUMENT,
                        "%s does not know what to do with '%.60s'; see 'softgate %s --help'",
                        command->name, call->operands.items[command->max_operands], command->name);
    return 0;
}

int cli_parse(cli_call *call, const cli_command *command, int count, char **arguments)
{
    *call = (cli_call){.command = command,
                       .common = {.backend = "auto", .seed = CLI_ABSENT, .threads = CLI_ABSENT}};
    call->options = calloc(1, command->size + 1);
    if (!call->options)
        return cli_fail(SG_ENOMEM, "not enough memory for the options");
    if (command->defaults)
        memcpy(call->options, command->defaults, command->size);
    sg_text_printf(&call->line, "softgate %s", command->name);
    int code = parse_environment(call);
    bool options_end = false;
    for (int i = 0; i < count && !code; i++) {
        const char *argument = arguments[i];
        if (options_end || argument[0] != '-' || !argument[1]) {
            cli_append_quoted(&call->line, argument);
            code = append(&call->operands, argument);
        } else if (strcmp(argument, "--") == 0) {
            options_end = true;
        } else if (argument[1] == '-') {
            code = parse_long(call, count, arguments, &i);
        } else {
            code = parse_letters(call, count, arguments, &i);
        }
    }
    if (code || call->common.help)
        return code;
    return check_operands(call);
}

void cli_call_free(cli_call *call)
{
    const cli_option *option = call->command->options;
    for (; call->options && option && option->name; option++)
        if (option->kind == CLI_LIST)
            free(((cli_list *)(void *)((char *)call->options + option->offset))->items);
    free(call->options);
    free(call->operands.items);
    sg_text_free(&call->line);
    *call = (cli_call){0};
}
