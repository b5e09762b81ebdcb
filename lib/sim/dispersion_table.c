/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Row statistics of runs as a table, and back from one into the bins of a picture. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sim/dispersion.h"

static const struct {
    const char *name;
    sg_column_type type;
} columns[] = {{"objective", SG_COLUMN_TEXT},      {"params", SG_COLUMN_TEXT},
               {"quantity", SG_COLUMN_TEXT},       {"low", SG_COLUMN_REAL},
               {"high", SG_COLUMN_REAL},           {"count", SG_COLUMN_INTEGER},
               {"variance", SG_COLUMN_REAL},       {"deviation", SG_COLUMN_REAL},
               {"deviation_true", SG_COLUMN_REAL}, {"bound", SG_COLUMN_REAL}};
enum { COLUMNS = sizeof columns / sizeof *columns, TEXTS = 3, LOW = 3, COUNT = 5, ROW = 6 };

sg_dispersion_options sg_dispersion_growing(size_t responses, size_t sample)
{
    enum { BINS = 1 << 14 };
    double around = BINS / 2 * 0x1p-24;
    return (sg_dispersion_options){
        .tau = 1,
        .ratio = {1 - around, 1 + around, BINS, SG_BINS_BOTH},
        .variance = {0, BINS * 0x1p-40, BINS, SG_BINS_UPWARD},
        .responses = responses,
        .sample = sample,
    };
}

/* ---- writing */

typedef struct writer {
    sg_table *table;
    const char *objective, *params;
    sg_status status;
    sg_error *error;
} writer;

static void put(writer *w, const char *quantity, double low, double high, uint64_t count,
                const sg_sequence_gate *gate)
{
    const char *const texts[TEXTS] = {w->objective, w->params, quantity};
    const double reals[] = {gate->variance, gate->deviation, gate->deviation_true, gate->bound};
    size_t row = sg_table_rows(w->table);
    if (w->status == SG_OK)
        w->status = sg_table_add_rows(w->table, 1, w->error);
    for (size_t c = 0; c < TEXTS && w->status == SG_OK; c++)
        w->status = sg_table_set_text(w->table, c, row, texts[c], w->error);
    if (w->status != SG_OK)
        return;
    sg_table_set_real(w->table, LOW, row, low);
    sg_table_set_real(w->table, LOW + 1, row, high);
    sg_table_set_integer(w->table, COUNT, row, (int64_t)count);
    for (size_t c = 0; c < 4; c++)
        sg_table_set_real(w->table, ROW + c, row, reals[c]);
}

static const sg_sequence_gate none = {NAN, NAN, NAN, NAN, NAN};

static void put_bins(writer *w, const char *quantity, sg_bins bins, const uint64_t *counts,
                     uint64_t outside)
{
    double width = (bins.high - bins.low) / (double)bins.count;
    for (size_t b = 0; b < bins.count; b++)
        if (counts[b] > 0)
            put(w, quantity, bins.low + width * (double)b, bins.low + width * (double)(b + 1),
                counts[b], &none);
    if (outside > 0)
        put(w, quantity, NAN, NAN, outside, &none);
}

sg_status sg_dispersion_append(const sg_dispersion *d, const char *objective, const char *params,
                               sg_table *table, sg_error *error)
{
    writer w = {table, objective, params, SG_OK, error};
    for (size_t c = sg_table_columns(table); c < COLUMNS && w.status == SG_OK; c++)
        w.status = sg_table_add_column(table, columns[c].name, columns[c].type, error);
    put_bins(&w, "ratio", d->options.ratio, d->ratio_count, d->ratio_outside);
    put_bins(&w, "variance", d->options.variance, d->variance_count, d->variance_outside);
    put(&w, "above_bound", NAN, NAN, d->above, &none);
    put(&w, "above_bound_real_gate", NAN, NAN, d->above_true, &none);
    for (size_t k = 0; k < d->kept; k++)
        if (!isnan(d->rows[k].variance))
            put(&w, "response", NAN, NAN, 1, &d->rows[k]);
    return w.status;
}

/* ---- reading */

typedef struct reader {
    const sg_table *table;
    size_t column[COLUMNS];
    size_t rows; /* of the first objective */
} reader;

static const char *text_at(const reader *r, size_t c, size_t row)
{
    bool is_text = sg_table_column_type(r->table, r->column[c]) == SG_COLUMN_TEXT;
    return is_text ? sg_table_get_text(r->table, r->column[c], row) : "";
}

static double number_at(const reader *r, size_t c, size_t row)
{
    return sg_table_get_number(r->table, r->column[c], row);
}

static bool is_about(const reader *r, size_t row, const char *quantity)
{
    return strcmp(text_at(r, 2, row), quantity) == 0;
}

static sg_status open_table(reader *r, const sg_table *table, sg_error *error)
{
    *r = (reader){.table = table};
    for (size_t c = 0; c < COLUMNS; c++) {
        ptrdiff_t found = sg_table_find(table, columns[c].name);
        bool text = found >= 0 && sg_table_column_type(table, (size_t)found) == SG_COLUMN_TEXT;
        if (found < 0 || (text && c >= TEXTS))
            return sg_fail(error, SG_EDATA,
                           "the table has no %s \"%s\"; give one that softgate simulate "
                           "--statistics wrote",
                           c < TEXTS ? "column" : "numbers", columns[c].name);
        r->column[c] = (size_t)found;
    }
    while (r->rows < sg_table_rows(table) &&
           strcmp(text_at(r, 0, r->rows), text_at(r, 0, 0)) == 0 &&
           strcmp(text_at(r, 1, r->rows), text_at(r, 1, 0)) == 0)
        r->rows++;
    return SG_OK;
}

