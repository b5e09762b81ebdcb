/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/replay.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/rule.h"
#include "objective/sequence.h"

/* One response under evaluation: its live tokens, gathered so that the formulas read like the paper. */
typedef struct row {
    size_t n;          /* live tokens */
    size_t *index;     /* their places in the batch */
    double *log_ratio; /* d, after the clamp */
    bool *frozen;      /* the clamp took this token's gradient */
    sg_gate_value *gate;
    double *gate_log_ratio; /* ln of the ratio that the gate saw */
} row;

typedef struct sums {
    double weight, clipped, clipped_pos, clipped_neg, half, tenth, amplified, share, share_neg;
    double ratio, k1, k2, k3, push, beyond_20, beyond_88, clamped, hidden_pos, hidden_neg;
    double log_max, scaled, scaled_squares; /* of x / exp(log_max), for the effective sample size */
    double positive, negative;
    double variance, deviation, bound, deviation_true, gated_rows;
} sums;

static bool is_live(const sg_batch *batch, const sg_replay_options *options, size_t i)
{
    return isfinite(batch->advantage[i]) && isfinite(batch->logp_old[i]) &&
           isfinite(batch->logp_new[i]) && (batch->weight == NULL || isfinite(batch->weight[i])) &&
           (options->kl_beta == 0 || isfinite(batch->logp_ref[i]));
}

static void count_live(const sg_batch *batch, const sg_replay_options *options,
                       sg_replay_summary *summary, size_t *longest)
{
    *longest = 0;
    for (size_t response = 0; response < batch->responses; response++) {
        size_t begin = batch->start[response], end = batch->start[response + 1], live = 0;
        if (end - begin > *longest)
            *longest = end - begin;
        for (size_t k = begin; k < end; k++) {
            size_t i = batch->order[k];
            if (batch->mask[i] && is_live(batch, options, i))
                live++;
        }
        summary->tokens += live;
        summary->live_sequences += live > 0;
    }
    for (size_t i = 0; i < batch->tokens; i++) {
        if (!batch->mask[i] || is_live(batch, options, i))
            continue;
        if (summary->nonfinite < SG_REPLAY_LISTED)
            summary->nonfinite_row[summary->nonfinite] = i;
        summary->nonfinite++;
    }
}

static double clamped_log_ratio(const sg_batch *batch, const sg_replay_options *options, size_t i)
{
    double d = batch->logp_new[i] - batch->logp_old[i];
    bool beyond = options->clamp != SG_CLAMP_NONE && fabs(d) > options->clamp_limit;
    return beyond ? copysign(options->clamp_limit, d) : d;
}

/* Lets the objective's rule look at the whole batch. */
static sg_status choose(const sg_batch *batch, const sg_objective *objective,
                        const sg_replay_options *options, sg_replay_summary *summary,
                        sg_rule_choice *choice, sg_error *error)
{
    size_t n = 0, room = summary->tokens > 0 ? summary->tokens : 1;
    size_t *live = NULL;
    double *log_ratio = NULL;
    sg_status status = SG_OK;
    sg_batch_rule rule = objective->method->rule;
    summary->chosen_share = summary->clip_low = summary->clip_high = NAN;
    if (rule == SG_RULE_NONE || rule == SG_RULE_DRO) {
        *choice = (sg_rule_choice){.objective = *objective};
        return SG_OK;
    }
    live = malloc(room * sizeof *live);
    log_ratio = malloc(room * sizeof *log_ratio);
    if (live == NULL || log_ratio == NULL)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu tokens", summary->tokens);
    for (size_t i = 0; i < batch->tokens && status == SG_OK; i++) {
        if (!batch->mask[i] || !is_live(batch, options, i))
            continue;
        live[n] = i;
        log_ratio[n++] = clamped_log_ratio(batch, options, i);
    }
    if (status == SG_OK)
        status = sg_rule_choose(choice, batch, objective, live, log_ratio, n, options->choice_seed,
                                options->choice_step, error);
    free(live);
    free(log_ratio);
    if (status != SG_OK)
        return status;
    if (choice->chosen != NULL)
        summary->chosen_share = (double)choice->count / (double)n;
    if (rule == SG_RULE_BAPO) {
        summary->clip_low = 1 - choice->objective.parameter.eps_low;
        summary->clip_high = 1 + choice->objective.parameter.eps_high;
    }
    return SG_OK;
}

