/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R4, R5, R6, R8 and R10 drawn from runs whose every number is known. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "made_up_runs.h"
#include "plot_folder.h"
#include "plots/layout.h"
#include "plots/recipes/arm.h"
#include "plots/recipes/experiment.h"

enum { STEPS = MADE_UP_STEPS, SEEDS = MADE_UP_SEEDS, EVALUATIONS = 11 };

/* The drawing of a figure from given runs. */
static sg_drawing draw(const char *name, const sg_table *runs, sg_figure_options *options)
{
    sg_error error;
    *options = (sg_figure_options){.runs = runs};
    sg_drawing drawing = {.options = options};
    sg_status status = sg_recipe_find(name, &error)->build(&drawing, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    return drawing;
}

/* A panel's line of an arm. */
static const sg_layer *line_of(const sg_panel *panel, size_t arm)
{
    for (size_t i = 0; i < panel->layer_count; i++) {
        bool line = panel->layers[i].mark == SG_MARK_LINE || panel->layers[i].mark == SG_MARK_STEPS;
        if (line && arm-- == 0)
            return &panel->layers[i];
    }
    ck_abort_msg("the panel has too few lines");
    return NULL;
}

static size_t rows_of(const sg_layer *layer)
{
    size_t rows = 0;
    for (size_t row = 0; sg_layer_next(layer, &row); row++)
        rows++;
    return rows;
}

/* Median of the five runs of an arm by sorting, with 0 for one that has diverged. */
static double median(int arm, int step, double shift, double factor)
{
    double value[SEEDS];
    for (int seed = 1; seed <= SEEDS; seed++) {
        bool gone = arm == 2 && seed == 4 && step >= 80;
        double here = gone ? 0 : factor * made_up_score(arm, seed, step) + shift;
        int i = seed - 1;
        for (; i > 0 && value[i - 1] > here; i--)
            value[i] = value[i - 1];
        value[i] = here;
    }
    return value[SEEDS / 2];
}

START_TEST(r4_has_the_layout_of_the_paper)
{
    static const struct {
        const char *label;
        double shift, factor;
        bool dots;
    } expected[4] = {{"Training Reward", 0, 1, false},
                     {"Greedy Score", 0.05, 1, true},
                     {"Mean of 16 Samples", 0, 1, true},
                     {"Hard Subset", 0, 0.5, true}};
    static const uint32_t colours[3] = {0x0173B2, 0xDE8F05, 0x029E73};
    sg_table *runs = made_up_runs(made_up_methods);
    sg_figure_options options;
    sg_drawing drawing = draw("R4", runs, &options);
    const sg_figure *figure = drawing.figure;
    ck_assert_uint_eq(figure->rows * 10 + figure->columns, 22);
    ck_assert_int_eq(figure->legend, SG_LEGEND_BELOW);
    for (size_t p = 0; p < 4; p++) {
        const sg_panel *panel = &figure->panels[p];
        ck_assert_str_eq(panel->y.label, expected[p].label);
        ck_assert_str_eq(panel->x.label, p < 2 ? "" : "Gradient Steps");
        ck_assert(panel->x.bare == (p < 2));
        ck_assert_double_eq(panel->x.high, figure->panels[0].x.high);
        for (size_t arm = 0; arm < 3; arm++) {
            const sg_layer *line = line_of(panel, arm);
            ck_assert_uint_eq(line->pen.colour, colours[arm]);
            ck_assert_int_eq(line->pen.dash, SG_SOLID);
            ck_assert((line->every > 0) == expected[p].dots);
            ck_assert_uint_eq(rows_of(line), expected[p].dots ? EVALUATIONS : STEPS);
            for (size_t row = 0; sg_layer_next(line, &row); row++) {
                int step = (int)sg_layer_value(line, "step", row);
                ck_assert_double_eq_tol(
                    sg_layer_value(line, line->y, row),
                    median((int)arm, step, expected[p].shift, expected[p].factor), 1e-12);
            }
        }
    }
    ck_assert_str_eq(line_of(&figure->panels[1], 2)->title, "GRPO-R2 0.2/0.27");
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

START_TEST(failures_are_marked_at_their_own_values)
{
    sg_table *runs = made_up_runs(made_up_methods);
    sg_figure_options options;
    sg_drawing drawing = draw("R4", runs, &options);
    const sg_table *events = drawing.tables[2];
    ck_assert_str_eq(drawing.suffixes[2], "events");
    ck_assert_uint_eq(sg_table_rows(events), 4);
    for (size_t row = 0; row < 4; row++) {
        bool collapse = row < 3;
        int step = (int)number_at(events, "step", row);
        ck_assert_str_eq(sg_table_get_text(events, 2, row), collapse ? "collapse" : "divergence");
        ck_assert_double_eq(number_at(events, "seed", row), (double)row + 1);
        ck_assert(collapse ? step >= 60 && step <= 66 : step == 80);
        ck_assert_double_eq(number_at(events, "reward", row), made_up_score(2, (int)row + 1, step));
        /* Scores are those of the evaluation before: step 61 or 71. */
        ck_assert_double_eq(number_at(events, "mean16", row),
                            made_up_score(2, (int)row + 1, collapse ? 61 : 71));
    }
    for (size_t p = 0; p < 4; p++) {
        const sg_panel *panel = &drawing.figure->panels[p];
        size_t crosses = 0, circles = 0;
        for (size_t i = 0; i < panel->layer_count; i++) {
            const sg_layer *layer = &panel->layers[i];
            if (layer->mark != SG_MARK_POINTS)
                continue;
            crosses += layer->pen.marker == SG_CROSS ? rows_of(layer) : 0;
            circles += layer->pen.marker == SG_OPEN_CIRCLE ? rows_of(layer) : 0;
        }
        ck_assert_uint_eq(crosses, 3);
        ck_assert_uint_eq(circles, 1);
    }
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

START_TEST(r5_adds_survival_and_the_paired_gain)
{
    static const char *const labels[6] = {"Training Reward",     "Greedy Score",
                                          "Share of Runs Alive", "Mean of 16 Samples",
                                          "Hard Subset",         "Paired Gain in J"};
    static const char *const arms[3] = {"τ_{neg} > τ_{pos} (1.05 / 1)", "τ_{neg} = τ_{pos} (1 / 1)",
                                        "τ_{neg} < τ_{pos} (0.95 / 1)"};
    static const uint32_t colours[3] = {0x0173B2, 0xDE8F05, 0x029E73};
    sg_table *runs = made_up_runs(made_up_temperatures);
    sg_figure_options options;
    sg_drawing drawing = draw("R5", runs, &options);
    for (size_t p = 0; p < 6; p++)
        ck_assert_str_eq(drawing.figure->panels[p].y.label, labels[p]);
    for (size_t arm = 0; arm < 3; arm++) {
        ck_assert_str_eq(line_of(&drawing.figure->panels[1], arm)->title, arms[arm]);
        ck_assert_uint_eq(line_of(&drawing.figure->panels[1], arm)->pen.colour, colours[arm]);
        const sg_layer *alive = line_of(&drawing.figure->panels[2], arm);
        double last = NAN;
        for (size_t row = 0; sg_layer_next(alive, &row); row++)
            last = sg_layer_value(alive, "alive", row);
        ck_assert_double_eq_tol(last, arm == 2 ? 0.2 : 1, 1e-12);
    }
    const sg_layer *gain = line_of(&drawing.figure->panels[5], 1);
    for (size_t row = 0; sg_layer_next(gain, &row); row++)
        ck_assert_double_eq_tol(sg_layer_value(gain, gain->y, row), 0.01, 1e-12);
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

START_TEST(r6_draws_the_score_of_the_families)
{
    sg_table *runs = made_up_runs(made_up_methods);
    sg_figure_options options;
    sg_drawing drawing = draw("R6", runs, &options);
    ck_assert_uint_eq(drawing.figure->rows * 10 + drawing.figure->columns, 12);
    ck_assert_str_eq(drawing.figure->panels[1].y.label, "Aggregated Validation Score");
    ck_assert_str_eq(line_of(&drawing.figure->panels[1], 0)->y, "mean16");
    free_drawing(&drawing);
    sg_table_add_column(runs, "score", SG_COLUMN_REAL, NULL); /* a single family: all nan */
    drawing = draw("R6", runs, &options);
    ck_assert_str_eq(line_of(&drawing.figure->panels[1], 0)->y, "mean16");
    free_drawing(&drawing);
    for (size_t row = 0; row < sg_table_rows(runs); row++)
        sg_table_set_real(runs, (size_t)sg_table_find(runs, "score"), row, 0.7);
    drawing = draw("R6", runs, &options);
    const sg_layer *line = line_of(&drawing.figure->panels[1], 0);
    ck_assert_str_eq(line->y, "score");
    ck_assert_double_eq_tol(sg_layer_value(line, "score", 3), 0.7, 1e-15);
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

START_TEST(r8_is_purple_circles_and_orange_squares)
{
    static const char *const arms[MADE_UP_ARMS][2] = {{"grpo", "eps_low=0.2,eps_high=0.27"},
                                                      {"grpo", "eps_low=0.2,eps_high=0.27"},
                                                      {"grpo", "eps_low=0.2,routing=r2"}};
    sg_table *runs = made_up_runs(arms);
    sg_figure_options options;
    sg_drawing drawing = draw("R8", runs, &options);
    const sg_layer *without = line_of(&drawing.figure->panels[0], 0);
    const sg_layer *with = line_of(&drawing.figure->panels[0], 1);
    ck_assert_str_eq(without->title, "GRPO without Routing Replay");
    ck_assert_str_eq(with->title, "GRPO with Routing Replay");
    ck_assert_int_eq(without->pen.marker, SG_SQUARE);
    ck_assert_int_eq(with->pen.marker, SG_CIRCLE);
    ck_assert_uint_gt(with->every, 0);
    /* Purple has more blue than red, orange the other way round, by far. */
    ck_assert_int_gt((int)(with->pen.colour & 0xFF), (int)(with->pen.colour >> 16));
    ck_assert_int_gt((int)(without->pen.colour >> 16), 4 * (int)(without->pen.colour & 0xFF));
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

START_TEST(arms_are_named_by_their_parameters)
{
    static const char *const expected[][3] = {
        {"grpo", "eps_low=0.2,eps_high=0.27", "GRPO 0.2/0.27"},
        {"grpo", "eps_low=0.2,eps_high=0.27,routing=r3", "GRPO-R3 0.2/0.27"},
        {"grpo", "eps_low=0.2,eps_high=0.27,routing=free", "GRPO 0.2/0.27"},
        {"sapo", "tau_pos=1,tau_neg=1.05,projection=p1,match=kl",
         "SAPO 1/1.05, projection p1 match kl"},
        {"my_loss", "beta=3", "my_loss, beta 3"},
        {"my_loss", "", "my_loss"},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        sg_arm arm;
        sg_arm_describe(&arm, expected[i][0], expected[i][1]);
        ck_assert_str_eq(arm.label, expected[i][2]);
        ck_assert(arm.known == (i < 4));
    }
}
END_TEST

static const char *reason(const sg_drawing *drawing, size_t p)
{
    const sg_panel *panel = &drawing->figure->panels[p];
    ck_assert_uint_eq(panel->layer_count, 0);
    ck_assert_uint_eq(panel->note_count, 1);
    return panel->notes[0].text;
}

START_TEST(an_empty_panel_says_why)
{
    sg_table *runs = made_up_runs(made_up_methods);
    sg_figure_options options;
    size_t greedy = (size_t)sg_table_find(runs, "greedy");
    for (size_t row = 0; row < sg_table_rows(runs); row++)
        sg_table_set_real(runs, greedy, row, NAN);
    sg_drawing drawing = draw("R4", runs, &options);
    ck_assert_str_eq(reason(&drawing, 1), "\"greedy\" is nan in every run");
    ck_assert_str_eq(line_of(&drawing.figure->panels[2], 0)->title, "SAPO 1/1.05");
    free_drawing(&drawing);
    sg_table_set_meta(runs, "run.evaluate_every", "0", NULL);
    drawing = draw("R4", runs, &options);
    ck_assert_str_eq(reason(&drawing, 1), "not evaluated: run.evaluate_every is 0");
    sg_text script = {0};
    sg_error error;
    sg_picture picture = {{0}, {0}, {0}};
    ck_assert_int_eq(sg_figure_script(drawing.figure, "R4", sg_paper_find("neurips"),
                                      SG_PICTURE_SVG, &script, &error),
                     SG_OK);
    ck_assert_ptr_null(strstr(script.data, "NaN\n")); /* passed over, no gaps */
    ck_assert_int_eq(sg_gnuplot_run(script.data, "R4", SG_PICTURE_SVG, &picture, &error), SG_OK);
    ck_assert_str_eq(picture.messages.data, "");
    sg_picture_free(&picture);
    sg_text_free(&script);
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

/* ---- the note ---- */

START_TEST(the_note_says_what_came_out)
{
    sg_table *runs = made_up_runs(made_up_methods);
    sg_figure_options options;
    sg_drawing drawing = draw("R4", runs, &options);
    static const char *const told[] = {
        "Simulation, no language model: a toy policy (tabular) with vocabulary 1000",
        "5 seeds an arm, shared by the arms",
        "4 of 15 runs collapsed or diverged: SAPO 1/1.05 0 of 5 [0-43 %]",
        "GRPO-R2 0.2/0.27 4 of 5 [38-96 %] (McNemar p = 0.12)",
        "GSPO 0.0003/0.0004 0.01 [0.01, 0.01]",
        "GSPO 0.0003/0.0004 ends above the first arm",
        "GRPO-R2 0.2/0.27 ends below the first arm",
        "an order of the methods by failures, which differ no more than by chance",
        "anything about a language model"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        ck_assert_msg(strstr(drawing.remark, told[i]) != NULL, "\"%s\" is not in: %s", told[i],
                      drawing.remark);
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

/* Only the two first arms, which are well, the second moved to within a hair of the first. */
START_TEST(the_note_follows_the_numbers)
{
    sg_table *all = made_up_runs(made_up_methods), *runs = sg_table_alloc();
    sg_figure_options options;
    static const char *const names[] = {"objective", "params", "seed", "step", "reward"};
    for (size_t c = 0; c < 5; c++)
        sg_table_add_column(runs, names[c],
                            c < 2   ? SG_COLUMN_TEXT
                            : c < 4 ? SG_COLUMN_INTEGER
                                    : SG_COLUMN_REAL,
                            NULL);
    sg_table_add_rows(runs, 2 * SEEDS * STEPS, NULL);
    for (size_t row = 0; row < 2 * SEEDS * STEPS; row++) {
        int arm = (int)(row / (SEEDS * STEPS));
        for (size_t c = 0; c < 2; c++)
            sg_table_set_text(runs, c, row, sg_table_get_text(all, c, row), NULL);
        for (size_t c = 2; c < 4; c++)
            sg_table_set_integer(runs, c, row, sg_table_get_integer(all, c, row));
        sg_table_set_real(runs, 4, row, number_at(all, "reward", row) - 0.0099 * arm);
    }
    sg_drawing drawing = draw("R4", runs, &options);
    static const char *const told[] = {
        "From a log that does not say how it was made; 5 seeds an arm.",
        "No run of 10 collapsed or diverged (at 95 % an arm's rate is below 43 %)",
        "Reward at the end", "GSPO 0.0003/0.0004 ends within 0.001 of the first arm",
        "anything about which method collapses, as none did"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        ck_assert_msg(strstr(drawing.remark, told[i]) != NULL, "\"%s\" is not in: %s", told[i],
                      drawing.remark);
    ck_assert_ptr_null(strstr(drawing.remark, "imulation"));
    ck_assert_str_eq(reason(&drawing, 3), "the runs have no column \"hard\"");
    free_drawing(&drawing);
    sg_table_free(runs);
    sg_table_free(all);
}
END_TEST

/* ---- files ---- */

START_TEST(equal_runs_give_equal_files)
{
    static const char *const names[] = {"R4", "R5", "R6", "R8", "R10"};
    static const char *const endings[] = {".svg", ".csv", ".json", "-survival.csv", "-outcome.csv"};
    const char *name = names[_i];
    sg_table *runs = made_up_runs(_i == 1 ? made_up_temperatures : made_up_methods);
    sg_figure_options options = in_svg();
    sg_error error;
    options.runs = runs;
    char *first[5];
    size_t sizes[5], files = _i == 4 ? 4 : 5;
    for (int round = 0; round < 2; round++) {
        sg_status status = sg_figure_make(name, &options, &error);
        ck_assert_msg(status == SG_OK, "%s", error.message);
        for (size_t i = 0; i < files; i++) {
            char file[32];
            size_t size;
            snprintf(file, sizeof file, "%s%s", name, endings[i]);
            char *bytes = read_file(in_folder(file), &size);
            if (round == 0) {
                first[i] = bytes;
                sizes[i] = size;
                continue;
            }
            ck_assert_uint_eq(size, sizes[i]);
            ck_assert_msg(memcmp(bytes, first[i], size) == 0, "%s differs", file);
            if (i == 2)
                ck_assert_ptr_nonnull(strstr(bytes, "Simulation"));
            free(bytes);
            free(first[i]);
        }
    }
    sg_table_free(runs);
    options.runs = NULL; /* no table and no experiment: a sentence */
    options.experiments = plot_folder;
    ck_assert(!sg_recipe_has_experiment(sg_recipe_find(name, &error), &options));
    ck_assert_int_ne(sg_figure_make(name, &options, &error), SG_OK);
    ck_assert_ptr_nonnull(strstr(error.message, ".yaml"));
}
END_TEST

static const char small[] = "policy: {vocabulary: 60, head: 6}\n"
                            "task: {prompts: 2, length: 1}\n"
                            "rollout: {group: 64}\n"
                            "update: {objectives: [sapo, grpo], minibatches: 4}\n"
                            "run: {seeds: 2, steps: 64, observe_every: 16, evaluate_every: 16}\n";

static void put_experiment(const char *text)
{
    FILE *file = fopen(in_folder("mine.yaml"), "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(an_experiment_of_ones_own_is_run)
{
    sg_figure_options options = in_svg();
    sg_error error;
    size_t size;
    put_experiment(small);
    options.experiment = in_folder("mine.yaml");
    sg_status status = sg_figure_make("R4", &options, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    char *csv = read_file(in_folder("R4.csv"), &size);
    ck_assert_ptr_nonnull(strstr(csv, "# policy.vocabulary: 60\n"));
    free(csv);
    status = sg_figure_make("R10", &options, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    csv = read_file(in_folder("R10-survival.csv"), &size);
    ck_assert_ptr_nonnull(strstr(csv, ",N = 64,64,2,"));
    free(csv);
}
END_TEST

/* What the last of five settings needs is asked before the first is run. */
START_TEST(r10_asks_for_all_its_settings_at_once)
{
    sg_figure_options options = in_svg();
    sg_error error;
    put_experiment("rollout: {group: 16}\nupdate: {objectives: [sapo], minibatches: 4}\n"
                   "run: {seeds: 1, steps: 20000}\n");
    options.experiment = in_folder("mine.yaml");
    ck_assert_int_eq(sg_figure_make("R10", &options, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "update.minibatches 32 does not divide"));
}
END_TEST

START_TEST(staleness_counts_seeds_and_failures)
{
    sg_table *runs = made_up_runs(made_up_methods);
    sg_figure_options options;
    sg_drawing drawing = draw("R10", runs, &options);
    const sg_table *curves = drawing.tables[0], *survival = drawing.tables[1];
    ck_assert_uint_eq(sg_table_rows(curves), MADE_UP_ARMS * STEPS);
    ck_assert_double_eq_tol(number_at(curves, "reward", 99), made_up_score(0, 3, 100), 1e-12);
    ck_assert_double_eq(number_at(curves, "minibatches", 99), 16);
    ck_assert_uint_eq(sg_table_rows(survival), 3);
    for (size_t arm = 0; arm < 3; arm++) {
        ck_assert_double_eq(number_at(survival, "seeds", arm), SEEDS);
        ck_assert_double_eq(number_at(survival, "failed", arm), arm == 2 ? 4 : 0);
        ck_assert_double_eq(number_at(survival, "failed_30", arm), arm == 2 ? 4 : 0);
        ck_assert_double_eq(number_at(survival, "failed_70", arm), arm == 2 ? 4 : 0);
    }
    ck_assert_double_eq(number_at(survival, "survival", 0), 100);
    ck_assert_double_ge(number_at(survival, "survival", 2), (3 * 60 + 80 + 100) / 5.0);
    ck_assert_double_le(number_at(survival, "survival", 2), (3 * 66 + 80 + 100) / 5.0);
    ck_assert_ptr_nonnull(strstr(drawing.remark, "4 of 15 runs failed"));
    /* The table in the picture: the last panel's last line. */
    const sg_panel *table = &drawing.figure->panels[5];
    ck_assert(table->blank);
    ck_assert_str_eq(table->notes[table->note_count - 1].text, "4 of 5");
    free_drawing(&drawing);
    sg_table_free(runs);
}
END_TEST

/* The experiments that are shipped: both versions of each can be read, bands have 16 seeds at least,
 * and scores are measured at steps that are observed. */
START_TEST(shipped_experiments_fit_their_figures)
{
    static const char *const folders[] = {"", "/full"};
    const char *root = getenv("TEST_DATA");
    char folder[2048];
    static sg_config config;
    sg_error error;
    for (size_t i = 0; i < sg_recipe_count(); i++) {
        const sg_recipe *recipe = sg_recipe_at(i);
        for (size_t version = 0; version < 2 && recipe->training; version++) {
            snprintf(folder, sizeof folder, "%s/../notebooks-data/experiments%s",
                     root != NULL ? root : "tests", folders[version]);
            const sg_figure_options options = {.experiments = folder};
            sg_status status = sg_experiment_read(&options, recipe->name, &config, &error);
            ck_assert_msg(status == SG_OK, "%s", error.message);
            ck_assert_int_ge(config.run.seeds, strcmp(recipe->name, "R12") == 0 ? 1 : 16);
            ck_assert_int_eq(config.run.evaluate_every % config.run.observe_every, 0);
            bool scores = strcmp(recipe->name, "R4") == 0 || strcmp(recipe->name, "R5") == 0 ||
                          strcmp(recipe->name, "R6") == 0;
            ck_assert(!scores || config.run.evaluate_every > 0);
        }
    }
}
END_TEST

Suite *training_figures_suite(void);
Suite *training_figures_suite(void)
{
    Suite *suite = suite_create("training_figures");
    TCase *layout = add_plot_case(suite, "layout", 30);
    tcase_add_test(layout, r4_has_the_layout_of_the_paper);
    tcase_add_test(layout, failures_are_marked_at_their_own_values);
    tcase_add_test(layout, r5_adds_survival_and_the_paired_gain);
    tcase_add_test(layout, r6_draws_the_score_of_the_families);
    tcase_add_test(layout, r8_is_purple_circles_and_orange_squares);
    tcase_add_test(layout, arms_are_named_by_their_parameters);
    tcase_add_test(layout, an_empty_panel_says_why);
    TCase *notes = add_plot_case(suite, "notes", 30);
    tcase_add_test(notes, the_note_says_what_came_out);
    tcase_add_test(notes, the_note_follows_the_numbers);
    TCase *files = add_plot_case(suite, "files", 60);
    tcase_add_loop_test(files, equal_runs_give_equal_files, 0, 5);
    tcase_add_test(files, an_experiment_of_ones_own_is_run);
    tcase_add_test(files, shipped_experiments_fit_their_figures);
    tcase_add_test(files, r10_asks_for_all_its_settings_at_once);
    tcase_add_test(files, staleness_counts_seeds_and_failures);
    return suite;
}