/* What a quantity's bins in the table look like. */
typedef struct extent {
    double width, total;
    double low, high; /* without the outermost `trim` of the counts */
} extent;

/* Bins stand in rising order. */
static extent measure(const reader *r, const char *quantity, double trim)
{
    extent e = {.low = NAN, .high = NAN};
    double before = 0;
    for (size_t row = 0; row < r->rows; row++)
        e.total += is_about(r, row, quantity) ? number_at(r, COUNT, row) : 0;
    for (size_t row = 0; row < r->rows; row++) {
        double low = number_at(r, LOW, row), high = number_at(r, LOW + 1, row);
        if (!is_about(r, row, quantity) || !(low < high))
            continue;
        e.width = high - low;
        if (isnan(e.low) && before + number_at(r, COUNT, row) > trim * e.total)
            e.low = low;
        if (before < (1 - trim) * e.total)
            e.high = high;
        before += number_at(r, COUNT, row);
    }
    return e;
}

/* At most `count` bins, each a power of two of the table's bins, that begin at a multiple of their
 * width from `origin`. */
static sg_bins picture_bins(extent e, double origin, size_t count)
{
    double width = e.width, first, last;
    for (;; width *= 2) {
        first = floor((e.low - origin) / width);
        last = ceil((e.high - origin) / width);
        if (last - first <= (double)count)
            break;
    }
    return (sg_bins){.low = origin + first * width,
                     .high = origin + last * width,
                     .count = (size_t)(last - first)};
}

static uint64_t fill(const reader *r, const char *quantity, sg_bins bins, uint64_t *counts,
                     uint64_t *outside)
{
    double width = (bins.high - bins.low) / (double)bins.count;
    uint64_t total = 0;
    for (size_t row = 0; row < r->rows; row++) {
        if (!is_about(r, row, quantity))
            continue;
        double middle = (number_at(r, LOW, row) + number_at(r, LOW + 1, row)) / 2;
        double place = floor((middle - bins.low) / width);
        uint64_t n = (uint64_t)number_at(r, COUNT, row);
        total += n;
        if (place >= 0 && place < (double)bins.count)
            counts[(size_t)place] += n;
        else
            *outside += n;
    }
    return total;
}

static void read_rows(const reader *r, sg_dispersion *d)
{
    size_t kept = 0;
    double tau = 0;
    for (size_t row = 0; row < r->rows; row++) {
        if (is_about(r, row, "above_bound"))
            d->above = (uint64_t)number_at(r, COUNT, row);
        if (is_about(r, row, "above_bound_real_gate"))
            d->above_true = (uint64_t)number_at(r, COUNT, row);
        if (!is_about(r, row, "response"))
            continue;
        sg_sequence_gate *gate = &d->rows[kept++];
        gate->variance = number_at(r, ROW, row);
        gate->deviation = number_at(r, ROW + 1, row);
        gate->deviation_true = number_at(r, ROW + 2, row);
        gate->bound = number_at(r, ROW + 3, row);
        if (gate->variance > 0)
            tau = fmax(tau, 2 * sqrt(gate->bound / gate->variance));
        d->largest_variance = fmax(d->largest_variance, gate->variance);
        d->largest_deviation = fmax(d->largest_deviation, gate->deviation);
        d->largest_deviation_true = fmax(d->largest_deviation_true, gate->deviation_true);
    }
    d->options.tau = tau > 0 ? tau : 1;
}

sg_status sg_dispersion_read(sg_dispersion *d, const sg_table *table, size_t count,
                             char label[SG_DISPERSION_LABEL], sg_error *error)
{
    *d = (sg_dispersion){.responses = 0};
    reader r;
    sg_status status = open_table(&r, table, error);
    if (status != SG_OK)
        return status;
    extent ratio = measure(&r, "ratio", 0.001), variance = measure(&r, "variance", 0.001);
    size_t sampled = 0;
    for (size_t row = 0; row < r.rows; row++)
        sampled += is_about(&r, row, "response");
    if (isnan(ratio.low) || isnan(variance.low) || sampled == 0)
        return sg_fail(error, SG_EDATA,
                       "the table of statistics holds no tokens; simulate at least one step");
    variance.low = 0;
    sg_dispersion_options options = {.tau = 1,
                                     .ratio = picture_bins(ratio, 1, count),
                                     .variance = picture_bins(variance, 0, count),
                                     .responses = sampled,
                                     .sample = sampled};
    status = sg_dispersion_init(d, &options, error);
    if (status != SG_OK)
        return status;
    d->tokens = fill(&r, "ratio", options.ratio, d->ratio_count, &d->ratio_outside);
    d->responses = fill(&r, "variance", options.variance, d->variance_count, &d->variance_outside);
    d->stride = (size_t)(d->responses + sampled - 1) / sampled;
    read_rows(&r, d);
    snprintf(label, SG_DISPERSION_LABEL, "%.20s %.80s", text_at(&r, 0, 0), text_at(&r, 1, 0));
    return SG_OK;
}
