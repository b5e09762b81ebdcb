/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dictionary of columns in notebooks-data/README.md knows what the code writes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgate.h"

static char *read_dictionary(void)
{
    const char *root = getenv("TEST_DATA");
    char path[4096];
    snprintf(path, sizeof path, "%s/../notebooks-data/README.md", root == NULL ? "tests" : root);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    sg_text text = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;)
        sg_text_append_bytes(&text, part, n);
    fclose(file);
    ck_assert(!text.failed);
    return text.data;
}

START_TEST(every_simulated_column_is_explained)
{
    char *dictionary = read_dictionary();
    const sg_column_info *column;
    for (size_t i = 0; (column = sg_simulate_column(i)) != NULL; i++) {
        sg_text line = {0};
        sg_text_printf(&line, "| `%s` | %s | ", column->name, column->unit);
        for (const char *c = column->meaning; *c != '\0'; c++) /* a bar would end the cell */
            sg_text_printf(&line, "%s%c", *c == '|' ? "\\" : "", *c);
        sg_text_append(&line, " |");
        ck_assert_msg(strstr(dictionary, line.data) != NULL, "notebooks-data/README.md lacks: %s",
                      line.data);
        sg_text_free(&line);
    }
    free(dictionary);
}
END_TEST

Suite *docs_suite(void);
Suite *docs_suite(void)
{
    Suite *suite = suite_create("docs");
    TCase *tests = tcase_create("dictionary");
    tcase_add_test(tests, every_simulated_column_is_explained);
    suite_add_tcase(suite, tests);
    return suite;
}
