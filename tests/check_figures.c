/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Recipes to files, and the numbers behind the figures that nothing is simulated for. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "curve/diffusion.h"
#include "curve/landmarks.h"
#include "io/table_io.h"
#include "plot_folder.h"
#include "plots/gnuplot.h"
#include "plots/layout.h"
#include "sim/synthetic.h"

/* ---- figures ---- */

START_TEST(unknown_names_are_answered)
{
    sg_error error;
    sg_figure_options options = in_svg();
    ck_assert_int_eq(sg_figure_make("R13bb", &options, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "did you mean R13b"));
    ck_assert_int_eq(sg_figure_make("photosynthesis", &options, &error), SG_EARGUMENT);
    options.paper = "papyrus";
    ck_assert_int_eq(sg_figure_make("R1", &options, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "neurips"));
    options = in_svg();
    options.directory = in_folder("absent");
    ck_assert_int_eq(sg_figure_make("R1", &options, &error), SG_EIO);
    ck_assert_int_eq(count_entries(), 0);
    ck_assert_ptr_eq(sg_recipe_find("r1B", &error), sg_recipe_find("R1b", &error));
}
END_TEST

/* Every legend entry is in the picture, gnuplot has nothing to complain about, and the numbers are
 * there. */
START_TEST(every_recipe_draws_its_legend)
{
    const sg_recipe *recipe = sg_recipe_at((size_t)_i);
    if (recipe->training || recipe->heavy)
        return;
    ck_assert_ptr_nonnull(strstr(recipe->caption, "Reader: "));
    sg_error error;
    sg_drawing drawing = {0};
    sg_status status = recipe->build(&drawing, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    sg_text script = {0}, text = {0};
    sg_picture picture = {{0}, {0}, {0}};
    status = sg_figure_script(drawing.figure, recipe->name, sg_paper_find("neurips"),
                              SG_PICTURE_SVG, &script, &error);
    if (status == SG_OK)
        status = sg_gnuplot_run(script.data, recipe->name, SG_PICTURE_SVG, &picture, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    ck_assert_str_eq(picture.messages.data, "");
    strip_svg(picture.main.data, &text);
    for (size_t p = 0; p < drawing.figure->rows * drawing.figure->columns; p++) {
        const sg_panel *panel = &drawing.figure->panels[p];
        ck_assert_uint_gt(panel->layer_count, 0);
        for (size_t i = 0; i < panel->layer_count; i++) {
            sg_text title = {0};
            strip_markup(panel->layers[i].title, &title);
            if (title.length > 0)
                ck_assert_msg(strstr(text.data, title.data) != NULL, "%s is not drawn", title.data);
            sg_text_free(&title);
            ck_assert(sg_layer_has_rows(&panel->layers[i]));
        }
    }
    for (size_t i = 0; i < drawing.table_count; i++)
        sg_table_free(drawing.tables[i]);
    sg_figure_free(drawing.figure);
    sg_picture_free(&picture);
    sg_text_free(&script);
    sg_text_free(&text);
}
END_TEST

START_TEST(equal_inputs_give_equal_bytes)
{
    static const char *const files[] = {"R1.svg",     "R1.png", "R1.pdf",  "R1.tex",
                                        "R1-inc.pdf", "R1.csv", "R1.json", "R1.gp"};
    enum { FILES = sizeof files / sizeof *files };
    char *first[FILES];
    size_t sizes[FILES];
    sg_error error;
    sg_figure_options options = {.directory = plot_folder, .formats = 15, .emit_gp = true};
    for (int round = 0; round < 2; round++) {
        sg_status status = sg_figure_make("R1", &options, &error);
        ck_assert_msg(status == SG_OK, "%s", error.message);
        for (size_t i = 0; i < FILES; i++) {
            size_t size;
            char *bytes = read_file(in_folder(files[i]), &size);
            if (round == 0) {
                first[i] = bytes;
                sizes[i] = size;
                continue;
            }
            ck_assert_uint_eq(size, sizes[i]);
            ck_assert_msg(memcmp(bytes, first[i], size) == 0, "%s differs", files[i]);
            free(bytes);
            free(first[i]);
        }
        sleep(round == 0); /* dates would differ */
    }
    ck_assert_int_eq(count_entries(), FILES);
}
END_TEST

START_TEST(emitted_script_draws_the_same_picture)
{
    sg_error error;
    sg_figure_options options = in_svg();
    options.emit_gp = true;
    ck_assert_int_eq(sg_figure_make("R9", &options, &error), SG_OK);
    size_t size, again_size;
    char *bytes = read_file(in_folder("R9.svg"), &size);
    unlink(in_folder("R9.svg"));
    char command[600];
    snprintf(command, sizeof command, "cd '%s' && LC_ALL=C.UTF-8 gnuplot -d R9.gp", plot_folder);
    ck_assert_int_eq(system(command), 0);
    char *again = read_file(in_folder("R9.svg"), &again_size);
    ck_assert_uint_eq(size, again_size);
    ck_assert_int_eq(memcmp(bytes, again, size), 0);
    free(bytes);
    free(again);
}
END_TEST

START_TEST(pdf_dates_become_constant)
{
    char pdf[] = "x /CreationDate (D:20261122121238Z) /ModDate (D:2026) y";
    sg_pdf_normalise(pdf, sizeof pdf - 1);
    ck_assert_str_eq(pdf, "x /CreationDate (D:20000101000000Z) /ModDate (D:2000) y");
}
END_TEST

/* ---- numbers ---- */

static sg_table *csv_of(const char *figure, const char *file)
{
    sg_error error;
    sg_figure_options options = in_svg();
    sg_status status = sg_figure_make(figure, &options, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    sg_table *table;
    status = sg_table_read(&table, in_folder(file), &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    return table;
}

/* The only row with that label (a prefix) and ratio, near A. */
static double cell(const sg_table *table, const char *label, double advantage, double ratio,
                   const char *column)
{
    size_t label_column = (size_t)sg_table_find(table, "label");
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        double at = sg_table_get_number(table, (size_t)sg_table_find(table, "ratio"), row);
        double a = sg_table_get_number(table, (size_t)sg_table_find(table, "advantage"), row);
        if (strncmp(sg_table_get_text(table, label_column, row), label, strlen(label)) == 0 &&
            a == advantage && fabs(at - ratio) < 1e-9)
            return sg_table_get_number(table, (size_t)sg_table_find(table, column), row);
    }
    ck_abort_msg("no row for %s at ratio %g", label, ratio);
    return NAN;
}

START_TEST(r1_has_the_published_numbers)
{
    static const struct {
        const char *label;
        double f[3], w[4]; /* at r = 0, 2, 5 and 0, 2, 3, 5 */
    } expected[] = {
        {"Soft Gate (τ=1.0)", {1.0758, 2.9242, 3.9281}, {0.7864, 0.7864, 0.4200, 0.0707}},
        {"Soft Gate (τ=2.0)", {0.2384, 1.7616, 1.9993}, {0.4200, 0.4200, 0.0707, 0.0013}},
        {"Soft Gate (τ=3.0)", {0.0632, 1.2701, 1.3333}, {0.1807, 0.1807, 0.0099, 0.00002}},
    };
    static const double at_f[] = {0, 2, 5}, at_w[] = {0, 2, 3, 5};
    sg_table *table = csv_of("R1", "R1.csv");
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++)
            ck_assert_double_eq_tol(cell(table, expected[i].label, 1, at_f[k], "surrogate"),
                                    expected[i].f[k], 6e-5);
        for (size_t k = 0; k < 4; k++)
            ck_assert_double_eq_tol(cell(table, expected[i].label, 1, at_w[k], "weight"),
                                    expected[i].w[k], 6e-5);
        ck_assert_double_eq_tol(cell(table, expected[i].label, 1, 1, "weight"), 1, 1e-15);
    }
    /* 1001 points a curve, and r = 2 twice where the hard clip has its vertical edge. */
    ck_assert_uint_eq(sg_table_rows(table), 5 * 1001 + 1);
    size_t label = (size_t)sg_table_find(table, "label"),
           ratio = (size_t)sg_table_find(table, "ratio");
    size_t weight = (size_t)sg_table_find(table, "weight");
    double edge[2];
    size_t edges = 0;
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        if (strncmp(sg_table_get_text(table, label, row), "Hard", 4) == 0 &&
            sg_table_get_number(table, ratio, row) == 2) {
            ck_assert_uint_lt(edges, 2);
            edge[edges++] = sg_table_get_number(table, weight, row);
        }
    }
    ck_assert_uint_eq(edges, 2);
    ck_assert_double_eq(edge[0], 1);
    ck_assert_double_eq(edge[1], 0);
    sg_table_free(table);
}
END_TEST

