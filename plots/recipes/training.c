/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R4 and R5: training runs of several arms and seeds, toy counterparts of Figures 4 and 5 of the
 * SAPO paper. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plots/drawing.h"
#include "plots/layout.h"
#include "plots/recipes/experiment.h"
#include "sim/training_summary.h"

enum { ARMS_MAX = 12, QUANTITIES = 5, PANELS = 6, SURVIVAL_CELL = 5 };

/* What is drawn against the step; survival has a cell of its own. */
static const struct {
    sg_summary_column column;
    const char *low, *middle, *high, *label;
    size_t cell;
} quantities[QUANTITIES] = {
    {{"reward", false}, "reward_low", "reward", "reward_high", "Training Reward", 0},
    {{"J", false}, "J_low", "J", "J_high", "Exact Score J", 1},
    {{"J", true}, "J_gain_low", "J_gain", "J_gain_high", "Paired Gain in J", 2},
    {{"entropy", false}, "entropy_low", "entropy", "entropy_high", "Entropy [nat]", 3},
    {{"tail_mass", false}, "tail_mass_low", "tail_mass", "tail_mass_high", "Tail Mass", 4},
};

typedef struct arm {
    const char *objective, *params; /* owned by the summary */
    sg_objective parsed;
    sg_pen pen;
    char label[SG_LABEL_SIZE];
} arm;

typedef struct training {
    sg_table *summary, *survival;
    size_t count;
    arm arms[ARMS_MAX];
} training;

/* ---- tables ---- */

static sg_status simulate(const sg_figure_options *options, const char *name, sg_table **runs,
                          sg_error *error)
{
    sg_config config;
    sg_status status = sg_experiment_read(options, name, &config, error);
    return status == SG_OK ? sg_experiment_run(options, &config, NULL, runs, error) : status;
}

static sg_status summarize(sg_drawing *drawing, training *t, const sg_table *runs, size_t baseline,
                           sg_error *error)
{
    sg_summary_column columns[QUANTITIES];
    for (size_t i = 0; i < QUANTITIES; i++)
        columns[i] = quantities[i].column;
    sg_status status =
        sg_training_summary(runs, columns, QUANTITIES, baseline, 0.8, &t->summary, error);
    if (status == SG_OK)
        status = sg_drawing_take_table(drawing, "", t->summary, error);
    if (status == SG_OK)
        status = sg_experiment_copy_meta(t->summary, runs, error);
    if (status == SG_OK)
        status = sg_training_survival(runs, &t->survival, error);
    if (status == SG_OK)
        status = sg_drawing_take_table(drawing, "survival", t->survival, error);
    return status == SG_OK ? sg_experiment_copy_meta(t->survival, runs, error) : status;
}

/* ---- arms ---- */

static sg_status parse_arm(arm *a, sg_error *error)
{
    char spec[512];
    snprintf(spec, sizeof spec, "%s%s%s", a->objective, a->params[0] != '\0' ? ":" : "", a->params);
    sg_status status = sg_objective_parse(&a->parsed, spec, error);
    if (status != SG_OK)
        return status;
    a->pen = sg_theme_pen(a->parsed.gate, a->parsed.level);
    sg_objective_label(&a->parsed, a->label, sizeof a->label);
    return SG_OK;
}

static sg_status collect_arms(training *t, sg_error *error)
{
    size_t objective = (size_t)sg_table_find(t->summary, "objective");
    size_t params = (size_t)sg_table_find(t->summary, "params");
    for (size_t row = 0; row < sg_table_rows(t->summary); row++) {
        const char *name = sg_table_get_text(t->summary, objective, row);
        const char *values = sg_table_get_text(t->summary, params, row);
        const arm *last = t->count > 0 ? &t->arms[t->count - 1] : NULL;
        if (last != NULL && strcmp(last->objective, name) == 0 && strcmp(last->params, values) == 0)
            continue;
        if (t->count == ARMS_MAX)
            return sg_fail(error, SG_EARGUMENT, "a training figure shows at most %d arms",
                           ARMS_MAX);
        arm *next = &t->arms[t->count++];
        next->objective = name;
        next->params = values;
        sg_status status = parse_arm(next, error);
        if (status != SG_OK)
            return status;
    }
    return t->count > 0 ? SG_OK : sg_fail(error, SG_EDATA, "the table of runs is empty");
}

/* Arms of one method get different dashes, and earlier arms wider lines, so that arms that lie on
 * each other are all seen. */
static void tell_apart(training *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->arms[i].pen.width = 1 + 0.6 * (double)(t->count - 1 - i);
    for (size_t i = 1; i < t->count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (t->arms[k].pen.colour == t->arms[i].pen.colour)
                t->arms[i].pen.dash = (sg_dash)((t->arms[k].pen.dash + 1) % SG_DASH_COUNT);
        }
    }
}

