/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R2, R3 and R2b: the two assumptions behind the sequence gate on synthetic rows, after Figures 2
 * and 3 of the SAPO paper; R2 and R3 also on the rows of simulated runs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plots/drawing.h"
#include "plots/recipes/experiment.h"
#include "sim/dispersion.h"

enum { ROWS = 100000, TOKENS = 256, EXTREMES = 2, SHOWN = 10000, SHOWN_BESIDE = 4000 };

#define BLUE 0x1F77B4
#define ORANGE 0xFF7F0E

/* The scale of a row is log-normal; sampling 256 tokens of heavy tails moves the mode of Var down
 * by a tenth, so `scale` is above the mode that is wanted. */
typedef struct kind {
    const char *name;
    double scale, mode; /* of v_i; of Var_i, published */
    sg_bins ratio, variance;
    double ratio_tick, ratio_first, ratio_last, variance_tick, deviation_high;
} kind;

static const kind moe = {.name = "MoE-like",
                         .scale = 0.0036,
                         .mode = 0.0033,
                         .ratio = {0.6, 1.6, 125, SG_BINS_FIXED},
                         .variance = {0, 0.024, 96, SG_BINS_FIXED},
                         .ratio_tick = 0.2,
                         .ratio_first = 0.6,
                         .ratio_last = 1.4,
                         .variance_tick = 0.005,
                         .deviation_high = 0.006};
static const kind dense = {.name = "Dense",
                           .scale = 0.00098,
                           .mode = 0.0009,
                           .ratio = {0.8, 1.24, 110, SG_BINS_FIXED},
                           .variance = {0, 0.006, 96, SG_BINS_FIXED},
                           .ratio_tick = 0.1,
                           .ratio_first = 0.8,
                           .ratio_last = 1.2,
                           .variance_tick = 0.002,
                           .deviation_high = 0.0015};

static sg_status measure(sg_drawing *drawing, const kind *k, size_t extremes, size_t shown,
                         sg_dispersion *dispersion, sg_error *error)
{
    sg_synthetic_config config = {.seed = drawing->seed != 0 ? drawing->seed : 1,
                                  .responses = ROWS,
                                  .tokens = TOKENS,
                                  .variance_mode = k->scale,
                                  .spread = 0.3,
                                  .outliers = 0.2,
                                  .extremes = extremes};
    drawing->seed = config.seed;
    const sg_dispersion_options options = {
        .tau = 1, .ratio = k->ratio, .variance = k->variance, .sample = shown};
    int threads = drawing->options != NULL ? drawing->options->threads : 0;
    return sg_dispersion_synthetic(dispersion, &options, &config, threads, error);
}

/* ---- tables ---- */

static sg_status add_columns(sg_table *table, const char *const *names, size_t count,
                             sg_column_type type, sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++)
        status = sg_table_add_column(table, names[i], type, error);
    return status;
}

/* Appends the sample after the columns of text. */
static sg_status add_sample(sg_table *table, const sg_dispersion *d, const char *const *texts,
                            size_t text_count, sg_error *error)
{
    size_t first = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, d->kept, error);
    for (size_t i = 0; i < d->kept && status == SG_OK; i++) {
        const sg_sequence_gate *row = &d->rows[i];
        const double values[] = {row->variance, row->deviation, row->deviation_true, row->bound};
        for (size_t c = 0; c < text_count && status == SG_OK; c++)
            status = sg_table_set_text(table, c, first + i, texts[c], error);
        for (size_t c = 0; c < 4; c++)
            sg_table_set_real(table, text_count + c, first + i, values[c]);
    }
    return status;
}

static const char *const sample_columns[] = {"variance", "deviation", "deviation_true", "bound"};

