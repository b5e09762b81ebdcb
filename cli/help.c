/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Help for people, made from the tables of the commands. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/build_info.h"
#include "cli/command.h"

enum { WIDTH = 80, LEFT = 28 };

/* Prints words from column `column` on, later lines indented by `indent`. Ends with a newline. */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
    while (*text) {
        size_t length = strcspn(text, " \n");
        if (column + 1 + length > WIDTH && column > indent) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        }
        printf("%.*s", (int)length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            printf("\n%*s", text[1] == '\n' ? 0 : (int)indent, "");
            column = indent;
            text++;
        } else if (*text == ' ') {
            text++;
            if (column + 1 + strcspn(text, " \n") < WIDTH) {
                putchar(' ');
                column++;
            } else {
                printf("\n%*s", (int)indent, "");
                column = indent;
            }
        }
    }
    putchar('\n');
}

/* "  left part       right part, wrapped" */
static void print_entry(const char *left, const char *right)
{
    size_t length = strlen(left);
    if (2 + length + 2 > LEFT)
        printf("  %s\n%*s", left, LEFT, "");
    else
        printf("  %-*s", LEFT - 2, left);
    print_wrapped(right, LEFT, LEFT);
}

void cli_default_words(const cli_command *command, const cli_option *option, char *buffer,
                       size_t size)
{
    static const cli_common common = {.backend = "auto", .seed = CLI_ABSENT, .threads = CLI_ABSENT};
    buffer[0] = '\0';
    const void *base = option->group ? &common : command->defaults;
    if (!base)
        return;
    const void *place = (const char *)base + option->offset;
    if (option->kind == CLI_TEXT || option->kind == CLI_CHOICE ||
        option->kind == CLI_CHOICES) {
        const char *text = *(const char *const *)place;
        if (text)
            snprintf(buffer, size, " (default %s)", text);
    } else if (option->kind == CLI_INTEGER && *(const int64_t *)place != CLI_ABSENT) {
        snprintf(buffer, size, " (default %lld)", (long long)*(const int64_t *)place);
    } else if (option->kind == CLI_REAL && !isnan(*(const double *)place)) {
        snprintf(buffer, size, " (default %g)", *(const double *)place);
    }
}

static void print_option(const cli_command *command, const cli_option *option)
{
    char left[128], right[768], words[64];
    const char *value = option->label ? option->label : option->value;
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, value ? " " : "",
             value ? value : "");
    const char *help = option->help;
    if (command->output_help && option->group && strcmp(option->name, "output") == 0)
        help = command->output_help;
    cli_default_words(command, option, words, sizeof words);
    size_t length = (size_t)snprintf(right, sizeof right, "%s%s%s", help,
                                     option->kind == CLI_LIST ? "; may be repeated" : "", words);
    if (option->label) {
        snprintf(right + length, sizeof right - length, ": ");
        for (const char *c = option->value; *c; c++) {
            length = strlen(right);
            snprintf(right + length, sizeof right - length, *c == '|' ? ", " : "%c", *c);
        }
    }
    print_entry(left, right);
}

static void print_examples(const cli_example *example)
{
    if (!example || !example->command)
        return;
    puts("\nExamples");
    for (; example->command; example++)
        printf("  # %s\n  %s\n", example->purpose, example->command);
}

void cli_help_command(const cli_command *command)
{
    printf("usage: softgate %s%s%s [OPTIONS]\n\n", command->name, *command->operands ? " " : "",
           command->operands);
    print_wrapped(command->description, 0, 0);
    const cli_option *option;
    bool own = false, common = false;
    for (size_t state = 0; (option = cli_option_next(command, &state));) {
        if (!option->group && !own)
            puts("\nOptions");
        if (option->group && !common)
            puts("\nCommon options");
        own = own || !option->group;
        common = common || option->group;
        print_option(command, option);
    }
    print_examples(command->examples);
}

void cli_help_overview(void)
{
    static const cli_example examples[] = {
        {"softgate figure R1 -o figures", "draw the gates of the SAPO paper's Figure 1"},
        {"softgate curve sapo grpo --ratio 0:5:11", "tabulate two objectives"},
        {"softgate objectives", "see which objectives there are"},
        {NULL, NULL},
    };
    printf("softgate %s: analyse, simulate and draw the policy objectives of LLM RL\n\n"
           "usage: softgate COMMAND [OPTIONS]\n\nCommands\n",
           cli_version);
    for (const cli_command *const *command = cli_commands; *command; command++)
        printf("  %-12s%s\n", (*command)->name, (*command)->summary);
    print_examples(examples);
    puts("\n'softgate COMMAND --help' explains a command. Data goes to standard output, talk to "
         "standard\nerror. Exit codes: 0 done, 1 a negative answer, 2 wrong usage or input, 3 a "
         "file or another\nprogram failed, 130 interrupted.");
}
