/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plot_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char plot_folder[256], plot_old_path[4096];
static char old_tmpdir[4096];

static void set_up(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(plot_old_path, sizeof plot_old_path, "%s", getenv("PATH"));
    snprintf(old_tmpdir, sizeof old_tmpdir, "%s", base != NULL ? base : "");
    snprintf(plot_folder, sizeof plot_folder, "%s/check-plots-XXXXXX",
             base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(plot_folder));
    setenv("TMPDIR", plot_folder, 1); /* gnuplot works here */
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
    setenv("PATH", plot_old_path, 1);
    if (old_tmpdir[0] != '\0')
        setenv("TMPDIR", old_tmpdir, 1);
    else
        unsetenv("TMPDIR");
    remove_tree(plot_folder);
}

char *in_folder(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", plot_folder, name);
    return path;
}

int count_entries(void)
{
    int count = -2;
    DIR *directory = opendir(plot_folder);
    ck_assert_ptr_nonnull(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

char *read_file(const char *path, size_t *size)
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

sg_figure_options in_svg(void)
{
    return (sg_figure_options){.directory = plot_folder, .formats = 1u << SG_PICTURE_SVG};
}

void strip_svg(const char *svg, sg_text *text)
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

void strip_markup(const char *markup, sg_text *text)
{
    for (const char *c = markup; *c != '\0'; c++) {
        if ((*c == '_' || *c == '^') && c[1] == '{')
            c++;
        else if (*c != '}')
            sg_text_append_bytes(text, c, 1);
    }
}

void free_drawing(sg_drawing *drawing)
{
    for (size_t i = 0; i < drawing->table_count; i++)
        sg_table_free(drawing->tables[i]);
    sg_figure_free(drawing->figure);
}

double number_at(const sg_table *table, const char *column, size_t row)
{
    ptrdiff_t index = sg_table_find(table, column);
    ck_assert_msg(index >= 0, "there is no column %s", column);
    return sg_table_get_number(table, (size_t)index, row);
}

TCase *add_plot_case(Suite *suite, const char *name, int seconds)
{
    TCase *tests = tcase_create(name);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, seconds);
    suite_add_tcase(suite, tests);
    return tests;
}