/* The two ends of the line. */
static sg_status add_line(sg_table *table, const sg_dispersion *d, double last,
                          const char *const *texts, size_t text_count, sg_error *error)
{
    size_t first = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, 2, error);
    double tau = d->options.tau;
    for (size_t i = 0; i < 2 && status == SG_OK; i++) {
        double variance = i == 0 ? 0 : last;
        for (size_t c = 0; c < text_count && status == SG_OK; c++)
            status = sg_table_set_text(table, c, first + i, texts[c], error);
        sg_table_set_real(table, text_count, first + i, variance);
        sg_table_set_real(table, text_count + 1, first + i, tau * tau / 4 * variance);
    }
    return status;
}

static const char *const line_columns[] = {"variance", "bound"};

static sg_status describe_numbers(sg_table *table, const sg_dispersion *d, sg_error *error)
{
    const struct {
        const char *key;
        double value;
    } pairs[] = {{"rows", (double)d->responses},
                 {"tokens", (double)d->tokens},
                 {"tau", d->options.tau},
                 {"ratio_outside", (double)d->ratio_outside},
                 {"variance_outside", (double)d->variance_outside},
                 {"variance_mode", sg_dispersion_variance_mode(d)},
                 {"rows_above_bound", (double)d->above},
                 {"rows_above_bound_real_gate", (double)d->above_true}};
    sg_status status = SG_OK;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs && status == SG_OK; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.10g", pairs[i].value);
        status = sg_table_set_meta(table, pairs[i].key, text, error);
    }
    return status;
}

/* ---- panels ---- */

static uint64_t fullest(const uint64_t *counts, size_t n)
{
    uint64_t most = 1;
    for (size_t i = 0; i < n; i++)
        most = counts[i] > most ? counts[i] : most;
    return most;
}

/* Counts on an axis with round ticks, in units of a power of ten that stands above the axis. */
static void count_axis(sg_panel *panel, uint64_t most)
{
    double top = 1.06 * (double)most;
    int power = (int)floor(log10((double)most));
    power = power >= 5 ? power : 0;
    double unit = pow(10, power), step = pow(10, floor(log10(top)));
    step *= top / step < 2 ? 0.25 : top / step < 5 ? 0.5 : 1;
    panel->y = (sg_axis){.label = "Count", .low = 0, .high = top};
    for (int i = 0; i * step <= top && i < SG_TICKS_MAX; i++) {
        char label[32];
        snprintf(label, sizeof label, "%g", i * step / unit);
        sg_axis_add_tick(&panel->y, i * step, label);
    }
    if (power == 0)
        return;
    sg_note offset = {.kind = SG_NOTE_TEXT, .x = 0, .y = 1.06, .relative = true};
    snprintf(offset.text, sizeof offset.text, "1e%d", power);
    sg_panel_add_note(panel, offset);
}

static void histogram_panel(sg_panel *panel, const sg_table *table, const char *quantity,
                            const char *label, sg_bins bins, const uint64_t *counts)
{
    panel->open = panel->no_grid = true;
    snprintf(panel->title, sizeof panel->title, " "); /* room for the offset */
    panel->x = (sg_axis){.low = bins.low, .high = bins.high};
    snprintf(panel->x.label, sizeof panel->x.label, "%s", label);
    count_axis(panel, fullest(counts, bins.count));
    sg_panel_add_layer(panel, (sg_layer){.mark = SG_MARK_BLOCK,
                                         .table = table,
                                         .where = {{"quantity", quantity}},
                                         .low = "low",
                                         .high = "high",
                                         .y = "count",
                                         .pen = {BLUE, SG_SOLID, SG_NO_MARKER, 0},
                                         .opacity = 0.85});
}

static void ticks(sg_axis *axis, double from, double to, double step)
{
    for (int i = 0; from + i * step <= to * (1 + 1e-9); i++) {
        char label[32];
        snprintf(label, sizeof label, "%g", from + i * step);
        sg_axis_add_tick(axis, from + i * step, label);
    }
}

static const sg_pen bound_pen = {ORANGE, SG_DASHED, SG_NO_MARKER, 0.8};