/* R5 compares temperatures of one method: colours and names by their order. */
static void name_by_temperature(training *t)
{
    for (size_t i = 0; i < t->count; i++) {
        arm *a = &t->arms[i];
        double negative = a->parsed.parameter.tau_neg, positive = a->parsed.parameter.tau_pos;
        if (a->parsed.gate != SG_GATE_SAPO)
            continue;
        bool above = negative > positive, below = negative < positive;
        a->pen.colour = above ? SG_COLOUR_SAPO : below ? SG_COLOUR_GRPO : SG_COLOUR_GSPO;
        a->pen.dash = above ? SG_SOLID : below ? SG_DASH_DOT : SG_LONG_DASH;
        snprintf(a->label, sizeof a->label, "τ_{neg} %s τ_{pos} (%g / %g)",
                 above   ? ">"
                 : below ? "<"
                         : "=",
                 negative, positive);
    }
}

/* ---- panels ---- */

static sg_layer layer_of(const arm *a, const sg_table *table)
{
    sg_layer layer = {.table = table,
                      .where = {{"objective", a->objective}, {"params", a->params}},
                      .x = "step",
                      .pen = a->pen};
    return layer;
}

static void describe_quantity(sg_panel *panel, const training *t, size_t q)
{
    snprintf(panel->y.label, sizeof panel->y.label, "%s", quantities[q].label);
    for (size_t i = 0; i < t->count; i++) {
        sg_layer layer = layer_of(&t->arms[i], t->summary);
        layer.mark = SG_MARK_BAND;
        layer.low = quantities[q].low;
        layer.high = quantities[q].high;
        sg_panel_add_layer(panel, layer);
        layer.mark = SG_MARK_LINE;
        layer.y = quantities[q].middle;
        snprintf(layer.title, sizeof layer.title, "%s", t->arms[i].label);
        sg_panel_add_layer(panel, layer);
    }
    if (quantities[q].column.gain)
        sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_HORIZONTAL, .colour = SG_COLOUR_GREY});
}

static void describe_survival(sg_panel *panel, const training *t)
{
    panel->y = (sg_axis){.label = "Share of Runs Alive", .low = -0.03, .high = 1.03, .step = 0.2};
    for (size_t i = 0; i < t->count; i++) {
        sg_layer layer = layer_of(&t->arms[i], t->survival);
        layer.mark = SG_MARK_STEPS;
        layer.y = "alive";
        sg_panel_add_layer(panel, layer);
    }
}

/* First step at which at most half of the arm's runs are alive; NaN when that never happens. */
static double median_survival(const training *t, size_t i)
{
    sg_layer layer = layer_of(&t->arms[i], t->survival);
    for (size_t row = 0; sg_layer_next(&layer, &row); row++) {
        if (sg_layer_value(&layer, "alive", row) <= 0.5)
            return sg_layer_value(&layer, "step", row);
    }
    return NAN;
}

static void describe(sg_figure *figure, const training *t, double last_step)
{
    figure->legend = SG_LEGEND_BELOW;
    figure->aspect = 0.78;
    for (size_t p = 0; p < PANELS; p++) {
        sg_panel *panel = sg_figure_panel(figure, p / 3, p % 3);
        panel->x = (sg_axis){.low = 0, .high = last_step, .bare = p < 3};
        snprintf(panel->x.label, sizeof panel->x.label, "%s", p < 3 ? "" : "Gradient Steps");
        for (size_t i = 0; i < t->count; i++) {
            double step = median_survival(t, i);
            if (isfinite(step) && p < 2)
                sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_VERTICAL,
                                                   .x = step,
                                                   .colour = t->arms[i].pen.colour,
                                                   .dash = SG_DOTTED});
        }
    }
    for (size_t q = 0; q < QUANTITIES; q++)
        describe_quantity(&figure->panels[quantities[q].cell], t, q);
    describe_survival(&figure->panels[SURVIVAL_CELL], t);
}

static size_t failed_runs(const training *t)
{
    double failed = 0;
    size_t column = (size_t)sg_table_find(t->survival, "events");
    for (size_t row = 0; row < sg_table_rows(t->survival); row++)
        failed += sg_table_get_number(t->survival, column, row);
    return (size_t)failed;
}

