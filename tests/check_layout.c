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
        double text;
    } papers[] = {
        {"neurips", 5.5},          {"iclr", 5.5},          {"icml", 6.75}, {"acl", 16 / 2.54},
        {"ieee", 43 * 12 / 72.27}, {"nature", 18.3 / 2.54}};
    for (size_t i = 0; i < COUNT(papers); i++) {
        double width = sg_paper_find(papers[i].name)->width;
        ck_assert_double_le(width, papers[i].text);
        ck_assert_double_ge(width, papers[i].text - 0.02);
    }
}
END_TEST

Suite *layout_suite(void);
Suite *layout_suite(void)
{
    Suite *suite = suite_create("layout");
    TCase *tests = tcase_create("layout");
    tcase_add_test(tests, tick_labels_stay_apart);
    tcase_add_test(tests, latex_is_told_every_size);
    tcase_add_test(tests, papers_are_not_wider_than_their_text);
    suite_add_tcase(suite, tests);
    return suite;
}