static void scatter_panel(sg_panel *panel, const sg_table *sample, const sg_table *line,
                          const kind *k)
{
    panel->open = panel->no_grid = true;
    panel->x = (sg_axis){.label = "Var_{i}(θ)", .low = 0, .high = k->variance.high};
    panel->y = (sg_axis){.label = "D_{i}(θ)", .low = 0, .high = k->deviation_high};
    ticks(&panel->x, 0, k->variance.high, k->variance_tick);
    sg_panel_add_layer(panel, (sg_layer){.mark = SG_MARK_POINTS,
                                         .table = sample,
                                         .x = "variance",
                                         .y = "deviation",
                                         .pen = {BLUE, SG_SOLID, SG_CIRCLE, 0.05},
                                         .opacity = 0.6});
    sg_panel_add_layer(
        panel,
        (sg_layer){
            .mark = SG_MARK_LINE, .table = line, .x = "variance", .y = "bound", .pen = bound_pen});
    /* The legend stands at the upper left, unless the line (of slope 1/4 at tau 1) leaves there. */
    double left = k->deviation_high < 0.6 * 0.25 * k->variance.high ? 0.42 : 0.02;
    sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_SEGMENT,
                                       .x = left,
                                       .y = 0.96,
                                       .x2 = left + 0.09,
                                       .y2 = 0.96,
                                       .relative = true,
                                       .colour = ORANGE,
                                       .dash = SG_DASHED});
    sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_TEXT,
                                       .x = left + 0.11,
                                       .y = 0.96,
                                       .relative = true,
                                       .text = "bound: τ_{i}^{2}/4 Var_{i}"});
}

/* ---- R2 and R3 ---- */