/* Gathers the live tokens of a response and their log-ratios. */
static void gather(const sg_batch *batch, const sg_replay_options *options, size_t response, row *r)
{
    r->n = 0;
    for (size_t k = batch->start[response]; k < batch->start[response + 1]; k++) {
        size_t i = batch->order[k];
        if (!batch->mask[i] || !is_live(batch, options, i))
            continue;
        double d = batch->logp_new[i] - batch->logp_old[i];
        bool beyond = options->clamp != SG_CLAMP_NONE && fabs(d) > options->clamp_limit;
        r->index[r->n] = i;
        r->log_ratio[r->n] = clamped_log_ratio(batch, options, i);
        r->frozen[r->n] = beyond && options->clamp == SG_CLAMP_ZERO;
        r->n++;
    }
}

/* GMPO's clipped log-ratio k of one token; it is 0 where A is 0. */
static double gmpo_log(const sg_gate_parameters *p, double d, double advantage)
{
    if (advantage == 0)
        return 0;
    return advantage > 0 ? fmin(d, p->eps_high) : fmax(d, -p->eps_low);
}

static void eval_gmpo(const sg_batch *batch, const sg_objective *objective, row *r)
{
    double sum = 0;
    for (size_t t = 0; t < r->n; t++)
        sum += gmpo_log(&objective->parameter, r->log_ratio[t], batch->advantage[r->index[t]]);
    double mean = sum / (double)r->n, value = exp(mean);
    for (size_t t = 0; t < r->n; t++) {
        double advantage = batch->advantage[r->index[t]];
        double k = gmpo_log(&objective->parameter, r->log_ratio[t], advantage);
        bool live = advantage != 0 && k == r->log_ratio[t];
        r->gate[t] = (sg_gate_value){value, live, live ? value : 0, value};
        r->gate_log_ratio[t] = mean;
    }
}

/* The ratio of the objective's level, then the gate of every token. */
static void eval_gates(const sg_batch *batch, const sg_rule_choice *choice,
                       const sg_replay_options *options, row *r)
{
    const sg_objective *objective = &choice->objective;
    if (objective->gate == SG_GATE_GMPO) {
        eval_gmpo(batch, objective, r);
        return;
    }
    bool token_level = objective->level == SG_LEVEL_TOKEN, frozen_row = false;
    double sequence = 0;
    for (size_t t = 0; t < r->n; t++)
        sequence += r->log_ratio[t];
    if (objective->level != SG_LEVEL_PRODUCT)
        sequence /= (double)r->n;
    if (options->sequence_log_low < options->sequence_log_high) {
        double bounded =
            fmin(fmax(sequence, options->sequence_log_low), options->sequence_log_high);
        frozen_row = bounded != sequence && objective->level != SG_LEVEL_PRODUCT && !token_level;
        sequence = bounded;
    }
    for (size_t t = 0; t < r->n; t++) {
        size_t i = r->index[t];
        double x = token_level ? r->log_ratio[t] : sequence;
        /* The printed loss of a detached weight is c * logp_new, with the token's own logp_new. */
        bool own = sg_gate_reads_old(objective->gate);
        double logp_old = own ? batch->logp_old[i] : batch->logp_new[i] - x;
        r->gate[t] =
            sg_rule_gate(choice, i, sg_gate_point_from_log(x, logp_old), batch->advantage[i]);
        r->gate_log_ratio[t] = x;
        r->frozen[t] |= frozen_row;
    }
}

static double token_weight(const sg_batch *batch, size_t i)
{
    return batch->weight == NULL ? 1 : batch->weight[i];
}

