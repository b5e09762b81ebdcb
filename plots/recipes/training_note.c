/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the runs of a training figure say, in words made from their numbers: a note under a picture
 * must not depend on what a paper found. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plots/recipes/training.h"

static double outcome(const sg_training *t, const char *column, size_t arm)
{
    return sg_table_get_real(t->outcome, (size_t)sg_table_find(t->outcome, column), arm);
}

static double total(const sg_training *t, const char *column)
{
    double sum = 0;
    for (size_t i = 0; i < t->count; i++)
        sum += outcome(t, column, i);
    return sum;
}

/* A label without the marks of subscripts. */
static void append_label(sg_text *text, const sg_arm *arm)
{
    for (const char *c = arm->label; *c != '\0'; c++) {
        bool mark = *c == '{' || *c == '}';
        if (!mark)
            sg_text_append_bytes(text, c, 1);
    }
}

/* ---- what was run ---- */

static void append_setting(sg_text *text, const sg_training *t)
{
    const char *kind = sg_table_meta(t->runs, "policy.kind");
    const char *vocabulary = sg_table_meta(t->runs, "policy.vocabulary");
    double most = 0, least = INFINITY;
    for (size_t i = 0; i < t->count; i++) {
        most = fmax(most, outcome(t, "runs", i));
        least = fmin(least, outcome(t, "runs", i));
    }
    if (vocabulary != NULL)
        sg_text_printf(text, "Simulation, no language model: a toy policy (%s) with vocabulary %s",
                       kind != NULL ? kind : "tabular", vocabulary);
    else
        sg_text_append(text, "From a log that does not say how it was made");
    if (most == least)
        sg_text_printf(text, "; %g seed%s an arm", most, most == 1 ? "" : "s");
    else
        sg_text_printf(text, "; %g to %g seeds an arm", least, most);
    sg_text_append(text, vocabulary != NULL && most > 1 ? ", shared by the arms." : ".");
}

/* ---- what came out ---- */

/* How much hangs on the rule that tells a collapse. */
static void append_sensitivity(sg_text *text, const sg_training *t)
{
    double early = total(t, "failed_30"), late = total(t, "failed_70"), failed = total(t, "failed");
    if (early != failed || late != failed)
        sg_text_printf(
            text,
            " A collapse is the loss of half of the gain; with 30 %% it would be %g runs, "
            "with 70 %% %g.",
            early, late);
}

static void append_failures(sg_text *text, const sg_training *t)
{
    double runs = total(t, "runs"), failed = total(t, "failed");
    if (failed == 0) {
        double high = 0;
        for (size_t i = 0; i < t->count; i++)
            high = fmax(high, outcome(t, "failed_high", i));
        sg_text_printf(text,
                       " No run of %g collapsed or diverged (at 95 %% an arm's rate is below %.0f "
                       "%%).",
                       runs, 100 * high);
        return;
    }
    sg_text_printf(text, " %g of %g runs collapsed or diverged:", failed, runs);
    for (size_t i = 0; i < t->count; i++) {
        sg_text_append(text, i > 0 ? "; " : " ");
        append_label(text, &t->arms[i]);
        sg_text_printf(text, " %g of %g [%.0f-%.0f %%]", outcome(t, "failed", i),
                       outcome(t, "runs", i), 100 * outcome(t, "failed_low", i),
                       100 * outcome(t, "failed_high", i));
        if (i > 0)
            sg_text_printf(text, " (McNemar p = %.2g)", outcome(t, "failed_p", i));
    }
    sg_text_append(text, ".");
}

static void append_ends(sg_text *text, const sg_training *t)
{
    bool exact = sg_table_find(t->runs, "J") >= 0;
    sg_text_printf(text, " %s at the end, interquartile mean [95 %%] and worst run:",
                   exact ? "Score J" : "Reward");
    for (size_t i = 0; i < t->count; i++) {
        sg_text_append(text, i > 0 ? "; " : " ");
        append_label(text, &t->arms[i]);
        sg_text_printf(text, " %.4f", outcome(t, "J_last", i));
        if (outcome(t, "runs", i) > 1)
            sg_text_printf(text, " [%.4f, %.4f], %.4f", outcome(t, "J_last_low", i),
                           outcome(t, "J_last_high", i), outcome(t, "J_last_worst", i));
    }
    sg_text_append(text, ".");
}

static void append_gains(sg_text *text, const sg_training *t)
{
    if (t->count < 2)
        return;
    sg_text_append(text, " Mean difference from the first arm, seed by seed:");
    for (size_t i = 1; i < t->count; i++) {
        sg_text_append(text, i > 1 ? "; " : " ");
        append_label(text, &t->arms[i]);
        sg_text_printf(text, " %.2g", outcome(t, "gain", i));
        if (outcome(t, "pairs", i) > 1)
            sg_text_printf(text, " [%.2g, %.2g]", outcome(t, "gain_low", i),
                           outcome(t, "gain_high", i));
    }
    sg_text_append(text, ".");
}

/* ---- what follows, and what does not ---- */

enum { SEEDS_FOR_A_CLAIM = 5 };
static const double smallest = 0.001; /* a difference in score that is worth a word */

static void append_verdict(sg_text *text, const sg_training *t, size_t i)
{
    double low = outcome(t, "gain_low", i), high = outcome(t, "gain_high", i);
    append_label(text, &t->arms[i]);
    double pairs = outcome(t, "pairs", i);
    if (pairs < SEEDS_FOR_A_CLAIM || isnan(low))
        sg_text_printf(text, " and the first arm cannot be compared with %g shared seed%s", pairs,
                       pairs == 1 ? "" : "s");
    else if (fmax(-low, high) < smallest)
        sg_text_printf(text, " ends within %g of the first arm", smallest);
    else if (low > 0 || high < 0)
        sg_text_printf(text, " ends %s the first arm", low > 0 ? "above" : "below");
    else
        sg_text_append(text, " cannot be told from the first arm at the end");
    double p = outcome(t, "failed_p", i);
    if (p < 0.05)
        sg_text_printf(text, " and fails %s often",
                       outcome(t, "failed_alone", i) > outcome(t, "baseline_failed_alone", i)
                           ? "more"
                           : "less");
}

static void append_verdicts(sg_text *text, const sg_training *t)
{
    double failed = total(t, "failed");
    bool told = false;
    sg_text_append(text, " What it supports, for these settings:");
    for (size_t i = 1; i < t->count; i++) {
        sg_text_append(text, i > 1 ? "; " : " ");
        append_verdict(text, t, i);
        told = told || outcome(t, "failed_p", i) < 0.05;
    }
    if (t->count < 2)
        sg_text_append(text, " how this arm learns, and nothing about others");
    sg_text_append(text, ". What it does not: ");
    if (failed == 0)
        sg_text_append(text, "anything about which method collapses, as none did");
    else if (!told)
        sg_text_append(text, "an order of the methods by failures, which differ no more than by "
                             "chance");
    else
        sg_text_append(text, "why they fail");
    if (sg_table_meta(t->runs, "policy.vocabulary") != NULL)
        sg_text_append(text, "; anything about a language model");
    sg_text_append(text, ".");
}

void sg_training_note(const sg_training *t, char *note, size_t size)
{
    sg_text text = {0};
    append_setting(&text, t);
    append_failures(&text, t);
    append_sensitivity(&text, t);
    append_ends(&text, t);
    append_gains(&text, t);
    append_verdicts(&text, t);
    snprintf(note, size, "%s", text.data != NULL && !text.failed ? text.data : "");
    sg_text_free(&text);
}