/* What the runs say, in numbers: the note under the picture must not depend on what the paper found. */
static void append_outcome(sg_text *text, const training *t)
{
    size_t objective = (size_t)sg_table_find(t->summary, "objective");
    size_t params = (size_t)sg_table_find(t->summary, "params");
    size_t score = (size_t)sg_table_find(t->summary, "J");
    size_t gain = (size_t)sg_table_find(t->summary, "J_gain");
    sg_text_printf(text, " What came out: %zu runs failed", failed_runs(t));
    const char *last_objective = NULL, *last_params = NULL;
    double end = NAN, widest = 0;
    for (size_t row = 0; row <= sg_table_rows(t->summary); row++) {
        bool over = row == sg_table_rows(t->summary);
        const char *o = over ? "" : sg_table_get_text(t->summary, objective, row);
        const char *p = over ? "" : sg_table_get_text(t->summary, params, row);
        if (last_objective != NULL &&
            (over || strcmp(o, last_objective) != 0 || strcmp(p, last_params) != 0)) {
            sg_text_printf(text, "; %s:%s ends at median J %.4f, largest median gain %.2g",
                           last_objective, last_params, end, widest);
            widest = 0;
        }
        if (over)
            break;
        end = sg_table_get_number(t->summary, score, row);
        double here = sg_table_get_number(t->summary, gain, row);
        widest = fabs(here) > fabs(widest) ? here : widest;
        last_objective = o;
        last_params = p;
    }
    sg_text_append(text, ".");
}

static void remark(sg_drawing *drawing, const training *t, const sg_table *runs)
{
    const char *vocabulary = sg_table_meta(runs, "policy.vocabulary");
    int64_t most = 0;
    size_t column = (size_t)sg_table_find(t->summary, "runs");
    for (size_t row = 0; row < sg_table_rows(t->summary); row++) {
        int64_t here = sg_table_get_integer(t->summary, column, row);
        most = here > most ? here : most;
    }
    snprintf(drawing->remark, sizeof drawing->remark,
             "Simulation of a toy policy%s%s: %lld seeds an arm, shared by the arms; line: median, "
             "band: 10-90 %%.",
             vocabulary != NULL ? " with vocabulary " : "", vocabulary != NULL ? vocabulary : "",
             (long long)most);
    sg_text outcome = {0};
    append_outcome(&outcome, t);
    size_t length = strlen(drawing->remark);
    if (!outcome.failed)
        snprintf(drawing->remark + length, sizeof drawing->remark - length, "%s", outcome.data);
    sg_text_free(&outcome);
}

static double last_step_of(const sg_table *table)
{
    double last = 1;
    size_t column = (size_t)sg_table_find(table, "step");
    for (size_t row = 0; row < sg_table_rows(table); row++)
        last = fmax(last, sg_table_get_number(table, column, row));
    return last;
}

/* `baseline`: the arm that paired gains refer to. */
static sg_status draw(sg_drawing *drawing, const char *name, bool by_temperature, size_t baseline,
                      sg_error *error)
{
    training t = {.count = 0};
    sg_table *own = NULL;
    const sg_table *runs = drawing->options != NULL ? drawing->options->runs : NULL;
    sg_status status = sg_drawing_set_layout(drawing, 2, 3, error);
    if (status == SG_OK && runs == NULL) {
        const sg_figure_options none = {0};
        status = simulate(drawing->options != NULL ? drawing->options : &none, name, &own, error);
        runs = own;
    }
    if (status == SG_OK)
        status = summarize(drawing, &t, runs, baseline, error);
    if (status == SG_OK)
        status = collect_arms(&t, error);
    if (status == SG_OK) {
        tell_apart(&t);
        if (by_temperature)
            name_by_temperature(&t);
        describe(drawing->figure, &t, last_step_of(t.summary));
        remark(drawing, &t, runs);
        drawing->seed = 0; /* the seeds are those of the experiment, in the tables' metadata */
    }
    sg_table_free(own);
    return status;
}

static sg_status build_r4(sg_drawing *drawing, sg_error *error)
{
    return draw(drawing, "R4", false, 0, error);
}

static sg_status build_r5(sg_drawing *drawing, sg_error *error)
{
    return draw(drawing, "R5", true, 0, error);
}

#define PANELS_TEXT                                                                                \
    "sampled reward, exact score J, its gain over the first arm seed by seed, entropy, tail "      \
    "mass, and "                                                                                   \
    "the share of runs that have neither collapsed nor diverged (Kaplan-Meier). Dotted lines: "    \
    "the step "                                                                                    \
    "at which half of an arm's runs have failed. "

const sg_recipe sg_recipe_r4 = {
    .name = "R4",
    .title = "SAPO, GSPO and GRPO in training, toy counterpart",
    .caption = "Training of a toy policy: " PANELS_TEXT
               "Reader: in Figure 4 of the SAPO paper the three methods are close before step 1300 "
               "and the gap is "
               "made by collapses. So look at survival, with seeds, not at the last point.",
    .training = true,
    .build = build_r4,
};

const sg_recipe sg_recipe_r5 = {
    .name = "R5",
    .title = "Temperature asymmetry in training, toy counterpart",
    .caption = "SAPO with tau_neg above, equal to and below tau_pos (neg / pos): " PANELS_TEXT
               "Reader: in Figure 5 of the SAPO paper early learning speed is ordered the other "
               "way round (0.95 "
               "fastest), and most of the extra life comes with a 5 % asymmetry, from one seed "
               "each: this figure "
               "needs repetition more than any other.",
    .training = true,
    .build = build_r5,
};
