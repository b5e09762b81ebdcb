/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/build_info.h"
#include "cli/commands.h"
#include "cli/find_experiments.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "io/table_io.h"
#include "plots/recipes.h"
#include "sim/config.h"

typedef struct figure_options {
    const char *directory, *format, *paper, *runs, *experiment, *experiments;
    int64_t columns;
    bool list, emit_gp, full;
} figure_options;

#define PLACE(field) .offset = offsetof(figure_options, field)

static const cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = CLI_TEXT,
     .value = "DIR",
     .help = "folder for the files; it is made when it is not there",
     .neutral = true,
     PLACE(directory)},
    {.name = "format",
     .kind = CLI_CHOICES,
     .value = "pdf|svg|png|tex",
     .label = "LIST",
     .help = "formats of the pictures, separated by commas: pdf, svg, png, tex",
     PLACE(format)},
    {.name = "paper",
     .kind = CLI_CHOICE,
     .value = "screen|neurips|icml|iclr|acl|ieee|nature|slide",
     .label = "NAME",
     .help = "width, font size and lines for a place of publication",
     PLACE(paper)},
    {.name = "columns",
     .kind = CLI_INTEGER,
     .value = "N",
     .min = 1,
     .max = 2,
     .help = "columns of the page that the figure takes where --paper has two: icml, acl, ieee, "
             "nature; in one of them panels stand in pairs",
     PLACE(columns)},
    {.name = "emit-gp",
     .kind = CLI_FLAG,
     .help = "also write NAME.gp, the gnuplot script with its data, to adjust by hand",
     PLACE(emit_gp)},
    {.name = "runs",
     .kind = CLI_TEXT,
     .value = "TABLE",
     .help =
         "draw training figures from a result of 'softgate simulate', or a log with the columns "
         "objective, params, seed, step and reward, instead of running an experiment, and R2 and "
         "R3 "
         "from its --statistics instead of synthetic rows",
     PLACE(runs)},
    {.name = "experiment",
     .kind = CLI_TEXT,
     .value = "FILE",
     .help = "run this experiment for training figures instead of their own",
     PLACE(experiment)},
    {.name = "experiments",
     .kind = CLI_TEXT,
     .value = "DIR",
     .help = "folder with the training figures' experiments, NAME.yaml",
     PLACE(experiments)},
    {.name = "full",
     .kind = CLI_FLAG,
     .help = "run the larger version of the training figures' experiments, of the folder full "
             "beside them, by the same rules",
     PLACE(full)},
    {.name = "list", .kind = CLI_FLAG, .help = "list the figures instead", PLACE(list)},
    {.name = NULL},
};

static const figure_options defaults = {
    .directory = "figures", .format = "pdf,svg,png", .paper = "screen", .columns = CLI_ABSENT};

static const cli_example examples[] = {
    {"softgate figure R1", "the gates of the SAPO paper's Figure 1"},
    {"softgate figure R1 R1c --paper neurips --format pdf,tex -o paper/figures",
     "two figures for a paper"},
    {"softgate figure R1 --paper icml --columns 1 -o paper/figures",
     "as wide as one column of a two-column paper"},
    {"softgate simulate --print-config > mine.yaml && softgate figure R4 --experiment mine.yaml",
     "a training figure of your own experiment"},
    {"softgate figure --list", "which figures there are"},
    {NULL, NULL},
};

static sg_status list_figures(sg_table *table, sg_error *error)
{
    static const char *const names[] = {"figure", "title"};
    sg_status status = SG_OK;
    for (size_t i = 0; i < 2 && !status; i++)
        status = sg_table_add_column(table, names[i], SG_COLUMN_TEXT, error);
    for (size_t row = 0; row < sg_recipe_count() && !status; row++) {
        status = sg_table_add_rows(table, 1, error);
        if (!status)
            status = sg_table_set_text(table, 0, row, sg_recipe_at(row)->name, error);
        if (!status)
            status = sg_table_set_text(table, 1, row, sg_recipe_at(row)->title, error);
    }
    return status;
}

static int print_list(void)
{
    sg_error error = {SG_ENOMEM, ""};
    sg_table *table = sg_table_alloc();
    int code = CLI_EXIT_DONE;
    if (!table || list_figures(table, &error) ||
        sg_table_write_stream(table, SG_FORMAT_TABLE, stdout, &error))
        code = cli_report(&error);
    sg_table_free(table);
    return code;
}

/* "pdf,svg" as a set; the parser knows the names. */
static unsigned parse_formats(const char *text)
{
    unsigned formats = 0;
    for (const char *at = text; *at; at += *at == ',') {
        char word[32];
        size_t length = strcspn(at, ",");
        sg_picture_format format;
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (sg_picture_format_from_name(word, &format))
            formats |= 1u << format;
        at += length;
    }
    return formats;
}

