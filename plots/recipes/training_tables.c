/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The numbers of a training figure. */
#include <math.h>
#include <string.h>

#include "plots/recipes/experiment.h"
#include "plots/recipes/training.h"
#include "sim/arms.h"
#include "sim/collapse.h"
#include "sim/outcome.h"
#include "sim/training_summary.h"

static const double band = 0.8;

/* The first of a panel's columns that holds a number; NULL when there is none. */
static const char *choose(const sg_training_panel *panel, const sg_table *runs)
{
    for (size_t c = 0; c < SG_TRAINING_COLUMNS && panel->columns[c] != NULL; c++) {
        ptrdiff_t column = sg_table_find(runs, panel->columns[c]);
        for (size_t row = 0; column >= 0 && row < sg_table_rows(runs); row++) {
            if (!isnan(sg_table_get_number(runs, (size_t)column, row)))
                return panel->columns[c];
        }
    }
    return NULL;
}

static sg_status keep(const sg_training *t, sg_drawing *drawing, const char *suffix,
                      sg_table *table, sg_error *error)
{
    sg_status status = sg_drawing_take_table(drawing, suffix, table, error);
    return status == SG_OK ? sg_experiment_copy_meta(table, t->runs, error) : status;
}

static sg_status summarize(sg_training *t, const sg_table *fates, sg_error *error)
{
    sg_summary_column columns[SG_TRAINING_PANELS];
    size_t count = 0;
    for (size_t p = 0; p < SG_TRAINING_PANELS; p++) {
        const sg_training_panel *panel = &t->layout->panels[p];
        t->column[p] = choose(panel, t->runs);
        bool gain = panel->kind == SG_TRAINING_GAIN, known = t->column[p] == NULL;
        for (size_t i = 0; i < count && !known; i++)
            known = columns[i].gain == gain && strcmp(columns[i].name, t->column[p]) == 0;
        if (!known)
            columns[count++] = (sg_summary_column){t->column[p], gain, true};
    }
    return sg_training_summary(t->runs, fates, columns, count, 0, band, &t->summary, error);
}

/* ---- events ---- */

enum { EVENT_TEXTS = 3, EVENT_FIXED = 5 }; /* objective, params, event; seed, step */

static sg_status start_events(sg_training *t, sg_error *error)
{
    static const char *const texts[EVENT_TEXTS] = {"objective", "params", "event"};
    sg_status status = SG_OK;
    for (size_t c = 0; c < EVENT_TEXTS && status == SG_OK; c++)
        status = sg_table_add_column(t->events, texts[c], SG_COLUMN_TEXT, error);
    if (status == SG_OK)
        status = sg_table_add_column(t->events, "seed", SG_COLUMN_INTEGER, error);
    if (status == SG_OK)
        status = sg_table_add_column(t->events, "step", SG_COLUMN_INTEGER, error);
    for (size_t p = 0; p < SG_TRAINING_PANELS && status == SG_OK; p++) {
        if (t->column[p] != NULL && sg_table_find(t->events, t->column[p]) < 0)
            status = sg_table_add_column(t->events, t->column[p], SG_COLUMN_REAL, error);
    }
    return status;
}

/* The run's last number in a column up to a step; NaN when there is none. */
static double value_at(const sg_table *runs, size_t column, size_t first, size_t end, double step)
{
    size_t at = (size_t)sg_table_find(runs, "step");
    double value = NAN;
    for (size_t row = first; row < end && sg_table_get_number(runs, at, row) <= step; row++) {
        double here = sg_table_get_number(runs, column, row);
        value = isnan(here) ? value : here;
    }
    return value;
}

