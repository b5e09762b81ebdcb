/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where things of a figure go, and how large its letters are. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "plots/layout.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Three panels side by side, the x axis of each with ticks 0, 0.005, ... 0.02. */
static sg_figure *figure_of(const char *const *names)
{
    sg_figure *figure = sg_figure_alloc(1, 3);
    sg_panel *panels = figure->panels;
    for (size_t p = 0; p < 3; p++) {
        panels[p] = (sg_panel){.x = {.low = 0, .high = 0.024}, .y = {.low = 0, .high = 1}};
        for (int i = 0; i < 5; i++) {
            char label[32];
            snprintf(label, sizeof label, "%g", 0.005 * i);
            sg_axis_add_tick(&panels[p].x, 0.005 * i, names ? names[i] : label);
        }
    }
    return figure;
}

START_TEST(tick_labels_stay_apart)
{
    static const char *const names[] = {"first name", "second name", "third name", "fourth name",
                                        "0.02"};
    sg_layout layout;
    sg_figure *figure = figure_of(NULL);
    sg_layout_init(&layout, figure, sg_paper_find("screen"));
    ck_assert_uint_eq(layout.x_every[0], 1);
    sg_layout_init(&layout, figure, sg_paper_find("neurips"));
    ck_assert_uint_eq(layout.x_every[0], 2);
    sg_figure_free(figure);
    figure = figure_of(names);
    sg_layout_init(&layout, figure, sg_paper_find("neurips"));
    ck_assert_uint_eq(layout.x_every[0], 1);
    /* Ticks at a step take a larger one, also where the recipe asked for one. */
    figure->panels[0].x = (sg_axis){.low = 0, .high = 0.0231};
    figure->panels[1].x = (sg_axis){.low = 0, .high = 0.0231, .step = 0.005};
    sg_layout_init(&layout, figure, sg_paper_find("screen"));
    ck_assert_double_eq_tol(layout.x[0].step, 0.005, 1e-12);
    sg_layout_init(&layout, figure, sg_paper_find("neurips"));
    ck_assert_double_eq_tol(layout.x[0].step, 0.01, 1e-12);
    ck_assert_double_eq_tol(layout.x[1].step, 0.01, 1e-12);
    sg_figure_free(figure);
}
END_TEST

START_TEST(labels_above_each_other_stay_apart)
{
    ck_assert_double_eq_tol(sg_apart(0.5, 5, 10), 1, 1e-12); /* the example of layout.h */
    ck_assert_double_eq_tol(sg_apart(0.5, 5, 12), 0.5, 1e-12);
    ck_assert_double_eq(sg_apart(0, 5, 10), 0);
    ck_assert_double_eq(sg_apart(7, 5, 1), 7); /* no step inside: nothing to spread */
    sg_layout layout;
    sg_figure *figure = figure_of(NULL);
    for (int i = 0; i < 11; i++) {
        char label[8];
        snprintf(label, sizeof label, "%d", i);
        sg_axis_add_tick(&figure->panels[0].y, 0.1 * i, label);
    }
    figure->panels[1].y.step = 0.1;
    sg_layout_init(&layout, figure, sg_paper_find("screen"));
    ck_assert_uint_eq(layout.y_every[0], 1);
    ck_assert_double_eq_tol(layout.y[1].step, 0.1, 1e-12);
    figure->aspect = 0.2;
    sg_layout_init(&layout, figure, sg_paper_find("screen"));
    ck_assert_uint_ge(layout.y_every[0], 3);
    ck_assert_double_gt(layout.y[1].step, 0.2);
    sg_figure_free(figure);
}
END_TEST

/* Panels that are told apart by their title, on shared axes. */
static sg_figure *grid(size_t rows, size_t columns)
{
    sg_figure *figure = sg_figure_alloc(rows, columns);
    for (size_t p = 0; p < rows * columns; p++) {
        sg_panel *panel = &figure->panels[p];
        if (p < columns)
            snprintf(panel->title, sizeof panel->title, "title %zu", p);
        if (p % columns == 0)
            snprintf(panel->y.label, sizeof panel->y.label, "y %zu", p / columns);
        if (p >= (rows - 1) * columns)
            snprintf(panel->x.label, sizeof panel->x.label, "x %zu", p % columns);
        panel->x.bare = p < (rows - 1) * columns;
        panel->y.bare = p % columns > 0;
        panel->z_step = (double)p;
    }
    return figure;
}

