/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a recipe to files. */
#include <errno.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/atomic_file.h"
#include "io/table_io.h"
#include "plots/drawing.h"

typedef struct maker {
    const sg_recipe *recipe;
    const sg_figure_options *options;
    sg_paper paper;
    sg_drawing drawing;
    unsigned formats;
    struct json_object *files; /* names of what was written */
} maker;

/* ---- files ---- */

static char *path_of(const maker *m, const char *suffix, const char *extension)
{
    char *path = NULL;
    const char *directory = m->options->directory;
    size_t length = strlen(directory);
    const char *slash = length > 0 && directory[length - 1] == '/' ? "" : "/";
    if (asprintf(&path, "%s%s%s%s.%s", directory, slash, m->recipe->name, suffix, extension) < 0)
        return NULL;
    return path;
}

static void note_file(maker *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    json_object_array_add(m->files, json_object_new_string(slash != NULL ? slash + 1 : path));
}

static sg_status write_bytes(const char *path, const char *bytes, size_t count, sg_error *error)
{
    sg_atomic_file file;
    sg_status status = sg_atomic_open(&file, path, error);
    if (status != SG_OK)
        return status;
    if (fwrite(bytes, 1, count, file.stream) != count) {
        int reason = errno;
        sg_atomic_discard(&file);
        return sg_fail(error, SG_EIO, "cannot write %s: %s", path, strerror(reason));
    }
    return sg_atomic_commit(&file, error);
}

static sg_status save(maker *m, const char *suffix, const char *extension, const sg_text *text,
                      sg_error *error)
{
    char *path = path_of(m, suffix, extension);
    if (path == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a file name");
    sg_status status = write_bytes(path, text->data, text->length, error);
    if (status == SG_OK)
        note_file(m, path);
    free(path);
    return status;
}

/* ---- pictures ---- */

static sg_status draw(maker *m, sg_picture_format format, bool keep_script, sg_error *error)
{
    sg_text script = {0};
    sg_picture picture = {{0}, {0}, {0}};
    const char *name = m->recipe->name, *extension = sg_picture_format_name(format);
    sg_status status = sg_figure_script(m->drawing.figure, name, &m->paper, format, &script, error);
    if (status == SG_OK)
        status = sg_gnuplot_run(script.data, name, format, &picture, error);
    if (status == SG_OK && picture.graphics.length > 0)
        status = save(m, "-inc", "pdf", &picture.graphics, error);
    if (status == SG_OK)
        status = save(m, "", extension, &picture.main, error);
    if (status == SG_OK && keep_script)
        status = save(m, "", "gp", &script, error);
    sg_picture_free(&picture);
    sg_text_free(&script);
    return status;
}

static sg_status draw_all(maker *m, sg_error *error)
{
    sg_status status = SG_OK;
    bool keep_script = m->options->emit_gp;
    for (int i = 0; i < SG_PICTURE_FORMAT_COUNT && status == SG_OK; i++) {
        if ((m->formats >> i & 1) == 0)
            continue;
        status = draw(m, (sg_picture_format)i, keep_script, error);
        keep_script = false;
    }
    return status;
}

/* ---- numbers ---- */

static sg_status set_meta(sg_table *table, const char *key, const char *value, sg_error *error)
{
    return value != NULL ? sg_table_set_meta(table, key, value, error) : SG_OK;
}

static sg_status label_table(maker *m, sg_table *table, sg_error *error)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)m->drawing.seed);
    const char *const pairs[][2] = {
        {"figure", m->recipe->name},      {"title", m->recipe->title},
        {"version", m->options->version}, {"git", m->options->git_hash},
        {"command", m->options->command}, {"seed", m->drawing.seed != 0 ? seed : NULL}};
    sg_status status = SG_OK;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs && status == SG_OK; i++)
        status = set_meta(table, pairs[i][0], pairs[i][1], error);
    return status;
}

static sg_status write_tables(maker *m, sg_error *error)
{
    for (size_t i = 0; i < m->drawing.table_count; i++) {
        char suffix[64];
        snprintf(suffix, sizeof suffix, "%s%s", m->drawing.suffixes[i][0] != '\0' ? "-" : "",
                 m->drawing.suffixes[i]);
        char *path = path_of(m, suffix, "csv");
        if (path == NULL)
            return sg_fail(error, SG_ENOMEM, "not enough memory for a file name");
        sg_status status = label_table(m, m->drawing.tables[i], error);
        if (status == SG_OK)
            status = sg_table_write(m->drawing.tables[i], SG_FORMAT_CSV, path, error);
        if (status == SG_OK)
            note_file(m, path);
        free(path);
        if (status != SG_OK)
            return status;
    }
    return SG_OK;
}

static void add_string(struct json_object *object, const char *key, const char *value)
{
    if (value != NULL)
        json_object_object_add(object, key, json_object_new_string(value));
}

/* Rows, columns and metadata of a table. */
static struct json_object *describe_table(const sg_table *table)
{
    struct json_object *object = json_object_new_object();
    struct json_object *columns = json_object_new_array();
    for (size_t c = 0; c < sg_table_columns(table); c++)
        json_object_array_add(columns, json_object_new_string(sg_table_column_name(table, c)));
    json_object_object_add(object, "rows", json_object_new_int64((int64_t)sg_table_rows(table)));
    json_object_object_add(object, "columns", columns);
    const char *key, *value;
    for (size_t i = 0; sg_table_meta_at(table, i, &key, &value); i++)
        add_string(object, key, value);
    return object;
}