static sg_status draw(sg_drawing *drawing, const kind *k, const sg_dispersion *d, sg_error *error)
{
    sg_table *counts, *sample = NULL, *line = NULL;
    sg_status status = sg_dispersion_histogram(d, &counts, error);
    if (status == SG_OK)
        status = sg_drawing_take_table(drawing, "", counts, error);
    if (status == SG_OK)
        status = describe_numbers(counts, d, error);
    if (status == SG_OK)
        status = sg_drawing_add_table(drawing, "rows", &sample, error);
    if (status == SG_OK)
        status = add_columns(sample, sample_columns, 4, SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = add_sample(sample, d, NULL, 0, error);
    if (status == SG_OK)
        status = sg_drawing_add_table(drawing, "bound", &line, error);
    if (status == SG_OK)
        status = add_columns(line, line_columns, 2, SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = add_line(line, d, k->variance.high, NULL, 0, error);
    if (status != SG_OK)
        return status;
    sg_panel *ratio = sg_figure_panel(drawing->figure, 0, 0);
    sg_panel *variance = sg_figure_panel(drawing->figure, 0, 1);
    histogram_panel(ratio, counts, "ratio", "r_{i,t}(θ)", k->ratio, d->ratio_count);
    ticks(&ratio->x, k->ratio_first, k->ratio_last, k->ratio_tick);
    histogram_panel(variance, counts, "variance", "Var_{i}(θ)", k->variance, d->variance_count);
    ticks(&variance->x, 0, k->variance.high, k->variance_tick);
    scatter_panel(sg_figure_panel(drawing->figure, 0, 2), sample, line, k);
    drawing->figure->aspect = 0.9;
    snprintf(drawing->remark, sizeof drawing->remark,
             "Simulation: %llu tokens in %llu synthetic rows, tau 1; mode of Var %.2g (published "
             "%.2g); outside the axes: %llu tokens, %llu rows; rows above the bound: %llu; "
             "the scatter shows one row in %zu.",
             (unsigned long long)d->tokens, (unsigned long long)d->responses,
             sg_dispersion_variance_mode(d), k->mode, (unsigned long long)d->ratio_outside,
             (unsigned long long)d->variance_outside, (unsigned long long)d->above, d->stride);
    return SG_OK;
}

/* ---- R2 and R3 from runs ---- */

enum { BINS = 120 };

/* 1, 2 or 5 times a power of ten: about `count` of them in a span. */
static double round_step(double span, double count)
{
    double rough = span / count, power = pow(10, floor(log10(rough)));
    return power * (rough / power < 1.5   ? 1
                    : rough / power < 3.5 ? 2
                    : rough / power < 7.5 ? 5
                                          : 10);
}

/* Axes for rows whose size is not known beforehand. */
static kind kind_of(const sg_dispersion *d)
{
    kind k = {.name = "runs", .ratio = d->options.ratio, .variance = d->options.variance};
    k.ratio_tick = round_step(k.ratio.high - k.ratio.low, 4);
    k.ratio_first = ceil(k.ratio.low / k.ratio_tick) * k.ratio_tick;
    k.ratio_last = k.ratio.high;
    k.variance_tick = round_step(k.variance.high, 4);
    double highest = 0; /* of the rows within the axis */
    for (size_t i = 0; i < d->kept; i++)
        if (d->rows[i].variance <= k.variance.high)
            highest = fmax(highest, d->rows[i].deviation);
    k.deviation_high = highest > 0 ? 1.3 * highest : 1;
    return k;
}

static sg_status draw_runs(sg_drawing *drawing, const sg_table *runs, sg_error *error)
{
    sg_dispersion d = {.responses = 0};
    char label[SG_DISPERSION_LABEL] = "";
    sg_status status = sg_dispersion_read(&d, runs, BINS, label, error);
    kind k = {.name = ""};
    if (status == SG_OK)
        k = kind_of(&d);
    if (status == SG_OK)
        status = draw(drawing, &k, &d, error);
    if (status == SG_OK)
        status = sg_experiment_copy_meta(drawing->tables[0], runs, error);
    snprintf(drawing->remark, sizeof drawing->remark,
             "Simulation: %llu tokens in %llu responses of %s, every gradient step; outside the "
             "axes: %llu tokens, %llu responses; above the bound: %llu, with the gate that is used "
             "%llu; the line is that of the largest temperature, %.4g; the scatter shows one "
             "response in %zu.",
             (unsigned long long)d.tokens, (unsigned long long)d.responses, label,
             (unsigned long long)d.ratio_outside, (unsigned long long)d.variance_outside,
             (unsigned long long)d.above, (unsigned long long)d.above_true, d.options.tau,
             d.stride);
    sg_dispersion_free(&d);
    return status;
}

static sg_status build(sg_drawing *drawing, const kind *k, sg_error *error)
{
    sg_dispersion d = {.responses = 0};
    const sg_table *runs = drawing->options != NULL ? drawing->options->runs : NULL;
    sg_status status = sg_drawing_set_layout(drawing, 1, 3, error);
    if (status == SG_OK && runs != NULL && sg_table_find(runs, "quantity") < 0)
        return sg_fail(error, SG_EDATA,
                       "this figure draws rows that 'softgate simulate FILE --statistics ROWS.csv' "
                       "writes, and the table of runs has no column \"quantity\"");
    if (status == SG_OK && runs != NULL)
        return draw_runs(drawing, runs, error);
    if (status == SG_OK)
        status = measure(drawing, k, 0, SHOWN, &d, error);
    if (status == SG_OK)
        status = draw(drawing, k, &d, error);
    sg_dispersion_free(&d);
    return status;
}

static sg_status build_r2(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, &moe, error);
}

static sg_status build_r3(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, &dense, error);
}

/* ---- R2b ---- */

static const char *const runs[] = {"no extreme tokens", "extreme tokens"};
static const char *const text_columns[] = {"kind", "run"};
static const char *const summary_columns[] = {"rows", "tokens", "above_bound",
                                              "above_bound_real_gate"};