START_TEST(r1b_clips_the_low_side)
{
    sg_table *table = csv_of("R1b", "R1b.csv");
    ck_assert_double_eq(cell(table, "Hard Clipping (ε=0.2)", -1, 0.5, "weight"), 0);
    ck_assert_double_eq(cell(table, "Hard Clipping (ε=0.2)", -1, 5, "weight"), 1);
    ck_assert_double_eq(cell(table, "Hard Clipping (ε=1.0)", -1, 0, "weight"), 1);
    ck_assert_double_eq(cell(table, "Hard Clipping (ε=1.0)", -1, 0.005, "surrogate"), 0.005);
    ck_assert_double_eq_tol(cell(table, "Soft Gate (τ=1.05)", -1, 0, "weight"), 0.76811, 1e-5);
    ck_assert_double_eq_tol(cell(table, "Soft Gate (τ=1.05)", -1, 2, "objective_value"), -2.822,
                            1e-5);
    sg_table_free(table);
}
END_TEST

START_TEST(r1e_scales_vespo_to_its_maximum)
{
    sg_table *table = csv_of("R1e-max", "R1e-max.csv");
    ck_assert_double_eq_tol(cell(table, "VESPO", 1, 1, "coefficient"), 0.8277, 5e-5);
    ck_assert_double_eq_tol(cell(table, "VESPO", -1, 1, "coefficient"), 0.8054, 5e-5);
    ck_assert_double_eq_tol(cell(table, "SAPO", 1, 2, "coefficient"), 1.5729, 5e-5);
    sg_table_free(table);
}
END_TEST