/* Loss and gradient of the response's tokens; a is its aggregation factor. */
static void differentiate(const sg_batch *batch, const sg_rule_choice *choice,
                          const sg_replay_options *options, const row *r, double a,
                          sg_replay_token *tokens)
{
    const sg_objective *objective = &choice->objective;
    /* Through s (or GMPO's mean) every token of the row carries the same share of sum_u A_u c_u. */
    bool coupled = objective->level == SG_LEVEL_SEQUENCE;
    double row_pull = 0;
    for (size_t t = 0; t < r->n && coupled; t++) {
        size_t i = r->index[t];
        double value =
            objective->gate == SG_GATE_GMPO ? r->gate[t].surrogate : r->gate[t].coefficient;
        if (batch->advantage[i] != 0)
            row_pull += batch->advantage[i] * token_weight(batch, i) * value;
    }
    row_pull /= (double)r->n;
    for (size_t t = 0; t < r->n; t++) {
        size_t i = r->index[t];
        double advantage = batch->advantage[i], weight = token_weight(batch, i), pull = 0;
        const sg_gate_value *gate = &r->gate[t];
        sg_replay_token *token = &tokens[t];
        *token = (sg_replay_token){.log_ratio = r->gate_log_ratio[t],
                                   .ratio = exp(r->gate_log_ratio[t]),
                                   .weight = gate->weight,
                                   .coefficient = r->frozen[t] ? 0 : gate->coefficient};
        if (advantage != 0)
            token->loss = -a * weight * advantage * gate->printed;
        if (objective->gate == SG_GATE_GMPO)
            pull = gate->coefficient == 0 ? 0 : row_pull;
        else if (coupled)
            pull = row_pull;
        else if (advantage != 0)
            pull = advantage * weight * gate->coefficient;
        else { /* no advantage to be part of */
            sg_kl penalty = sg_rule_penalty(choice, i, r->log_ratio[t]);
            token->loss = a * weight * penalty.value;
            pull = -weight * penalty.derivative;
        }
        token->dloss_dlogp = r->frozen[t] ? 0 : -a * pull;
        if (options->kl_beta != 0) {
            sg_kl kl = sg_kl_at(options->kl, batch->logp_new[i] - batch->logp_ref[i]);
            token->loss += a * options->kl_beta * kl.value;
            token->dloss_dlogp += a * options->kl_beta * kl.derivative;
        }
    }
}

static void add_token_statistics(const sg_batch *batch, const row *r, size_t t, double a,
                                 const sg_replay_token *token, sg_replay_summary *summary, sums *s)
{
    size_t i = r->index[t];
    double advantage = batch->advantage[i], d = batch->logp_new[i] - batch->logp_old[i];
    double size = a * fabs(advantage) * fabs(token->coefficient);
    bool clipped = token->coefficient == 0 && advantage != 0;
    bool hidden = fabs(d) > 20;
    s->weight += token->weight;
    s->clipped += clipped;
    s->clipped_pos += clipped && advantage > 0;
    s->clipped_neg += clipped && advantage < 0;
    s->positive += advantage > 0;
    s->negative += advantage < 0;
    s->half += token->weight < 0.5;
    s->tenth += token->weight < 0.1;
    s->amplified += token->coefficient > 1;
    if (advantage != 0) {
        s->share += size;
        s->share_neg += advantage < 0 ? size : 0;
        s->push += a * token_weight(batch, i) * advantage * token->coefficient;
    }
    s->ratio += token->ratio;
    s->k1 -= d;
    s->k2 += d * d / 2;
    s->k3 += expm1(d) - d;
    s->beyond_20 += hidden;
    s->beyond_88 += fabs(d) > 88;
    s->clamped += r->log_ratio[t] != d;
    s->hidden_pos += hidden && advantage > 0;
    s->hidden_neg += hidden && advantage < 0;
    if (token->log_ratio > s->log_max) {
        double shrink = exp(s->log_max - token->log_ratio);
        s->scaled *= shrink;
        s->scaled_squares *= shrink * shrink;
        s->log_max = token->log_ratio;
    }
    double scaled = exp(token->log_ratio - s->log_max);
    s->scaled += scaled;
    s->scaled_squares += scaled * scaled;
    summary->ratio_min = fmin(summary->ratio_min, token->ratio);
    summary->ratio_max = fmax(summary->ratio_max, token->ratio);
    summary->log_ratio_min = fmin(summary->log_ratio_min, d);
    summary->log_ratio_max = fmax(summary->log_ratio_max, d);
    summary->on_policy = summary->on_policy && d == 0;
}

static void add_row_statistics(const sg_batch *batch, const sg_objective *objective, const row *r,
                               sums *s)
{
    bool positive = batch->advantage[r->index[0]] > 0;
    for (size_t t = 1; t < r->n; t++) {
        if ((batch->advantage[r->index[t]] > 0) != positive)
            return;
    }
    const sg_gate_parameters *p = &objective->parameter;
    sg_sequence_gate gate =
        sg_sequence_gate_of(r->log_ratio, r->n, positive ? p->tau_pos : p->tau_neg);
    s->variance += gate.variance;
    s->deviation += gate.deviation;
    s->bound += gate.bound;
    s->deviation_true += gate.deviation_true;
    s->gated_rows++;
}