static sg_status add_summary(sg_table *table, const sg_dispersion *d, const char *const *texts,
                             sg_error *error)
{
    size_t row = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, 1, error);
    const uint64_t counts[] = {d->responses, d->tokens, d->above, d->above_true};
    for (size_t c = 0; c < 2 && status == SG_OK; c++)
        status = sg_table_set_text(table, c, row, texts[c], error);
    for (size_t c = 0; c < 4 && status == SG_OK; c++)
        sg_table_set_integer(table, 2 + c, row, (int64_t)counts[c]);
    if (status == SG_OK)
        sg_table_set_real(table, 6, row, (double)d->above_true / (double)d->responses);
    return status;
}

static void real_gate_panel(sg_panel *panel, sg_table *const *tables, const char *const *texts,
                            const sg_dispersion *d)
{
    panel->open = panel->no_grid = true;
    snprintf(panel->title, sizeof panel->title, "%s, %s", texts[0], texts[1]);
    double widest = 0, highest = 0; /* of the rows that are drawn */
    for (size_t i = 0; i < d->kept; i++) {
        widest = fmax(widest, d->rows[i].variance);
        highest = fmax(highest, d->rows[i].deviation_true);
    }
    panel->x = (sg_axis){.label = "Var_{i}(θ)", .low = 0, .high = widest * 1.05};
    panel->y = (sg_axis){.label = "D_{i}(θ)", .low = 0, .high = highest * 1.3};
    sg_layer layer = {.mark = SG_MARK_POINTS,
                      .table = tables[0],
                      .where = {{"kind", texts[0]}, {"run", texts[1]}},
                      .x = "variance",
                      .y = "deviation_true",
                      .pen = {SG_COLOUR_RED, SG_SOLID, SG_CIRCLE, 0.05},
                      .opacity = 0.6,
                      .title = "D_{i} with the real gate w(r)"};
    sg_panel_add_layer(panel, layer);
    layer.y = "deviation";
    layer.pen.colour = BLUE;
    snprintf(layer.title, sizeof layer.title, "D_{i} with the log-form gate");
    sg_panel_add_layer(panel, layer);
    layer = (sg_layer){.mark = SG_MARK_LINE,
                       .table = tables[1],
                       .where = {{"kind", texts[0]}, {"run", texts[1]}},
                       .x = "variance",
                       .y = "bound",
                       .pen = {SG_COLOUR_BLACK, SG_DASHED, SG_NO_MARKER, 0.8},
                       .title = "bound: τ_{i}^{2}/4 Var_{i}"};
    sg_panel_add_layer(panel, layer);
    const uint64_t above[] = {d->above_true, d->above};
    static const uint32_t colours[] = {SG_COLOUR_RED, BLUE};
    for (int i = 0; i < 2; i++) {
        sg_note note = {.kind = SG_NOTE_TEXT,
                        .x = 0.03,
                        .y = 0.95 - 0.085 * i,
                        .relative = true,
                        .colour = colours[i]};
        snprintf(note.text, sizeof note.text, "above the line: %llu (%.4g %%)",
                 (unsigned long long)above[i], 100 * (double)above[i] / (double)d->responses);
        sg_panel_add_note(panel, note);
    }
}

static sg_status add_run(sg_drawing *drawing, sg_table *const *tables, size_t cell, sg_error *error)
{
    const kind *k = cell % 2 == 0 ? &moe : &dense;
    const char *const texts[] = {k->name, runs[cell / 2]};
    sg_dispersion d = {.responses = 0};
    sg_status status = measure(drawing, k, cell < 2 ? 0 : EXTREMES, SHOWN_BESIDE, &d, error);
    if (status == SG_OK)
        status = add_sample(tables[0], &d, texts, 2, error);
    if (status == SG_OK)
        status = add_line(tables[1], &d, d.largest_variance, texts, 2, error);
    if (status == SG_OK)
        status = add_summary(tables[2], &d, texts, error);
    if (status == SG_OK)
        real_gate_panel(&drawing->figure->panels[cell], tables, texts, &d);
    sg_dispersion_free(&d);
    return status;
}

