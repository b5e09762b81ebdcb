/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef EXPERIMENT_H
#define EXPERIMENT_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>

#include "sim/simulate.h"

/* What the suites of the simulator have in common: change an experiment, run it, read its table. */

static inline void set(sg_config *config, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void set(sg_config *config, const char *format, ...)
{
    char text[256];
    sg_error error = {0};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_assert_msg(sg_config_set(config, text, &error) == SG_OK, "%s", error.message);
}

/* The defaults with these changes; the last is NULL. */
static inline void set_up(sg_config *config, const char *const *settings)
{
    sg_config_init(config);
    for (; *settings != NULL; settings++)
        set(config, "%s", *settings);
}

static inline sg_table *simulate(const sg_config *config)
{
    sg_error error = {0};
    sg_table *table;
    ck_assert_msg(sg_simulate(config, NULL, &table, &error) == SG_OK, "%s", error.message);
    return table;
}

static inline double cell(const sg_table *table, const char *column, size_t row)
{
    ptrdiff_t found = sg_table_find(table, column);
    ck_assert_msg(found >= 0, "no column %s", column);
    return sg_table_get_number(table, (size_t)found, row);
}

#endif