static sg_status add_event(sg_training *t, size_t first, size_t end, const char *event, double step,
                           sg_error *error)
{
    const sg_table *runs = t->runs;
    size_t row = sg_table_rows(t->events);
    size_t objective = (size_t)sg_table_find(runs, "objective");
    size_t params = (size_t)sg_table_find(runs, "params");
    size_t seed = (size_t)sg_table_find(runs, "seed");
    const char *const texts[EVENT_TEXTS] = {sg_arms_text(runs, objective, first),
                                            sg_arms_text(runs, params, first), event};
    sg_status status = sg_table_add_rows(t->events, 1, error);
    for (size_t c = 0; c < EVENT_TEXTS && status == SG_OK; c++)
        status = sg_table_set_text(t->events, c, row, texts[c], error);
    if (status != SG_OK)
        return status;
    sg_table_set_integer(t->events, EVENT_TEXTS, row,
                         (int64_t)sg_table_get_number(runs, seed, first));
    sg_table_set_integer(t->events, EVENT_TEXTS + 1, row, (int64_t)step);
    for (size_t c = EVENT_FIXED; c < sg_table_columns(t->events); c++) {
        size_t from = (size_t)sg_table_find(runs, sg_table_column_name(t->events, c));
        sg_table_set_real(t->events, c, row, value_at(runs, from, first, end, step));
    }
    return SG_OK;
}

/* Rows of a run and those of fates are in the same order. */
static sg_status collect_events(sg_training *t, const sg_table *fates, sg_error *error)
{
    static const char *const kinds[] = {"collapse", "divergence"};
    const sg_table *runs = t->runs;
    sg_arms arms;
    size_t seed = (size_t)sg_table_find(runs, "seed"), rows = sg_table_rows(runs), fate = 0;
    sg_status status = sg_arms_collect(&arms, runs, error);
    for (size_t first = 0, end; first < rows && status == SG_OK; first = end, fate++) {
        for (end = first + 1;
             end < rows && sg_arms_same(&arms, first, end) &&
             sg_table_get_number(runs, seed, end) == sg_table_get_number(runs, seed, first);
             end++)
            ;
        for (size_t k = 0; k < 2 && status == SG_OK; k++) {
            size_t column = (size_t)sg_table_find(fates, kinds[k]);
            double step = sg_table_get_number(fates, column, fate);
            if (isfinite(step))
                status = add_event(t, first, end, kinds[k], step, error);
        }
    }
    return status;
}

/* ---- all of them ---- */

static double last_step(const sg_table *table)
{
    double last = 1;
    size_t column = (size_t)sg_table_find(table, "step");
    for (size_t row = 0; row < sg_table_rows(table); row++)
        last = fmax(last, sg_table_get_number(table, column, row));
    return last;
}

static sg_status make(sg_training *t, sg_drawing *drawing, const sg_table *fates, sg_error *error)
{
    sg_status status = summarize(t, fates, error);
    if (status == SG_OK)
        status = keep(t, drawing, "", t->summary, error);
    if (status == SG_OK)
        status = sg_training_survival(fates, &t->survival, error);
    if (status == SG_OK)
        status = keep(t, drawing, "survival", t->survival, error);
    if (status == SG_OK)
        status = sg_drawing_add_table(drawing, "events", &t->events, error);
    if (status == SG_OK)
        status = start_events(t, error);
    if (status == SG_OK)
        status = collect_events(t, fates, error);
    if (status == SG_OK)
        status = sg_experiment_copy_meta(t->events, t->runs, error);
    if (status == SG_OK)
        status = sg_training_outcome(fates, 0, &t->outcome, error);
    return status == SG_OK ? keep(t, drawing, "outcome", t->outcome, error) : status;
}

sg_status sg_training_tables(sg_training *t, sg_drawing *drawing, sg_error *error)
{
    sg_table *fates = NULL;
    sg_status status = sg_fate_table(t->runs, 1, 0.5, &fates, error);
    if (status == SG_OK)
        status = make(t, drawing, fates, error);
    if (status == SG_OK)
        t->horizon = last_step(t->survival);
    sg_table_free(fates);
    return status;
}
