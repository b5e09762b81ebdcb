/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef TEST_PLOT_FOLDER_H
#define TEST_PLOT_FOLDER_H

#include <check.h>

#include "core/text.h"
#include "plots/drawing.h"

/* What the suites that draw share: a folder of its own for every test, in which gnuplot works too, so
 * that leftovers are seen. */

/* Adds a case with the folder and a time limit in seconds. */
TCase *add_plot_case(Suite *suite, const char *name, int seconds);

extern char plot_folder[256], plot_old_path[4096];

/* A file of the folder; one of four buffers, in turn. */
char *in_folder(const char *name);

int count_entries(void); /* of the folder, hidden ones included */
char *read_file(const char *path, size_t *size);

/* Options that draw SVG into the folder. */
sg_figure_options in_svg(void);

/* The text of an SVG: tags dropped, entities resolved. And markup as it looks. */
void strip_svg(const char *svg, sg_text *text);
void strip_markup(const char *markup, sg_text *text);

void free_drawing(sg_drawing *drawing);

/* A number of a table by the name of its column. */
double number_at(const sg_table *table, const char *column, size_t row);

#endif