static sg_status build_r2b(sg_drawing *drawing, sg_error *error)
{
    static const char *const suffixes[] = {"", "bound", "summary"};
    static const struct {
        const char *const *names;
        size_t count;
        sg_column_type type;
    } columns[] = {{sample_columns, 4, SG_COLUMN_REAL},
                   {line_columns, 2, SG_COLUMN_REAL},
                   {summary_columns, 4, SG_COLUMN_INTEGER}};
    sg_table *tables[3];
    sg_status status = sg_drawing_set_layout(drawing, 2, 2, error);
    for (size_t i = 0; i < 3 && status == SG_OK; i++) {
        status = sg_drawing_add_table(drawing, suffixes[i], &tables[i], error);
        if (status == SG_OK)
            status = add_columns(tables[i], text_columns, 2, SG_COLUMN_TEXT, error);
        if (status == SG_OK)
            status =
                add_columns(tables[i], columns[i].names, columns[i].count, columns[i].type, error);
    }
    if (status == SG_OK)
        status = sg_table_add_column(tables[2], "share_above_real_gate", SG_COLUMN_REAL, error);
    for (size_t cell = 0; cell < 4 && status == SG_OK; cell++)
        status = add_run(drawing, tables, cell, error);
    if (status != SG_OK)
        return status;
    drawing->figure->legend = SG_LEGEND_BELOW;
    drawing->figure->aspect = 0.62;
    snprintf(drawing->remark, sizeof drawing->remark,
             "Simulation: %d synthetic rows of %d tokens in each panel, tau 1, %lld tokens in all; "
             "below, %d tokens of every row have a ratio around 2.5. Counts are over all rows; one "
             "row in %d is drawn.",
             ROWS, TOKENS, 4LL * ROWS * TOKENS, EXTREMES, ROWS / SHOWN_BESIDE);
    return SG_OK;
}

#define THEOREM                                                                                    \
    "All points lie under the line because the line is a theorem for the log-form gate: this "     \
    "panel cannot fail. R2b shows the gate that the optimiser really uses."

const sg_recipe sg_recipe_r2 = {
    .name = "R2",
    .title = "Assumption check, MoE-like rows",
    .caption =
        "Token ratios, variance of the log-ratio in a row, and the distance D between the mean "
        "gate of a row and one gate at its mean log-ratio, in the layout of Figure 2 of the SAPO "
        "paper. Reader: nearly all tokens sit at r = 1 and rows are tight, so the mean gate of a "
        "row is close to one gate at its mean log-ratio: SAPO behaves like a smooth GSPO "
        "here. " THEOREM,
    .statistics = true,
    .heavy = true,
    .build = build_r2,
};

const sg_recipe sg_recipe_r3 = {
    .name = "R3",
    .title = "Assumption check, dense-like rows",
    .caption = "As R2, with the smaller spread of a dense model, in the layout of Figure 3 of the "
               "SAPO paper. Reader: the dense model of the paper is about four times tighter in "
               "Var than its MoE model; routing changes are the usual explanation. " THEOREM,
    .statistics = true,
    .heavy = true,
    .build = build_r3,
};

const sg_recipe sg_recipe_r2b = {
    .name = "R2b",
    .title = "The bound and the gate that is really used",
    .caption =
        "Rows as in R2 and R3; D with the log-form gate, for which the bound is a theorem, and "
        "with the real gate w(r), for which it is not. Reader: tau^2/4 is the exact second-order "
        "coefficient, so even without extreme tokens a row whose log-ratios are skewed upwards is "
        "a little above the line; with a few extreme tokens every row is, and clearly.",
    .heavy = true,
    .build = build_r2b,
};
