/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The manual page (scdoc source) and the completion for bash, made from the same tables as the
 * help. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "objective/objective.h"
#include "sim/config.h"

/* scdoc reads _ and * as markup and a backslash as an escape. */
static void put_escaped(const char *text)
{
    for (; text && *text; text++) {
        if (strchr("\\_*<>#`", *text))
            putchar('\\');
        putchar(*text);
    }
}

/* In a literal block only a backslash is special. */
static void put_literal(const char *text)
{
    for (; *text; text++) {
        if (*text == '\\')
            putchar('\\');
        putchar(*text);
    }
}

static void put_option(const cli_command *command, const cli_option *option)
{
    char words[64];
    fputs("*", stdout);
    if (option->letter)
        printf("-%c*, *", option->letter);
    put_escaped("--");
    put_escaped(option->name);
    fputs("*", stdout);
    if (option->value) {
        fputs(" _", stdout);
        put_escaped(option->label ? option->label : option->value);
        fputs("_", stdout);
    }
    fputs("\n\t", stdout);
    put_escaped(option->help);
    cli_default_words(command, option, words, sizeof words);
    put_escaped(words);
    if (option->label) {
        fputs(": ", stdout);
        put_escaped(option->value);
    }
    fputs(option->kind == CLI_LIST ? "; may be repeated\n\n" : "\n\n", stdout);
}

static void put_command(const cli_command *command)
{
    printf("## softgate %s ", command->name);
    put_escaped(command->operands);
    fputs(" [OPTIONS]\n\n", stdout);
    put_escaped(command->description);
    fputs("\n\n", stdout);
    for (const cli_option *option = command->options; option && option->name; option++)
        put_option(command, option);
    for (const cli_example *example = command->examples; example && example->command; example++) {
        put_escaped(example->purpose);
        fputs(":\n\n```\n", stdout);
        put_literal(example->command);
        fputs("\n```\n\n", stdout);
    }
}

void cli_help_manual(void)
{
    fputs("softgate(1)\n\n# NAME\n\n"
          "softgate - analyse, simulate and draw the policy objectives of LLM RL\n\n"
          "# SYNOPSIS\n\n*softgate* _COMMAND_ [OPTIONS]\n\n# COMMANDS\n\n",
          stdout);
    for (const cli_command *const *command = cli_commands; *command; command++)
        put_command(*command);
    fputs("# COMMON OPTIONS\n\n", stdout);
    for (const cli_option *option = cli_common_options; option->name; option++)
        put_option(NULL, option);
    fputs("# EXIT STATUS\n\n"
          "*0*\n\tdone\n\n*1*\n\ta negative answer\n\n*2*\n\twrong usage or input\n\n"
          "*3*\n\ta file, a device or another program failed\n\n*130*\n\tinterrupted\n\n"
          "# ENVIRONMENT\n\n"
          "*SOFTGATE\\_SEED*, *SOFTGATE\\_THREADS*, *SOFTGATE\\_BACKEND*, "
          "*SOFTGATE\\_NO\\_PROGRESS*\n"
          "\tvalues of the options of the same names; the command line wins\n\n"
          "*NO\\_COLOR*\n\tno colour when it is set and not empty\n\n"
          "# SEE ALSO\n\n*gnuplot*(1)\n",
          stdout);
}

static void put_choices(const cli_option *option)
{
    for (const char *c = option->value; *c; c++)
        putchar(*c == '|' ? ' ' : *c);
}

/* Does the option take the name of a file or a folder? */
static bool takes_path(const cli_option *option)
{
    static const char *const paths[] = {"FILE", "DIR", "TABLE"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (option->kind == CLI_TEXT && strcmp(option->value, paths[i]) == 0)
            return true;
    return false;
}

static void put_key(void *context, const char *key, const char *value)
{
    (void)context, (void)value;
    printf(" %s=", key);
}

/* After an option: its choices, the objectives, the keys of an experiment, or files. */
static void put_option_values(const cli_command *command)
{
    const cli_option *option;
    puts("    case \"$previous\" in");
    for (size_t state = 0; (option = cli_option_next(command, &state));) {
        if (option->kind == CLI_FLAG)
            continue;
        printf("    --%s", option->name);
        if (option->letter)
            printf(" | -%c", option->letter);
        fputs(") ", stdout);
        if (option->kind == CLI_CHOICE || option->kind == CLI_CHOICES) {
            fputs(option->kind == CLI_CHOICE ? "words='" : "list='", stdout);
            put_choices(option);
            fputs("'", stdout);
        } else if (strcmp(option->name, "objective") == 0) {
            fputs("words=\"$objectives\"", stdout);
        } else if (strcmp(option->name, "set") == 0) {
            sg_config config;
            sg_config_init(&config);
            fputs("open=1; words='", stdout);
            sg_config_visit(&config, put_key, NULL);
            fputs("'", stdout);
        } else if (takes_path(option)) {
            fputs("files=1", stdout);
        } else {
            fputs(":", stdout);
        }
        puts(" ;;");
    }
    fputs("    *) words='", stdout);
    for (size_t state = 0; (option = cli_option_next(command, &state));)
        printf(" --%s", option->name);
    for (size_t i = 0; command->word && command->word(i); i++)
        printf(" %s", command->word(i));
    fputs("'", stdout);
    if (*command->operands && !command->word)
        fputs("; [ \"${current:0:1}\" = - ] || files=1", stdout);
    puts(" ;;\n    esac");
}

void cli_help_completion(void)
{
    puts("# bash completion for softgate; made by 'softgate help --completion'\n"
         "_softgate() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local words='' files='' list='' open='' after='' word before\n"
         "  if [ \"$current\" = = ]; then\n"
         "    current='' after=1\n"
         "  elif [ \"$previous\" = = ]; then\n"
         "    previous=${COMP_WORDS[COMP_CWORD-2]} after=1\n"
         "  fi\n"
         "  [ -z \"$after\" ] || [ \"${previous:0:2}\" = -- ] || return 0");
    fputs("  local objectives='", stdout);
    for (size_t i = 0; i < sg_method_count(); i++)
        printf("%s ", sg_method_at(i)->name);
    puts("'\n  [ \"$COMP_CWORD\" -gt 1 ] && case ${COMP_WORDS[1]} in");
    for (const cli_command *const *command = cli_commands; *command; command++) {
        printf("  %s)\n", (*command)->name);
        put_option_values(*command);
        puts("    ;;");
    }
    fputs("  esac\n  [ \"$COMP_CWORD\" -gt 1 ] || words='", stdout);
    for (const cli_command *const *command = cli_commands; *command; command++)
        printf("%s ", (*command)->name);
    puts("'\n"
         "  before=${current%\"${current##*,}\"}\n"
         "  for word in $list; do\n"
         "    case \",$before\" in *\",$word,\"*) ;; *) words+=\" $before$word\" ;; esac\n"
         "  done\n"
         "  [ -z \"$open$list\" ] || compopt -o nospace 2>/dev/null\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\";"
         " [ -z \"$files\" ] || compgen -f -- \"$current\")\n"
         "}\n"
         "complete -o filenames -F _softgate softgate");
}
