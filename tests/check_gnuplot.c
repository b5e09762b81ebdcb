/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text into gnuplot and the process that runs it. */
#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/rng.h"
#include "plot_folder.h"
#include "plots/gnuplot.h"
#include "plots/quote.h"

/* ---- text ---- */

static const char hostile_alphabet[] = "ab `'\"\\${}()|&;<>~!@#%^*_=[]?\t\n-+,.:END_OF_DATA";

static void random_string(uint64_t seed, uint32_t index, char *string, size_t size)
{
    for (size_t i = 0; i + 1 < size; i++) {
        sg_address at = {
            .seed = seed, .stream = SG_STREAM_SYNTHETIC, .sample = index, .token = (uint32_t)i};
        string[i] = hostile_alphabet[(size_t)(sg_rng_uniform(at) * (sizeof hostile_alphabet - 1))];
    }
    string[size - 1] = '\0';
}

enum { STRINGS = 200, STRING_SIZE = 40 };

START_TEST(gnuplot_prints_quoted_strings_back)
{
    const char *fixed[] = {"it's",
                           "`touch CANARY`",
                           "$(touch CANARY)",
                           "'; system('touch CANARY') #",
                           "a\nb",
                           "%d %s %n",
                           "\\n \\' \\\\",
                           "'",
                           "''",
                           "",
                           "END_OF_DATA",
                           "α β τ",
                           "@macro",
                           "\"`touch CANARY`\""};
    enum { FIXED = sizeof fixed / sizeof *fixed };
    char *canary = in_folder("canary");
    sg_text script = {0}, expected = {0};
    sg_text_append(&script, "set terminal svg\nset output 'x.svg'\nplot x\nunset output\n");
    for (uint32_t i = 0; i < FIXED + STRINGS; i++) {
        char string[STRING_SIZE + 512];
        if (i < FIXED) { /* CANARY stands for a path that a command would create */
            const char *place = strstr(fixed[i], "CANARY");
            snprintf(string, sizeof string, "%.*s%s%s", place ? (int)(place - fixed[i]) : 500,
                     fixed[i], place ? canary : "", place ? place + 6 : "");
        } else {
            random_string(7, i, string, STRING_SIZE);
        }
        sg_text_append(&script, "print ");
        sg_gnuplot_quote(&script, string);
        sg_text_append(&script, "\n");
        for (char *c = string; *c != '\0'; c++)
            *c = (unsigned char)*c < 0x20 ? ' ' : *c;
        sg_text_printf(&expected, "%s\n", string);
    }
    sg_picture picture = {{0}, {0}, {0}};
    sg_error error;
    sg_status status = sg_gnuplot_run(script.data, "x", SG_PICTURE_SVG, &picture, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    const char *printed = picture.messages.data, *wanted = expected.data;
    for (size_t line = 1; *wanted != '\0' || *printed != '\0'; line++) {
        size_t length = strcspn(wanted, "\n");
        ck_assert_msg(strncmp(printed, wanted, length + 1) == 0,
                      "line %zu: \"%.*s\" came back as \"%.100s\"", line, (int)length, wanted,
                      printed);
        printed += length + 1;
        wanted += length + 1;
    }
    ck_assert_int_ne(access(canary, F_OK), 0);
    sg_picture_free(&picture);
    sg_text_free(&script);
    sg_text_free(&expected);
}
END_TEST

START_TEST(invalid_utf8_and_control_characters_are_replaced)
{
    sg_text text = {0};
    sg_gnuplot_quote(&text, "a\x80"
                            "b\xc3(\xed\xa0\x80"
                            "c\x7f\x01 \xef\xbf\xbe");
    ck_assert_str_eq(text.data, "'a?b?(?"
                                "?"
                                "?c   ?"
                                "?"
                                "?'");
    sg_text_free(&text);
}
END_TEST

START_TEST(markup_in_both_dialects)
{
    sg_text text = {0};
    sg_markup_translate(&text, "r_{i,t} tau_pos 5% {x}", SG_MARKUP_ENHANCED);
    ck_assert_str_eq(text.data, "r_{i,t} tau\\_pos 5% \\{x\\}");
    sg_text_clear(&text);
    sg_markup_translate(&text, "r_{i} τ 5% \\input{x}", SG_MARKUP_LATEX);
    ck_assert_str_eq(text.data, "r\\ensuremath{_{\\mathrm{i}}} \\ensuremath{\\tau} 5\\% "
                                "\\textbackslash{}input\\{x\\}");
    sg_text_free(&text);
    ck_assert_double_eq_tol(sg_markup_width("00"), 1.272, 1e-12);
    ck_assert_double_eq_tol(sg_markup_width("0_{0}"), 0.636 * 1.8, 1e-12);
}
END_TEST

/* A figure whose every text is hostile: the texts appear as they are, and nothing runs. */
START_TEST(hostile_labels_are_drawn_as_they_are)
{
    char hostile[SG_LABEL_SIZE];
    snprintf(hostile, sizeof hostile, "`touch %s` 'a' \"b\" $(c) @d ~e {f} ^g &h |i| \\n %%d <j>",
             "/x");
    sg_error error;
    sg_table *table = sg_table_alloc();
    ck_assert_int_eq(sg_table_add_column(table, "x", SG_COLUMN_REAL, &error), SG_OK);
    ck_assert_int_eq(sg_table_add_rows(table, 3, &error), SG_OK);
    sg_figure *figure = sg_figure_alloc(1, 1);
    sg_panel *panel = sg_figure_panel(figure, 0, 0);
    figure->legend = SG_LEGEND_ABOVE;
    snprintf(panel->title, sizeof panel->title, "%s", hostile);
    snprintf(panel->x.label, sizeof panel->x.label, "%s", hostile);
    snprintf(panel->y.label, sizeof panel->y.label, "%s", hostile);
    sg_axis_add_tick(&panel->x, 0, "5% of `x`");
    sg_note note = {.kind = SG_NOTE_TEXT, .x = 0.1, .y = 0.1};
    snprintf(note.text, sizeof note.text, "%s", hostile);
    sg_panel_add_note(panel, note);
    sg_layer layer = {.mark = SG_MARK_LINE, .table = table, .x = "x", .y = "x"};
    snprintf(layer.title, sizeof layer.title, "%s", hostile);
    sg_panel_add_layer(panel, layer);
    sg_text script = {0}, text = {0};
    sg_picture picture = {{0}, {0}, {0}};
    ck_assert_int_eq(
        sg_figure_script(figure, "x", sg_paper_find("screen"), SG_PICTURE_SVG, &script, &error),
        SG_OK);
    sg_status status = sg_gnuplot_run(script.data, "x", SG_PICTURE_SVG, &picture, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    ck_assert_str_eq(picture.messages.data, "");
    strip_svg(picture.main.data, &text);
    size_t found = 0;
    for (const char *c = text.data; (c = strstr(c, hostile)) != NULL; c++)
        found++;
    ck_assert_uint_eq(found, 5);
    ck_assert_ptr_nonnull(strstr(text.data, "5% of `x`"));
    sg_picture_free(&picture);
    sg_text_free(&script);
    sg_text_free(&text);
    sg_figure_free(figure);
    sg_table_free(table);
}
END_TEST

/* ---- the process ---- */

START_TEST(missing_gnuplot_names_the_package)
{
    setenv("PATH", plot_folder, 1);
    sg_error error;
    sg_figure_options options = in_svg();
    ck_assert_int_eq(sg_figure_make("R1", &options, &error), SG_ETOOL);
    ck_assert_ptr_nonnull(strstr(error.message, "apt-get install gnuplot-nox"));
    ck_assert_int_eq(count_entries(), 0);
    char version[64];
    ck_assert_int_eq(sg_gnuplot_version(version, sizeof version, &error), SG_ETOOL);
    setenv("PATH", plot_old_path, 1);
    ck_assert_int_eq(sg_gnuplot_version(version, sizeof version, &error), SG_OK);
    ck_assert_ptr_eq(strstr(version, "gnuplot "), version);
}
END_TEST

START_TEST(broken_script_is_kept_and_named)
{
    sg_picture picture = {{0}, {0}, {0}};
    sg_error error;
    const char *script = "set terminal svg\nset output 'x.svg'\nplot x\nplot nonsense\nplot x\n";
    ck_assert_int_eq(sg_gnuplot_run(script, "x", SG_PICTURE_SVG, &picture, &error), SG_ETOOL);
    ck_assert_ptr_nonnull(strstr(error.message, "\"x.gp\" line 4"));
    ck_assert_ptr_nonnull(strstr(error.message, "undefined variable: nonsense"));
    char *kept = strstr(error.message, plot_folder);
    ck_assert_ptr_nonnull(kept);
    size_t size;
    char *content = read_file(kept, &size);
    ck_assert_int_eq(strncmp(content, script, strlen(script)), 0);
    free(content);
    *strrchr(kept, '/') = '\0';
    int entries = 0;
    DIR *directory = opendir(kept);
    while (readdir(directory) != NULL)
        entries++;
    closedir(directory);
    ck_assert_int_eq(entries, 3); /* ".", "..", the script; no half picture */
    ck_assert_ptr_null(picture.main.data);
}
END_TEST

START_TEST(bad_names_never_reach_a_script)
{
    sg_picture picture = {{0}, {0}, {0}};
    sg_error error;
    const char *names[] = {"", "a/b", "-e", "a'b", "..", "a b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_int_eq(sg_gnuplot_run("", names[i], SG_PICTURE_SVG, &picture, &error),
                         SG_EARGUMENT);
    ck_assert_int_eq(count_entries(), 0);
}
END_TEST

/* Programs that pretend to be gnuplot. $D is the folder. */
static const struct {
    const char *body, *expected;
} impostors[] = {
    {"exit 0", "before the end of its script"},
    {"echo '%s' >&2; exit 0", "wrote no picture"},
    {"echo '<svg>half' > x.svg; echo '%s' >&2; exit 0", "cut short after 10 bytes"},
    {": > x.svg; echo '%s' >&2", "cut short after 0 bytes"},
    {"echo '</svg>' > x.svg; echo '%s' >&2; exit 1", "gnuplot failed"},
    {"kill -9 $$", "signal 9"},
    {"i=0; while [ $i -lt 20000 ]; do echo 'a long complaint that fills the pipe' >&2; i=$((i+1)); "
     "done; exit 3",
     "a long complaint"},
};

START_TEST(every_way_to_fail_is_noticed)
{
    char *program = in_folder("gnuplot");
    FILE *file = fopen(program, "w");
    fprintf(file, "#!/bin/sh\n");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(file, impostors[_i].body, sg_gnuplot_sentinel);
#pragma GCC diagnostic pop
    fprintf(file, "\n");
    fclose(file);
    ck_assert_int_eq(chmod(program, 0700), 0);
    char path[5000];
    snprintf(path, sizeof path, "%s:%s", plot_folder, plot_old_path);
    setenv("PATH", path, 1);
    sg_picture picture = {{0}, {0}, {0}};
    sg_error error = {0};
    ck_assert_int_eq(sg_gnuplot_run("plot x\n", "x", SG_PICTURE_SVG, &picture, &error), SG_ETOOL);
    ck_assert_msg(strstr(error.message, impostors[_i].expected) != NULL, "%s", error.message);
    ck_assert_ptr_nonnull(strstr(error.message, "x.gp"));
}
END_TEST

/* A file size limit stands for a full disk: gnuplot itself then exits with 0. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(full_disk_leaves_nothing_behind)
{
    signal(SIGXFSZ, SIG_IGN);
    sg_error error = {0};
    sg_picture picture = {{0}, {0}, {0}};
    limit_files(65536);
    sg_status status =
        sg_gnuplot_run("set terminal svg\nset output 'x.svg'\nset samples 20000\nplot sin(x)\n"
                       "unset output\n",
                       "x", SG_PICTURE_SVG, &picture, &error);
    sg_figure_options options = in_svg();
    sg_error script_error = {0};
    sg_status script_status = sg_figure_make("R1", &options, &script_error);
    limit_files(RLIM_INFINITY);
    signal(SIGXFSZ, SIG_DFL);
    ck_assert_int_eq(status, SG_ETOOL);
    ck_assert_msg(strstr(error.message, "cut short") != NULL, "%s", error.message);
    ck_assert_int_eq(script_status, SG_EIO);
    ck_assert_int_eq(access(in_folder("R1.svg"), F_OK), -1);
    ck_assert_int_eq(access(in_folder("R1.csv"), F_OK), -1);
    ck_assert_int_eq(count_entries(), 1); /* the kept script of the first run */
}
END_TEST

Suite *gnuplot_suite(void);
Suite *gnuplot_suite(void)
{
    Suite *suite = suite_create("gnuplot");
    TCase *strings = add_plot_case(suite, "text", 60);
    tcase_add_test(strings, gnuplot_prints_quoted_strings_back);
    tcase_add_test(strings, invalid_utf8_and_control_characters_are_replaced);
    tcase_add_test(strings, markup_in_both_dialects);
    tcase_add_test(strings, hostile_labels_are_drawn_as_they_are);
    TCase *process = add_plot_case(suite, "process", 60);
    tcase_add_test(process, missing_gnuplot_names_the_package);
    tcase_add_test(process, broken_script_is_kept_and_named);
    tcase_add_test(process, bad_names_never_reach_a_script);
    tcase_add_loop_test(process, every_way_to_fail_is_noticed, 0,
                        sizeof impostors / sizeof *impostors);
    tcase_add_test(process, full_disk_leaves_nothing_behind);
    return suite;
}