START_TEST(a_figure_folds_into_one_column)
{
    static const struct {
        size_t rows, columns, most, rows_then, columns_then;
        int order[12]; /* -1: hidden */
    } cases[] = {
        {2, 2, 2, 2, 2, {0, 1, 2, 3}},       /* nothing to do */
        {9, 1, 2, 9, 1, {0, 1, 2}},          /* a strip stays one */
        {1, 3, 2, 2, 2, {0, 1, 2, -1}},      /* line by line */
        {2, 3, 2, 3, 2, {0, 3, 1, 4, 2, 5}}, /* rows become columns */
        {3, 3, 2, 5, 2, {0, 1, 2, 3, 4, 5, 6, 7, 8, -1}},
        {4, 3, 1, 12, 1, {0, 1, 2}},
        {2, 3, 0, 2, 3, {0, 1, 2, 3, 4, 5}},
    };
    for (size_t k = 0; k < COUNT(cases); k++) {
        sg_figure *figure = grid(cases[k].rows, cases[k].columns);
        sg_figure_refold(figure, cases[k].most);
        ck_assert_uint_eq(figure->rows, cases[k].rows_then);
        ck_assert_uint_eq(figure->columns, cases[k].columns_then);
        bool folded = cases[k].columns_then < cases[k].columns;
        for (size_t p = 0; p < 3; p++)
            ck_assert(!figure->panels[p].hidden);
        for (size_t p = 0; p < cases[k].rows_then * cases[k].columns_then; p++) {
            const sg_panel *panel = &figure->panels[p];
            int from = cases[k].order[p];
            if (p >= 3 && from == 0)
                continue; /* not listed */
            ck_assert_int_eq(panel->hidden, from < 0);
            if (from < 0)
                continue;
            ck_assert_double_eq(panel->z_step, from);
            if (!folded)
                continue;
            char title[32], x[32], y[32];
            snprintf(title, sizeof title, "title %zu", (size_t)from % cases[k].columns);
            snprintf(x, sizeof x, "x %zu", (size_t)from % cases[k].columns);
            snprintf(y, sizeof y, "y %zu", (size_t)from / cases[k].columns);
            ck_assert_str_eq(panel->title, title);
            ck_assert_str_eq(panel->x.label, x);
            ck_assert_str_eq(panel->y.label, y);
            ck_assert(!panel->x.bare && !panel->y.bare);
        }
        sg_figure_free(figure);
    }
}
END_TEST

/* LaTeX would otherwise set labels in the size of the document, and legends would run together. */
START_TEST(latex_is_told_every_size)
{
    sg_figure *figure = figure_of(NULL);
    sg_panel *panels = figure->panels;
    sg_text script = {0};
    sg_error error;
    snprintf(panels[0].y.label, sizeof panels[0].y.label, "%s", "Count");
    sg_status status =
        sg_figure_script(figure, "R", sg_paper_find("neurips"), SG_PICTURE_TEX, &script, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    const char *words[] = {"header '\\fontsize{8}{9.6}\\selectfont'",
                           "'\\fontsize{8.0}{9.6}\\selectfont Count'",
                           "'\\fontsize{7.4}{8.8}\\selectfont 0.01' 0.01",
                           "set format y '\\fontsize{7.4}{8.8}\\selectfont $%g$'"};
    for (size_t i = 0; i < COUNT(words); i++)
        ck_assert_msg(strstr(script.data, words[i]) != NULL, "no %s in\n%s", words[i], script.data);
    sg_text_clear(&script);
    status =
        sg_figure_script(figure, "R", sg_paper_find("neurips"), SG_PICTURE_PDF, &script, &error);
    ck_assert_int_eq(status, SG_OK);
    ck_assert_ptr_null(strstr(script.data, "fontsize{"));
    sg_text_free(&script);
    sg_figure_free(figure);
}
END_TEST

/* What the official styles leave for text, in inches; a wider figure gives an overfull box. */
START_TEST(papers_are_not_wider_than_their_text)
{
    static const struct {
        const char *name;
        double text, column;
    } papers[] = {{"neurips", 5.5, 0},
                  {"iclr", 5.5, 0},
                  {"icml", 6.75, 3.25},
                  {"acl", 16 / 2.54, 7.7 / 2.54},
                  {"ieee", 43 * 12 / 72.27, 21 * 12 / 72.27},
                  {"nature", 18.3 / 2.54, 8.9 / 2.54}};
    for (size_t i = 0; i < COUNT(papers); i++) {
        double width = sg_paper_find(papers[i].name)->width;
        ck_assert_double_le(width, papers[i].text);
        ck_assert_double_ge(width, papers[i].text - 0.02);
        double column = sg_paper_find(papers[i].name)->column;
        ck_assert_double_le(column, papers[i].column);
        ck_assert_double_ge(column, papers[i].column - 0.02);
    }
}
END_TEST

Suite *layout_suite(void);
Suite *layout_suite(void)
{
    Suite *suite = suite_create("layout");
    TCase *tests = tcase_create("layout");
    tcase_add_test(tests, tick_labels_stay_apart);
    tcase_add_test(tests, labels_above_each_other_stay_apart);
    tcase_add_test(tests, a_figure_folds_into_one_column);
    tcase_add_test(tests, latex_is_told_every_size);
    tcase_add_test(tests, papers_are_not_wider_than_their_text);
    suite_add_tcase(suite, tests);
    return suite;
}