START_TEST(landmarks_are_those_of_the_reference)
{
    static const struct {
        const char *spec;
        double advantage, half_width, floor, peak, peak_ratio, unit_ratio; /* NaN: does not exist */
    } expected[] = {
        {"sapo:tau_pos=1", 1, 1.762747, 0.786448, 1.574675, 2.06009, 3.4665},
        {"sapo:tau_neg=1.05", -1, 1.67881, 0.76811, 1.53626, 1.99167, 3.28957},
        {"sapo:tau_pos=12", 1, 0.146896, 2.45765e-05, 1.00688, 1.01373, 1.02753},
        {"gate-erf:tau_pos=1", 1, 1.177410, 0.606531, 1.336733, 1.618034, NAN},
        {"gate-arctan:tau_pos=1", 1, 1, 0.5, 1.207107, 1.414214, 2},
        {"gate-softsign:tau_pos=1", 1, 0.766421, 0.353553, 1.142987, 1.280776, NAN},
        {"gipo:sigma=1", 1, NAN, 0, 1.648721, 2.718282, NAN},
        {"vespo", -1, NAN, 0, 1.241593, 1.5, NAN},
        {"unclipped", 1, NAN, 1, NAN, NAN, NAN},
    };
    sg_error error;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        sg_objective objective;
        sg_landmarks at;
        ck_assert_int_eq(sg_objective_parse(&objective, expected[i].spec, &error), SG_OK);
        ck_assert_int_eq(sg_landmarks_find(&at, &objective, expected[i].advantage, 50, &error),
                         SG_OK);
        ck_assert_double_eq_tol(at.floor, expected[i].floor, 1e-5);
        if (!isnan(expected[i].half_width))
            ck_assert_double_eq_tol(at.half_width, expected[i].half_width, 1e-5);
        if (isnan(expected[i].peak)) {
            ck_assert_double_nan(at.peak);
            ck_assert_double_nan(at.unit_ratio);
            continue;
        }
        ck_assert_double_eq_tol(at.peak, expected[i].peak, 1e-5);
        ck_assert_double_eq_tol(at.peak_ratio, expected[i].peak_ratio, 1e-5);
        if (!isnan(expected[i].unit_ratio))
            ck_assert_double_eq_tol(at.unit_ratio, expected[i].unit_ratio, 1e-4);
    }
    sg_objective hard;
    sg_landmarks at;
    ck_assert_int_eq(sg_objective_parse(&hard, "grpo", &error), SG_OK);
    ck_assert_int_eq(sg_landmarks_find(&at, &hard, 1, 50, &error), SG_OK);
    ck_assert_double_nan(at.half_width); /* a jump is no crossing */
    ck_assert_int_eq(sg_landmarks_find(&at, &hard, 1, 1, &error), SG_EARGUMENT);
}
END_TEST