/* mkdir -p */
static int make_directory(const char *path)
{
    char part[4096];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return cli_fail(SG_EARGUMENT, "the name of the folder is too long");
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return cli_fail(SG_EIO, "cannot make the folder %s: %s", path, strerror(errno));
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return cli_fail(SG_EIO, "%s is not a folder, so no figure can go into it", path);
    return CLI_EXIT_DONE;
}

/* Unknown names are found before the first figure is drawn. */
static int check_names(const cli_list *names)
{
    sg_error error;
    for (size_t i = 0; i < names->count; i++)
        if (strcasecmp(names->items[i], "all") != 0 && !sg_recipe_find(names->items[i], &error))
            return cli_report(&error);
    return CLI_EXIT_DONE;
}

/* Is the recipe drawn from --runs, or from --experiment? */
static bool takes(const sg_recipe *recipe, const char *source)
{
    return recipe->training || (recipe->statistics && strcmp(source, "--runs") == 0);
}

/* "R4, R5, R8 and R12": the figures that take the source. */
static void append_takers(sg_text *text, const char *source)
{
    size_t count = 0, done = 0;
    for (size_t i = 0; i < sg_recipe_count(); i++)
        count += takes(sg_recipe_at(i), source);
    for (size_t i = 0; i < sg_recipe_count(); i++) {
        if (!takes(sg_recipe_at(i), source))
            continue;
        sg_text_printf(text, "%s%s",
                       done == 0           ? ""
                       : done + 1 == count ? " and "
                                           : ", ",
                       sg_recipe_at(i)->name);
        done++;
    }
}

/* Runs or an experiment of one's own are for figures that are drawn from them. */
static int check_sources(const cli_call *call)
{
    const figure_options *own = call->options;
    const char *source = own->runs ? "--runs" : own->experiment ? "--experiment" : NULL;
    if (own->experiment && cli_is_stdout(own->experiment))
        return cli_fail(SG_EARGUMENT, "--experiment needs a file, which every figure reads anew: "
                                      "--experiment mine.yaml");
    if (own->runs && own->experiment)
        return cli_fail(SG_EARGUMENT, "--runs and --experiment both say what to draw; give one");
    if (source && (own->full || own->experiments))
        return cli_fail(SG_EARGUMENT,
                        "%s chooses among softgate's own experiments, and %s replaces them; give "
                        "one",
                        own->full ? "--full" : "--experiments", source);
    for (size_t i = 0; i < call->operands.count && source; i++) {
        sg_error ignored;
        const char *name = call->operands.items[i];
        const sg_recipe *recipe = sg_recipe_find(name, &ignored);
        if (recipe && takes(recipe, source))
            continue;
        sg_text takers = {0};
        append_takers(&takers, source);
        int code = cli_fail(SG_EARGUMENT, "%s is for figures of training runs, %s, not for %s",
                            source, takers.data, recipe ? recipe->name : name);
        sg_text_free(&takers);
        return code;
    }
    return CLI_EXIT_DONE;
}

/* The folder of experiments into `folder`. */
static int choose_experiments(const figure_options *own, char *folder, size_t size)
{
    struct stat info;
    if (own->experiments)
        snprintf(folder, size, "%s", own->experiments);
    else
        cli_find_experiments(folder, size);
    size_t length = strlen(folder);
    if (own->full)
        snprintf(folder + length, size - length, "/full");
    if ((own->experiments || own->full) && (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode)))
        return cli_fail(SG_EIO, "there is no folder %s with experiments", folder);
    return CLI_EXIT_DONE;
}

static bool is_named(const cli_list *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcasecmp(names->items[i], name) == 0)
            return true;
    return false;
}

/* `all` is every figure that can be drawn: of a folder with some experiments, theirs. */
static bool is_wanted(const cli_list *names, const sg_recipe *recipe,
                      const sg_figure_options *figure)
{
    return is_named(names, recipe->name) ||
           (is_named(names, "all") &&
            (!recipe->training || sg_recipe_has_experiment(recipe, figure)));
}

/* The command that makes just this figure and its table. The formats of pictures change neither. */
static void append_command(sg_text *line, const cli_call *call, const char *name)
{
    const figure_options *own = call->options;
    sg_text_printf(line, "softgate figure %s", name);
    if (call->common.seed != CLI_ABSENT)
        sg_text_printf(line, " --seed %lld", (long long)call->common.seed);
    if (strcmp(own->paper, defaults.paper) != 0)
        sg_text_printf(line, " --paper %s", own->paper);
    if (own->columns == 1)
        sg_text_append(line, " --columns 1");
    const char *const paths[][2] = {{"--runs", own->runs},
                                    {"--experiment", own->experiment},
                                    {"--experiments", own->experiments}};
    const sg_recipe *recipe = sg_recipe_find(name, &(sg_error){0});
    for (size_t i = 0; i < 3; i++) {
        if (paths[i][1] != NULL && takes(recipe, paths[i][0])) {
            sg_text_printf(line, " %s", paths[i][0]);
            cli_append_quoted(line, paths[i][1]);
        }
    }
    if (own->full && recipe->training)
        sg_text_append(line, " --full");
}

