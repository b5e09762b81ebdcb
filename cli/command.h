/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_COMMAND_H
#define SG_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/text.h"

/* A command is data: its name, its words of help, its options and a function. The parser, the help
 * text, the hints for typos, the manual page and the shell completion all read these tables, so
 * none of them can say something that is not so. */
typedef enum cli_kind {
    CLI_FLAG,    /* bool */
    CLI_TEXT,    /* const char * */
    CLI_CHOICE,  /* const char *, one of `value` ("csv|json") */
    CLI_CHOICES, /* const char *, some of `value`, separated by commas */
    CLI_LIST,    /* cli_list; the option may be repeated */
    CLI_INTEGER, /* int64_t in [min, max] */
    CLI_REAL,    /* double, finite, in [min, max] */
} cli_kind;

typedef struct cli_list {
    const char **items;
    size_t count;
} cli_list;

/* Numbers that were not given and have no default. */
#define CLI_ABSENT INT64_MIN

typedef struct cli_option {
    const char *name; /* long name without the dashes; NULL ends a table */
    char letter;      /* short name, or 0 */
    cli_kind kind;
    size_t offset;     /* of the value in the command's options */
    const char *value; /* what help calls the value: "SPEC"; the choices of CLI_CHOICE and CLI_CHOICES */
    const char *label; /* what help calls a choice when the choices are too many for its line */
    double min, max;   /* of numbers; both ends belong to the range */
    const char *help;
    unsigned group; /* common options only: which commands have it */
    bool neutral;   /* cannot change a result, so it is left out of the command that files record */
} cli_option;

/* Options that many commands have. A command takes those whose group is in its `groups`. */
enum {
    CLI_TALK = 1,    /* --quiet, --verbose, --no-color, --help */
    CLI_OUTPUT = 2,  /* --output, --format */
    CLI_COMPUTE = 4, /* --seed, --threads, --backend */
    CLI_LONG = 8,    /* --no-progress */
    CLI_DEVICE = 16, /* --backend cuda does something */
};

typedef struct cli_common {
    bool help, quiet, verbose, no_color, no_progress;
    const char *output; /* NULL or "-": standard output */
    const char *format; /* NULL: a table on a terminal, csv otherwise */
    const char *backend;
    int64_t seed;    /* CLI_ABSENT when not given */
    int64_t threads; /* CLI_ABSENT when not given */
} cli_common;

typedef struct cli_example {
    const char *command;
    const char *purpose;
} cli_example;

/* One use of a command. */
typedef struct cli_call {
    const struct cli_command *command;
    cli_common common;
    void *options; /* the command's own struct */
    cli_list operands;
    sg_text line; /* the command as text that a shell reads back, without neutral options */
} cli_call;

typedef struct cli_command {
    const char *name;
    const char *summary;  /* one line, no full stop */
    const char *operands; /* "BATCH", "NAME...", "" */
    size_t min_operands, max_operands;
    /* What an operand may be, for completion, NULL past the end; without it operands are files. */
    const char *(*word)(size_t index);
    const char *missing;     /* what to say when there are fewer than min_operands */
    const char *description; /* paragraphs, separated by an empty line */
    const cli_option *options;
    const void *defaults; /* initial options */
    size_t size;          /* of the options */
    unsigned groups;
    const char *output_help;          /* instead of the common help of --output; may be NULL */
    const cli_example *examples;      /* ends in a NULL command */
    int (*run)(const cli_call *call); /* returns the exit code */
} cli_command;

/* All commands, in the order in which help lists them; NULL ends the list. */
extern const cli_command *const cli_commands[];
extern const cli_option cli_common_options[];

const cli_command *cli_command_find(const char *name);
/* Read the arguments after the command's name. On a mistake prints one sentence and returns the
 * exit code; 0 otherwise. The call is to be freed with cli_call_free either way. */
int cli_parse(cli_call *call, const cli_command *command, int count, char **arguments);
void cli_call_free(cli_call *call);

/* What --backend says. */
sg_backend_kind cli_backend(const cli_call *call);

/* Append a blank and a word as a shell reads it back. */
void cli_append_quoted(sg_text *line, const char *word);

/* The options of a command one after the other, its own first: start with *state = 0; NULL at the
 * end. */
const cli_option *cli_option_next(const cli_command *command, size_t *state);

/* " (default 5)" for an option that has a default, else "". A common option needs no command. */
void cli_default_words(const cli_command *command, const cli_option *option, char *buffer,
                       size_t size);

void cli_help_overview(void);
void cli_help_command(const cli_command *command);
void cli_help_manual(void);     /* scdoc source of softgate(1) */
void cli_help_completion(void); /* bash */

#endif
