/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPU rows: the whole block as bytes, and a fresh optimiser. */
#include <string.h>

#include "backend/cpu/rows.h"

/* Copies every part of a state to or from *bytes and moves that on. */
static void transfer(const sg_cpu_rows *rows, size_t state, char **bytes, bool save)
{
    sg_row_view view = sg_cpu_rows_view(rows, state);
    size_t reals = rows->padded * rows->real_size;
    const struct {
        void *at;
        size_t size;
    } part[] = {{view.q, reals},
                {view.m, view.m != NULL ? reals : 0},
                {view.v, view.v != NULL ? reals : 0},
                {view.mass, rows->tiles * sizeof(double)},
                {&rows->heads[state], sizeof(sg_row_head)}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (part[i].size == 0)
            continue;
        memcpy(save ? *bytes : part[i].at, save ? part[i].at : *bytes, part[i].size);
        *bytes += part[i].size;
    }
}

size_t sg_cpu_rows_save(const sg_rows *base, void *to)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base);
    size_t arrays = 1 + (rows->m != NULL) + (rows->v != NULL);
    char *bytes = to;
    for (size_t state = 0; state < rows->base.config.states && to != NULL; state++)
        transfer(rows, state, &bytes, true);
    return rows->base.config.states * (rows->padded * rows->real_size * arrays +
                                       rows->tiles * sizeof(double) + sizeof(sg_row_head));
}

void sg_cpu_rows_load(sg_rows *base, const void *from)
{
    sg_cpu_rows *rows = sg_cpu_rows_of(base);
    char *bytes = (char *)(uintptr_t)from; /* only read */
    for (size_t state = 0; state < rows->base.config.states; state++)
        transfer(rows, state, &bytes, false);
}

void sg_cpu_rows_adopt(sg_rows *base, const sg_rows *source_base)
{
    const sg_cpu_rows *rows = sg_cpu_rows_of(base), *source = sg_cpu_rows_of(source_base);
    for (size_t state = 0; state < rows->base.config.states; state++) {
        sg_row_view to = sg_cpu_rows_view(rows, state), from = sg_cpu_rows_view(source, state);
        memcpy(to.q, from.q, rows->padded * rows->real_size);
        memcpy(to.mass, from.mass, rows->tiles * sizeof(double));
        rows->heads[state].total = source->heads[state].total;
        rows->heads[state].exponent = source->heads[state].exponent;
    }
}

void sg_cpu_rows_forget(sg_rows *base)
{
    sg_cpu_rows *rows = sg_cpu_rows_of(base);
    for (size_t state = 0; state < rows->base.config.states; state++) {
        sg_row_view view = sg_cpu_rows_view(rows, state);
        if (view.m != NULL)
            memset(view.m, 0, rows->padded * rows->real_size);
        if (view.v != NULL)
            memset(view.v, 0, rows->padded * rows->real_size);
        rows->heads[state].bound = rows->heads[state].second = 0;
    }
}
