/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/rng.h"
#include "core/text.h"
#include "curve/diffusion.h"
#include "curve/landmarks.h"
#include "io/table_io.h"
#include "plots/drawing.h"
#include "plots/gnuplot.h"
#include "plots/layout.h"
#include "plots/quote.h"
#include "sim/synthetic.h"
#include "sim/training_summary.h"

/* ---- a folder of our own for every test ---- */

static char folder[256], old_path[4096], old_tmpdir[4096];

static void set_up(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(old_path, sizeof old_path, "%s", getenv("PATH"));
    snprintf(old_tmpdir, sizeof old_tmpdir, "%s", base != NULL ? base : "");
    snprintf(folder, sizeof folder, "%s/check-plots-XXXXXX", base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setenv("TMPDIR", folder,
           1); /* working folders of gnuplot go here, so that leftovers are seen */
}

static void remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        unlink(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char inside[1024];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        remove_tree(inside);
    }
    closedir(directory);
    rmdir(path);
}

static void tear_down(void)
{
    setenv("PATH", old_path, 1);
    if (old_tmpdir[0] != '\0')
        setenv("TMPDIR", old_tmpdir, 1);
    else
        unsetenv("TMPDIR");
    remove_tree(folder);
}

static char *in_folder(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Entries of the folder, hidden ones included. */
static int count_entries(void)
{
    int count = -2;
    DIR *directory = opendir(folder);
    ck_assert_ptr_nonnull(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static sg_figure_options in_svg(void)
{
    return (sg_figure_options){.directory = folder, .formats = 1u << SG_PICTURE_SVG};
}

/* ---- text ---- */

/* The text of an SVG: tags dropped, entities resolved. */
static void strip_svg(const char *svg, sg_text *text)
{
    for (const char *c = svg; *c != '\0'; c++) {
        if (*c == '<') {
            c = strchr(c, '>');
            ck_assert_ptr_nonnull(c);
        } else if (strncmp(c, "&lt;", 4) == 0) {
            sg_text_append(text, "<");
            c += 3;
        } else if (strncmp(c, "&gt;", 4) == 0) {
            sg_text_append(text, ">");
            c += 3;
        } else if (strncmp(c, "&amp;", 5) == 0) {
            sg_text_append(text, "&");
            c += 4;
        } else {
            sg_text_append_bytes(text, c, 1);
        }
    }
}

/* Markup as it looks: without the marks of sub- and superscripts. */
static void strip_markup(const char *markup, sg_text *text)
{
    for (const char *c = markup; *c != '\0'; c++) {
        if ((*c == '_' || *c == '^') && c[1] == '{')
            c++;
        else if (*c != '}')
            sg_text_append_bytes(text, c, 1);
    }
}

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
    setenv("PATH", folder, 1);
    sg_error error;
    sg_figure_options options = in_svg();
    ck_assert_int_eq(sg_figure_make("R1", &options, &error), SG_ETOOL);
    ck_assert_ptr_nonnull(strstr(error.message, "apt-get install gnuplot-nox"));
    ck_assert_int_eq(count_entries(), 0);
    char version[64];
    ck_assert_int_eq(sg_gnuplot_version(version, sizeof version, &error), SG_ETOOL);
    setenv("PATH", old_path, 1);
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
    char *kept = strstr(error.message, folder);
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
    snprintf(path, sizeof path, "%s:%s", folder, old_path);
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
    sg_figure_options options = {.directory = folder, .formats = 15, .emit_gp = true};
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
    snprintf(command, sizeof command, "cd '%s' && LC_ALL=C.UTF-8 gnuplot -d R9.gp", folder);
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

/* ---- training figures ---- */

enum { ARMS = 3, SEEDS = 5, STEPS = 100 };

/* Runs whose every number is known: J = (0.1 + 0.01 arm) + 0.001 step + 0.02 seed, and arm 2 falls
 * to 0 for good at step 60 for seeds 1 to 3. */
static double made_up_score(int arm, int seed, int step)
{
    return arm == 2 && seed <= 3 && step >= 60 ? 0 : 0.1 + 0.01 * arm + 0.005 * step + 0.02 * seed;
}

static sg_table *made_up_runs(void)
{
    static const char *const params[ARMS] = {"tau_pos=1,tau_neg=1.05", "tau_pos=1,tau_neg=1",
                                             "tau_pos=1,tau_neg=0.95"};
    static const char *const reals[] = {
        "reward", "J", "entropy", "tail_mass", "tail_entropy_share", "logit_range"};
    sg_table *table = sg_table_alloc();
    sg_table_add_column(table, "objective", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "params", SG_COLUMN_TEXT, NULL);
    sg_table_add_column(table, "seed", SG_COLUMN_INTEGER, NULL);
    sg_table_add_column(table, "step", SG_COLUMN_INTEGER, NULL);
    for (size_t c = 0; c < 6; c++)
        sg_table_add_column(table, reals[c], SG_COLUMN_REAL, NULL);
    sg_table_set_meta(table, "run.steps", "100", NULL);
    sg_table_add_rows(table, ARMS * SEEDS * STEPS, NULL);
    for (int i = 0; i < ARMS * SEEDS * STEPS; i++) {
        int arm = i / (SEEDS * STEPS), seed = i / STEPS % SEEDS + 1, step = i % STEPS + 1;
        size_t row = (size_t)i;
        double score = made_up_score(arm, seed, step);
        const double values[] = {score, score, 2 - 0.01 * step, 0.01, 0.1, 5};
        sg_table_set_text(table, 0, row, "sapo", NULL);
        sg_table_set_text(table, 1, row, params[arm], NULL);
        sg_table_set_integer(table, 2, row, seed);
        sg_table_set_integer(table, 3, row, step);
        for (size_t c = 0; c < 6; c++)
            sg_table_set_real(table, 4 + c, row, values[c]);
    }
    return table;
}

START_TEST(training_summary_is_median_band_and_paired_gain)
{
    sg_table *runs = made_up_runs(), *summary;
    sg_error error;
    const sg_summary_column columns[] = {{"J", false}, {"J", true}};
    ck_assert_int_eq(sg_training_summary(runs, columns, 2, 1, 0.8, &summary, &error), SG_OK);
    ck_assert_uint_eq(sg_table_rows(summary), ARMS * STEPS);
    for (size_t row = 0; row < sg_table_rows(summary); row++) {
        int arm = (int)(row / STEPS), step = (int)(row % STEPS) + 1;
        if (arm == 2 && step >= 60)
            continue;
        double middle = made_up_score(arm, 3, step);
        ck_assert_int_eq(sg_table_get_integer(summary, 2, row), step);
        ck_assert_int_eq(sg_table_get_integer(summary, 3, row), SEEDS);
        ck_assert_double_eq_tol(sg_table_get_real(summary, 4, row), middle - 0.032, 1e-12);
        ck_assert_double_eq_tol(sg_table_get_real(summary, 5, row), middle, 1e-12);
        ck_assert_double_eq_tol(sg_table_get_real(summary, 6, row), middle + 0.032, 1e-12);
        for (size_t c = 7; c < 10; c++) /* the gain over arm 1 has no noise */
            ck_assert_double_eq_tol(sg_table_get_real(summary, c, row), 0.01 * (arm - 1), 1e-12);
    }
    ck_assert_str_eq(sg_table_column_name(summary, 8), "J_gain");
    sg_table_free(summary);
    const sg_summary_column absent[] = {{"absent", false}};
    ck_assert_int_eq(sg_training_summary(runs, absent, 1, 0, 0.8, &summary, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "\"absent\""));
    ck_assert_int_eq(sg_training_summary(runs, columns, 1, 3, 0.8, &summary, &error), SG_EARGUMENT);
    sg_table_free(runs);
}
END_TEST

START_TEST(training_survival_counts_the_fallen)
{
    sg_table *runs = made_up_runs(), *survival;
    sg_error error;
    ck_assert_int_eq(sg_training_survival(runs, &survival, &error), SG_OK);
    size_t last = sg_table_rows(survival) - 1, alive = (size_t)sg_table_find(survival, "alive");
    ck_assert_double_eq(sg_table_get_real(survival, alive, 0), 1);
    ck_assert_int_eq(sg_table_get_integer(survival, 2, last), STEPS);
    ck_assert_double_eq_tol(sg_table_get_real(survival, alive, last), 0.4, 1e-12);
    ck_assert_double_eq_tol(sg_table_get_real(survival, alive, last - 1), 0.4, 1e-12);
    ck_assert_int_ge(sg_table_get_integer(survival, 2, last - 1), 60);
    ck_assert_int_le(sg_table_get_integer(survival, 2, last - 1),
                     66); /* the smoothed score falls below half */
    sg_table_free(survival);
    sg_table_free(runs);
}
END_TEST

START_TEST(training_figures_draw_given_runs)
{
    const char *name = _i == 0 ? "R4" : "R5";
    sg_error error;
    sg_figure_options options = in_svg();
    sg_table *runs = made_up_runs();
    options.runs = runs;
    sg_status status = sg_figure_make(name, &options, &error);
    ck_assert_msg(status == SG_OK, "%s", error.message);
    char file[32];
    size_t size;
    sg_text text = {0};
    snprintf(file, sizeof file, "%s.svg", name);
    char *svg = read_file(in_folder(file), &size);
    strip_svg(svg, &text);
    const char *expected[2][3] = {
        {"SAPO 1/1.05", "SAPO 1/1", "SAPO 1/0.95"},
        {"τneg > τpos (1.05 / 1)", "τneg = τpos (1 / 1)", "τneg < τpos (0.95 / 1)"}};
    for (size_t i = 0; i < 3; i++)
        ck_assert_msg(strstr(text.data, expected[_i][i]) != NULL, "%s is not in the legend",
                      expected[_i][i]);
    free(svg);
    sg_text_free(&text);
    snprintf(file, sizeof file, "%s.json", name);
    char *json = read_file(in_folder(file), &size);
    ck_assert_ptr_nonnull(strstr(json, "5 seeds an arm"));
    ck_assert_ptr_nonnull(strstr(json, "Simulation"));
    free(json);
    snprintf(file, sizeof file, "%s-survival.csv", name);
    ck_assert_int_eq(access(in_folder(file), F_OK), 0);
    sg_table_free(runs);
    options.runs = NULL; /* no table and no experiment: a sentence */
    options.experiments = folder;
    ck_assert_int_ne(sg_figure_make(name, &options, &error), SG_OK);
    ck_assert_ptr_nonnull(strstr(error.message, ".yaml"));
}
END_TEST

Suite *plots_suite(void);
Suite *plots_suite(void)
{
    Suite *suite = suite_create("plots");
    TCase *text = tcase_create("text");
    tcase_add_checked_fixture(text, set_up, tear_down);
    tcase_set_timeout(text, 60);
    tcase_add_test(text, gnuplot_prints_quoted_strings_back);
    tcase_add_test(text, invalid_utf8_and_control_characters_are_replaced);
    tcase_add_test(text, markup_in_both_dialects);
    tcase_add_test(text, hostile_labels_are_drawn_as_they_are);
    suite_add_tcase(suite, text);
    TCase *process = tcase_create("process");
    tcase_add_checked_fixture(process, set_up, tear_down);
    tcase_set_timeout(process, 60);
    tcase_add_test(process, missing_gnuplot_names_the_package);
    tcase_add_test(process, broken_script_is_kept_and_named);
    tcase_add_test(process, bad_names_never_reach_a_script);
    tcase_add_loop_test(process, every_way_to_fail_is_noticed, 0,
                        sizeof impostors / sizeof *impostors);
    tcase_add_test(process, full_disk_leaves_nothing_behind);
    suite_add_tcase(suite, process);
    TCase *figures = tcase_create("figures");
    tcase_add_checked_fixture(figures, set_up, tear_down);
    tcase_set_timeout(figures, 60);
    tcase_add_test(figures, unknown_names_are_answered);
    tcase_add_loop_test(figures, every_recipe_draws_its_legend, 0, (int)sg_recipe_count());
    tcase_add_test(figures, equal_inputs_give_equal_bytes);
    tcase_add_test(figures, emitted_script_draws_the_same_picture);
    tcase_add_test(figures, pdf_dates_become_constant);
    suite_add_tcase(suite, figures);
    TCase *numbers = tcase_create("numbers");
    tcase_add_checked_fixture(numbers, set_up, tear_down);
    tcase_set_timeout(numbers, 60);
    tcase_add_test(numbers, r1_has_the_published_numbers);
    tcase_add_test(numbers, r1b_clips_the_low_side);
    tcase_add_test(numbers, r1e_scales_vespo_to_its_maximum);
    tcase_add_test(numbers, landmarks_are_those_of_the_reference);
    tcase_add_test(numbers, diffusion_adds_up);
    tcase_add_test(numbers, synthetic_batch_has_the_asked_variance);
    suite_add_tcase(suite, numbers);
    TCase *training = tcase_create("training");
    tcase_add_checked_fixture(training, set_up, tear_down);
    tcase_set_timeout(training, 60);
    tcase_add_test(training, training_summary_is_median_band_and_paired_gain);
    tcase_add_test(training, training_survival_counts_the_fallen);
    tcase_add_loop_test(training, training_figures_draw_given_runs, 0, 2);
    suite_add_tcase(suite, training);
    return suite;
}