/* The different (objective, params) pairs of a table that has these columns. */
static void collect_parameters(const sg_table *table, struct json_object *parameters)
{
    ptrdiff_t name = sg_table_find(table, "objective"), params = sg_table_find(table, "params");
    if (name < 0 || params < 0)
        return;
    char last[512] = "";
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        char spec[512];
        const char *value = sg_table_get_text(table, (size_t)params, row);
        snprintf(spec, sizeof spec, "%s%s%s", sg_table_get_text(table, (size_t)name, row),
                 value[0] != '\0' ? ":" : "", value);
        if (strcmp(spec, last) == 0)
            continue;
        memcpy(last, spec, sizeof last);
        bool known = false;
        for (size_t i = 0; i < json_object_array_length(parameters) && !known; i++)
            known =
                strcmp(json_object_get_string(json_object_array_get_idx(parameters, i)), spec) == 0;
        if (!known)
            json_object_array_add(parameters, json_object_new_string(spec));
    }
}

static sg_status write_description(maker *m, sg_error *error)
{
    struct json_object *object = json_object_new_object();
    struct json_object *tables = json_object_new_array(), *parameters = json_object_new_array();
    sg_text caption = {0};
    sg_text_printf(&caption, "%s%s%s", m->recipe->caption, m->drawing.remark[0] != '\0' ? " " : "",
                   m->drawing.remark);
    add_string(object, "figure", m->recipe->name);
    add_string(object, "title", m->recipe->title);
    add_string(object, "caption", caption.data);
    add_string(object, "version", m->options->version);
    add_string(object, "git", m->options->git_hash);
    add_string(object, "command", m->options->command);
    add_string(object, "paper", m->paper.name);
    if (m->options->columns == 1)
        json_object_object_add(object, "columns", json_object_new_int(1));
    if (m->drawing.seed != 0)
        json_object_object_add(object, "seed", json_object_new_uint64(m->drawing.seed));
    for (size_t i = 0; i < m->drawing.table_count; i++) {
        json_object_array_add(tables, describe_table(m->drawing.tables[i]));
        collect_parameters(m->drawing.tables[i], parameters);
    }
    json_object_object_add(object, "objectives", parameters);
    json_object_object_add(object, "tables", tables);
    json_object_object_add(object, "files", json_object_get(m->files));
    sg_text text = {0};
    sg_text_printf(&text, "%s\n",
                   json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE));
    sg_status status = text.failed ? sg_fail(error, SG_ENOMEM, "not enough memory")
                                   : save(m, "", "json", &text, error);
    json_object_put(object);
    sg_text_free(&caption);
    sg_text_free(&text);
    return status;
}

/* ---- all of it ---- */

static sg_status check_directory(const char *directory, sg_error *error)
{
    struct stat info;
    if (stat(directory, &info) != 0)
        return sg_fail(error, SG_EIO, "cannot use the folder %s: %s", directory, strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return sg_fail(error, SG_EIO, "%s is not a folder", directory);
    return SG_OK;
}

static sg_status prepare(maker *m, const char *name, sg_error *error)
{
    const char *paper = m->options->paper != NULL ? m->options->paper : "screen";
    m->recipe = sg_recipe_find(name, error);
    if (m->recipe == NULL)
        return SG_EARGUMENT;
    const sg_paper *found = sg_paper_find(paper);
    if (found == NULL)
        return sg_fail(
            error, SG_EARGUMENT,
            "there is no paper \"%s\"; use screen, neurips, icml, iclr, acl, ieee, nature or slide",
            paper);
    m->paper = *found;
    if (m->options->columns == 1 && !(found->column > 0))
        return sg_fail(
            error, SG_EARGUMENT,
            "the text of \"%s\" has one column; --columns 1 is for icml, acl, ieee "
                       "and nature",
            paper);
    if (m->options->columns == 1)
        m->paper.width = found->column;
    char version[64]; /* a missing gnuplot is told before the simulation, not after */
    if (m->recipe->training && sg_gnuplot_version(version, sizeof version, error) != SG_OK)
        return SG_ETOOL;
    m->formats = m->options->formats != 0
                     ? m->options->formats
                     : 1u << SG_PICTURE_PDF | 1u << SG_PICTURE_SVG | 1u << SG_PICTURE_PNG;
    m->drawing.seed = m->options->seed;
    m->drawing.options = m->options;
    m->files = json_object_new_array();
    return check_directory(m->options->directory, error);
}

static const double TALL = 0.85;

/* In one column of a page panels stand in pairs, and every figure takes the whole width. */
static void fold(maker *m)
{
    if (m->options->columns != 1 || m->drawing.figure == NULL)
        return;
    sg_figure *figure = m->drawing.figure;
    sg_figure_refold(figure, 2);
    figure->width = 0;
    if (figure->columns == 2 && figure->rows <= 3 && figure->aspect < TALL)
        figure->aspect = TALL; /* room for the labels of narrow panels */
}

sg_status sg_figure_make(const char *name, const sg_figure_options *options, sg_error *error)
{
    maker m = {.options = options};
    sg_status status = prepare(&m, name, error);
    if (status == SG_OK)
        status = m.recipe->build(&m.drawing, error);
    if (status == SG_OK)
        fold(&m);
    if (status == SG_OK)
        status = draw_all(&m, error);
    if (status == SG_OK)
        status = write_tables(&m, error);
    if (status == SG_OK)
        status = write_description(&m, error);
    for (size_t i = 0; i < m.drawing.table_count; i++)
        sg_table_free(m.drawing.tables[i]);
    sg_figure_free(m.drawing.figure);
    json_object_put(m.files);
    return status;
}