static double ratio_of(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void finish(sg_replay_summary *summary, const sums *s)
{
    double n = (double)summary->tokens;
    summary->effective_update_ratio = s->weight / n;
    summary->clipped_fraction = s->clipped / n;
    summary->clipped_fraction_pos = ratio_of(s->clipped_pos, s->positive);
    summary->clipped_fraction_neg = ratio_of(s->clipped_neg, s->negative);
    summary->attenuated_half = s->half / n;
    summary->attenuated_tenth = s->tenth / n;
    summary->amplified = s->amplified / n;
    summary->coefficient_share_neg = ratio_of(s->share_neg, s->share);
    summary->ratio_mean = s->ratio / n;
    summary->kl_k1 = s->k1 / n;
    summary->kl_k2 = s->k2 / n;
    summary->kl_k3 = s->k3 / n;
    summary->ess = s->scaled * s->scaled / (n * s->scaled_squares);
    summary->diffuse_push = s->push;
    summary->beyond_20 = s->beyond_20 / n;
    summary->beyond_88 = s->beyond_88 / n;
    summary->clamped = s->clamped / n;
    summary->hidden_pos = ratio_of(s->hidden_pos, s->positive);
    summary->hidden_neg = ratio_of(s->hidden_neg, s->negative);
    bool gated = s->gated_rows > 0;
    summary->sequence_variance = gated ? s->variance / s->gated_rows : NAN;
    summary->sequence_deviation = gated ? s->deviation / s->gated_rows : NAN;
    summary->sequence_bound = gated ? s->bound / s->gated_rows : NAN;
    summary->sequence_deviation_true = gated ? s->deviation_true / s->gated_rows : NAN;
    if (summary->tokens == 0)
        summary->ratio_min = summary->ratio_max = summary->log_ratio_min = summary->log_ratio_max =
            NAN;
}

static sg_status check_options(const sg_batch *batch, const sg_replay_options *options,
                               sg_error *error)
{
    if (options->kl_beta != 0 && batch->logp_ref == NULL)
        return sg_fail(error, SG_EDATA,
                       "the KL term needs a column \"logp_ref\" in the batch; add it or drop --kl");
    if (options->clamp != SG_CLAMP_NONE && !(options->clamp_limit > 0))
        return sg_fail(error, SG_EARGUMENT, "the log-ratio clamp must be > 0, not %g",
                       options->clamp_limit);
    if (!(options->norm_length >= 0) || !isfinite(options->kl_beta))
        return sg_fail(error, SG_EARGUMENT,
                       "the norm length must be >= 0 and the KL factor a finite number");
    return SG_OK;
}

static void row_free(row *r)
{
    free(r->index);
    free(r->log_ratio);
    free(r->frozen);
    free(r->gate);
    free(r->gate_log_ratio);
}

static bool row_alloc(row *r, size_t longest)
{
    size_t n = longest > 0 ? longest : 1;
    *r = (row){.index = calloc(n, sizeof *r->index),
               .log_ratio = calloc(n, sizeof *r->log_ratio),
               .frozen = calloc(n, sizeof *r->frozen),
               .gate = calloc(n, sizeof *r->gate),
               .gate_log_ratio = calloc(n, sizeof *r->gate_log_ratio)};
    return r->index && r->log_ratio && r->frozen && r->gate && r->gate_log_ratio;
}

sg_status sg_replay(const sg_batch *batch, const sg_objective *objective,
                    const sg_replay_options *options, sg_replay_token *tokens,
                    sg_replay_summary *summary, sg_error *error)
{
    sg_status status = check_options(batch, options, error);
    if (status != SG_OK)
        return status;
    *summary = (sg_replay_summary){.sequences = batch->sequences,
                                   .on_policy = true,
                                   .ratio_min = INFINITY,
                                   .ratio_max = -INFINITY,
                                   .log_ratio_min = INFINITY,
                                   .log_ratio_max = -INFINITY};
    size_t longest;
    count_live(batch, options, summary, &longest);
    sg_rule_choice choice;
    status = choose(batch, objective, options, summary, &choice, error);
    if (status != SG_OK)
        return status;
    summary->aggregate = options->natural_aggregate ? objective->aggregate : options->aggregate;
    sg_aggregate_counts counts = {.tokens = summary->tokens,
                                  .rows = summary->sequences,
                                  .live_rows = summary->live_sequences,
                                  .norm_length = options->norm_length > 0 ? options->norm_length
                                                                          : (double)longest};

    row r;
    sg_replay_token *answers = calloc(longest > 0 ? longest : 1, sizeof *answers);
    if (!row_alloc(&r, longest) || answers == NULL) {
        row_free(&r);
        free(answers);
        sg_rule_choice_clear(&choice);
        return sg_fail(error, SG_ENOMEM, "not enough memory for a response of %zu tokens", longest);
    }
    if (tokens != NULL) {
        for (size_t i = 0; i < batch->tokens; i++)
            tokens[i] = (sg_replay_token){.ratio = NAN, .log_ratio = NAN};
    }
    sums s = {.log_max = -INFINITY};
    for (size_t response = 0; response < batch->responses; response++) {
        gather(batch, options, response, &r);
        if (r.n == 0)
            continue;
        double a = sg_aggregate_factor(summary->aggregate, options->empty, counts, r.n);
        eval_gates(batch, &choice, options, &r);
        differentiate(batch, &choice, options, &r, a, answers);
        for (size_t t = 0; t < r.n; t++) {
            summary->loss += answers[t].loss;
            add_token_statistics(batch, &r, t, a, &answers[t], summary, &s);
            if (tokens != NULL)
                tokens[r.index[t]] = answers[t];
        }
        if (objective->gate == SG_GATE_SAPO)
            add_row_statistics(batch, objective, &r, &s);
    }
    finish(summary, &s);
    row_free(&r);
    sg_rule_choice_clear(&choice);
    free(answers);
    return SG_OK;
}

static const struct {
    const char *name;
    sg_column_type type;
} columns[] = {
    {"objective", SG_COLUMN_TEXT},   {"params", SG_COLUMN_TEXT},
    {"sequence", SG_COLUMN_INTEGER}, {"position", SG_COLUMN_INTEGER},
    {"ratio", SG_COLUMN_REAL},       {"log_ratio", SG_COLUMN_REAL},
    {"weight", SG_COLUMN_REAL},      {"coefficient", SG_COLUMN_REAL},
    {"loss", SG_COLUMN_REAL},        {"dloss_dlogp", SG_COLUMN_REAL},
};

static sg_status append_tokens(sg_table *table, const sg_batch *batch,
                               const sg_objective *objective, const sg_replay_token *tokens,
                               sg_error *error)
{
    char params[512];
    sg_objective_parameters(objective, params, sizeof params);
    size_t live = 0;
    for (size_t i = 0; i < batch->tokens; i++)
        live += !isnan(tokens[i].ratio);
    size_t row_index = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, live, error);
    for (size_t k = 0; k < batch->tokens && status == SG_OK; k++) {
        size_t i = batch->order[k];
        const sg_replay_token *token = &tokens[i];
        if (isnan(token->ratio))
            continue;
        status = sg_table_set_text(table, 0, row_index, objective->method->name, error);
        if (status == SG_OK)
            status = sg_table_set_text(table, 1, row_index, params, error);
        sg_table_set_integer(table, 2, row_index, batch->sequence[i]);
        sg_table_set_integer(table, 3, row_index, batch->position[i]);
        const double values[] = {token->ratio,       token->log_ratio, token->weight,
                                 token->coefficient, token->loss,      token->dloss_dlogp};
        for (size_t c = 0; c < sizeof values / sizeof *values; c++)
            sg_table_set_real(table, 4 + c, row_index, values[c]);
        row_index++;
    }
    return status;
}

sg_status sg_replay_all(const sg_batch *batch, const sg_objective *objectives, size_t count,
                        const sg_replay_options *options, sg_table **table,
                        sg_replay_summary *summaries, sg_error *error)
{
    sg_status status = SG_OK;
    sg_table *result = NULL;
    sg_replay_token *tokens = NULL;
    if (table != NULL) {
        result = sg_table_alloc();
        tokens = calloc(batch->tokens > 0 ? batch->tokens : 1, sizeof *tokens);
        if (result == NULL || tokens == NULL)
            status = sg_fail(error, SG_ENOMEM, "not enough memory for the replay of %zu tokens",
                             batch->tokens);
        for (size_t c = 0; c < sizeof columns / sizeof *columns && status == SG_OK; c++)
            status = sg_table_add_column(result, columns[c].name, columns[c].type, error);
    }
    for (size_t k = 0; k < count && status == SG_OK; k++) {
        status = sg_replay(batch, &objectives[k], options, tokens, &summaries[k], error);
        if (status == SG_OK && table != NULL)
            status = append_tokens(result, batch, &objectives[k], tokens, error);
    }
    free(tokens);
    if (status != SG_OK)
        sg_table_free(result);
    else if (table != NULL)
        *table = result;
    return status;
}