static void on_progress(void *context, double fraction)
{
    cli_progress_update(context, 100 * fraction, 100);
}

static int draw_figures(const cli_call *call, sg_figure_options *figure)
{
    sg_error error;
    size_t total = 0, done = 0;
    for (size_t i = 0; i < sg_recipe_count(); i++)
        total += is_wanted(&call->operands, sg_recipe_at(i), figure);
    cli_interrupt_defer();
    for (size_t i = 0; i < sg_recipe_count(); i++) {
        const sg_recipe *recipe = sg_recipe_at(i);
        if (!is_wanted(&call->operands, recipe, figure)) {
            if (is_named(&call->operands, "all") && !call->common.no_progress)
                cli_note("%s is left out: there is no %s/%s.yaml", recipe->name,
                         figure->experiments, recipe->name);
            continue;
        }
        sg_text command = {0};
        append_command(&command, call, recipe->name);
        figure->command = command.data;
        cli_progress progress = cli_progress_start(call, "percent");
        sg_simulate_callbacks callbacks = {on_progress, &progress, cli_interrupt_flag()};
        figure->callbacks = &callbacks;
        sg_status status = sg_figure_make(recipe->name, figure, &error);
        cli_progress_end(&progress);
        sg_text_free(&command);
        if (cli_interrupted())
            return cli_fail(SG_EINTERRUPTED, "interrupted; %zu of %zu figures are in %s", done,
                            total, figure->directory);
        if (status != SG_OK)
            return cli_report(&error);
        done++;
        if (!call->common.no_progress)
            cli_note("%zu of %zu: %s/%s, %s", done, total, figure->directory, recipe->name,
                     recipe->title);
    }
    return CLI_EXIT_DONE;
}

static const char *figure_word(size_t index)
{
    return index == sg_recipe_count()  ? "all"
           : index < sg_recipe_count() ? sg_recipe_at(index)->name
                                       : NULL;
}

static int run(const cli_call *call)
{
    const figure_options *own = call->options;
    if (own->list)
        return print_list();
    if (call->operands.count == 0)
        return cli_fail(SG_EARGUMENT, "figure needs a name: softgate figure R1, or all; 'softgate "
                                      "figure --list' lists them");
    sg_figure_options figure = {
        .directory = own->directory,
        .paper = own->paper,
        .columns = own->columns == 1 ? 1 : 0,
        .emit_gp = own->emit_gp,
        .seed = call->common.seed == CLI_ABSENT ? 0 : (uint64_t)call->common.seed,
        .threads = call->common.threads == CLI_ABSENT ? 0 : (int)call->common.threads,
        .version = cli_version,
        .git_hash = cli_git_hash,
    };
    char experiments[4096];
    figure.experiments = experiments;
    figure.experiment = own->experiment;
    sg_table *runs = NULL;
    sg_config config;
    sg_error error;
    int code = check_names(&call->operands);
    if (!code)
        code = check_sources(call);
    if (!code)
        code = choose_experiments(own, experiments, sizeof experiments);
    if (!code && own->experiment && sg_config_read(&config, own->experiment, &error) != SG_OK)
        code = cli_report(&error);
    figure.formats = parse_formats(own->format);
    if (!code && own->runs && sg_table_read(&runs, own->runs, &error) != SG_OK)
        code = cli_report(&error);
    figure.runs = runs;
    if (!code)
        code = make_directory(own->directory);
    if (!code)
        code = draw_figures(call, &figure);
    sg_table_free(runs);
    return code;
}

const cli_command cli_figure = {
    .name = "figure",
    .summary = "draw figures, each with the table behind it",
    .operands = "NAME...|all",
    .max_operands = SIZE_MAX,
    .word = figure_word,
    .description =
        "Draws figures with gnuplot into a folder: the pictures, NAME.csv with exactly the plotted "
        "numbers, and NAME.json with caption, parameters, seed and version. Training figures run "
        "their experiment first: NAME.yaml of notebooks-data/experiments, or of the folder that "
        "SOFTGATE_EXPERIMENTS or --experiments names; --runs and --experiment draw your own. The "
        "same command gives the same bytes.",
    .options = options,
    .defaults = &defaults,
    .size = sizeof defaults,
    .groups = CLI_TALK | CLI_COMPUTE | CLI_LONG,
    .examples = examples,
    .run = run,
};