START_TEST(diffusion_adds_up)
{
    sg_diffusion d;
    sg_error error;
    for (int tail = SG_SPREAD_EVEN; tail <= SG_SPREAD_ZIPF; tail++) {
        ck_assert_int_eq(sg_diffusion_of(&d, 1000, 0.6, (sg_spread)tail, -1, &error), SG_OK);
        ck_assert_double_eq_tol(d.push_sampled, -0.4, 1e-15);
        ck_assert_double_eq_tol(d.push_unsampled_total, 0.4, 1e-15);
    }
    ck_assert_int_eq(sg_diffusion_of(&d, 1001, 0.6, SG_SPREAD_EVEN, 2, &error), SG_OK);
    ck_assert_double_eq_tol(d.norm, 2 * 0.4 * sqrt(1 + 1 / 1000.0), 1e-15);
    ck_assert_double_eq_tol(d.push_unsampled_max, -2 * 0.4 / 1000, 1e-15);
    /* V = 3, Zipf: the others hold 2/3 and 1/3 of 1 - pi. */
    ck_assert_int_eq(sg_diffusion_of(&d, 3, 0.4, SG_SPREAD_ZIPF, -1, &error), SG_OK);
    ck_assert_double_eq_tol(d.push_unsampled_max, 0.4, 1e-15);
    ck_assert_double_eq_tol(d.norm, sqrt(0.36 + 0.16 + 0.04), 1e-15);
    ck_assert_int_eq(sg_diffusion_of(&d, 1, 0.4, SG_SPREAD_ZIPF, -1, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_diffusion_of(&d, 3, 1, SG_SPREAD_ZIPF, -1, &error), SG_EARGUMENT);
}
END_TEST

START_TEST(synthetic_batch_has_the_asked_variance)
{
    sg_error error;
    sg_synthetic_config config = sg_synthetic_default();
    config.spread = 0; /* then every response has the mode as its variance */
    config.variance_mode = 1e-3;
    sg_batch *batch, *shorter;
    ck_assert_int_eq(sg_synthetic_batch(&batch, &config, &error), SG_OK);
    double n = (double)batch->tokens, mean = 0, variance = 0, ratio = 0;
    for (size_t i = 0; i < batch->tokens; i++) {
        double d = batch->logp_new[i] - batch->logp_old[i];
        mean += d / n;
        ratio += exp(d) / n;
    }
    for (size_t i = 0; i < batch->tokens; i++)
        variance += pow(batch->logp_new[i] - batch->logp_old[i] - mean, 2) / n;
    /* About a million draws: standard errors 3e-5, 6e-6 (the mixture's kurtosis is near 160), 3e-5.
     */
    ck_assert_double_eq_tol(mean, -5e-4, 1.5e-4);
    ck_assert_double_eq_tol(variance, 1e-3, 5e-5);
    ck_assert_double_eq_tol(ratio, 1, 2e-4);
    config.tokens = 10; /* response 3, token 4 is the same in a smaller batch */
    ck_assert_int_eq(sg_synthetic_batch(&shorter, &config, &error), SG_OK);
    ck_assert_double_eq(shorter->logp_new[3 * 10 + 4], batch->logp_new[3 * 4096 + 4]);
    sg_batch_free(batch);
    sg_batch_free(shorter);
    config.outliers = 1;
    ck_assert_int_eq(sg_synthetic_batch(&batch, &config, &error), SG_EARGUMENT);
}
END_TEST

Suite *figures_suite(void);
Suite *figures_suite(void)
{
    Suite *suite = suite_create("figures");
    TCase *files = add_plot_case(suite, "files", 60);
    tcase_add_test(files, unknown_names_are_answered);
    tcase_add_loop_test(files, every_recipe_draws_its_legend, 0, (int)sg_recipe_count());
    tcase_add_test(files, equal_inputs_give_equal_bytes);
    tcase_add_test(files, emitted_script_draws_the_same_picture);
    tcase_add_test(files, pdf_dates_become_constant);
    TCase *numbers = add_plot_case(suite, "numbers", 60);
    tcase_add_test(numbers, r1_has_the_published_numbers);
    tcase_add_test(numbers, r1b_clips_the_low_side);
    tcase_add_test(numbers, r1e_scales_vespo_to_its_maximum);
    tcase_add_test(numbers, landmarks_are_those_of_the_reference);
    tcase_add_test(numbers, diffusion_adds_up);
    tcase_add_test(numbers, synthetic_batch_has_the_asked_variance);
    return suite;
}
