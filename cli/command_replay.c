/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/output.h"
#include "cli/say.h"
#include "cli/specs.h"
#include "io/table_io.h"
#include "objective/replay.h"

typedef struct replay_options {
    cli_list objective;
    const char *aggregate, *empty, *nonfinite;
    const char *log_ratio_clamp_mode, *kl, *sequence_clamp;
    double norm_length, dual_clip, delta, log_ratio_clamp;
    int64_t sequences;
} replay_options;

#define PLACE(field) .offset = offsetof(replay_options, field)
#define MAX_LENGTH 1e12

static const cli_option options[] = {
    {.name = "objective",
     .kind = CLI_LIST,
     .value = "SPEC",
     .help = "objective, as name[:key=value,...]",
     PLACE(objective)},
    {.name = "aggregate",
     .kind = CLI_CHOICE,
     .value = "natural|token-mean|token-sum|seq-mean-token-mean|seq-mean-token-sum|"
              "seq-mean-token-sum-norm",
     .label = "MODE",
     .help = "how token losses become one number, natural being the objective's own way",
     PLACE(aggregate)},
    {.name = "empty",
     .kind = CLI_CHOICE,
     .value = "skip|count",
     .help = "are sequences without an unmasked token in the denominator?",
     PLACE(empty)},
    {.name = "sequences",
     .kind = CLI_INTEGER,
     .value = "N",
     .min = 1,
     .max = MAX_LENGTH,
     .help = "number of sequences, when some have no row in BATCH",
     PLACE(sequences)},
    {.name = "norm-length",
     .kind = CLI_REAL,
     .value = "T",
     .min = 1,
     .max = MAX_LENGTH,
     .help = "constant of seq-mean-token-sum-norm (default: the longest response, masked tokens "
             "included)",
     PLACE(norm_length)},
    {.name = "dual-clip",
     .kind = CLI_REAL,
     .value = "C",
     .min = 1,
     .max = HUGE_VAL,
     .help = "sets dual_clip=C in every objective that has it",
     PLACE(dual_clip)},
    {.name = "delta",
     .kind = CLI_REAL,
     .value = "D",
     .min = 1,
     .max = HUGE_VAL,
     .help = "sets delta=D in every objective that has it",
     PLACE(delta)},
    {.name = "log-ratio-clamp",
     .kind = CLI_REAL,
     .value = "X",
     .min = 0,
     .max = HUGE_VAL,
     .help = "keeps token log-ratios within -X and X (default: no clamp)",
     PLACE(log_ratio_clamp)},
    {.name = "log-ratio-clamp-mode",
     .kind = CLI_CHOICE,
     .value = "zero|cap",
     .help = "a token beyond the clamp gets no gradient (as in verl), or that of the clamp",
     PLACE(log_ratio_clamp_mode)},
    {.name = "sequence-clamp",
     .kind = CLI_TEXT,
     .value = "LO:HI",
     .help = "keeps the logarithm of sequence ratios within LO and HI (verl's GSPO: -inf:10)",
     PLACE(sequence_clamp)},
    {.name = "kl",
     .kind = CLI_TEXT,
     .value = "K:BETA",
     .help = "adds BETA times the KL estimator K (k1, k2, k3, abs) to logp_ref",
     PLACE(kl)},
    {.name = "nonfinite",
     .kind = CLI_CHOICE,
     .value = "fail|skip",
     .help = "unmasked tokens with NaN or infinite numbers: refuse the batch, or leave them out",
     PLACE(nonfinite)},
    {.name = NULL},
};

static const replay_options defaults = {
    .aggregate = "natural",
    .empty = "skip",
    .nonfinite = "fail",
    .log_ratio_clamp_mode = "zero",
    .norm_length = NAN,
    .dual_clip = NAN,
    .delta = NAN,
    .log_ratio_clamp = NAN,
    .sequences = CLI_ABSENT,
};

static const cli_example examples[] = {
    {"printf '%s\\n' sequence,position,mask,advantage,logp_old,logp_new 0,0,1,1,-1.5,-0.5 "
     "0,1,1,1,-2,-2.1 1,0,1,-1,-0.5,-1 > batch.csv",
     "a batch of two responses with three tokens, to try this with"},
    {"softgate replay batch.csv --objective sapo --objective grpo",
     "loss and gradient statistics of two objectives"},
    {"softgate replay batch.csv --objective grpo --aggregate token-mean --dual-clip 3 -o "
     "tokens.csv",
     "as verl does it, with the gradient of every token in a file"},
    {NULL, NULL},
};

/* "k3:0.01" */
static int parse_kl(const char *text, sg_replay_options *replay)
{
    char name[32];
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    if (!colon || length >= sizeof name || !sg_kl_from_name(name, &replay->kl) ||
        !sg_parse_real(colon + 1, &replay->kl_beta) || !isfinite(replay->kl_beta) ||
        replay->kl_beta < 0)
        return cli_fail(SG_EARGUMENT,
                        "--kl is '%.60s' but must be an estimator (k1, k2, k3 or abs) and its "
                        "coefficient of at least 0, such as k3:0.01",
                        text);
    return CLI_EXIT_DONE;
}

static int parse_sequence_clamp(const char *text, sg_replay_options *replay)
{
    char low[32];
    const char *colon = strchr(text, ':');
    snprintf(low, sizeof low, "%.*s", colon ? (int)(colon - text) : 0, text);
    if (!colon || !sg_parse_real(low, &replay->sequence_log_low) ||
        !sg_parse_real(colon + 1, &replay->sequence_log_high) ||
        !(replay->sequence_log_low < replay->sequence_log_high))
        return cli_fail(SG_EARGUMENT,
                        "--sequence-clamp is '%.60s' but must be two numbers LO:HI with LO < HI, "
                        "such as -inf:10",
                        text);
    return CLI_EXIT_DONE;
}

static int parse_replay(const replay_options *own, sg_replay_options *replay)
{
    *replay = (sg_replay_options){
        .natural_aggregate = strcmp(own->aggregate, "natural") == 0,
        .empty = strcmp(own->empty, "count") == 0 ? SG_EMPTY_COUNT : SG_EMPTY_SKIP,
        .norm_length = isnan(own->norm_length) ? 0 : own->norm_length,
    };
    if (!replay->natural_aggregate)
        sg_aggregate_from_name(own->aggregate, &replay->aggregate); /* the parser knows the name */
    if (!isnan(own->log_ratio_clamp)) {
        if (own->log_ratio_clamp == 0)
            return cli_fail(SG_EARGUMENT, "--log-ratio-clamp is 0 but must be above 0");
        replay->clamp =
            strcmp(own->log_ratio_clamp_mode, "cap") == 0 ? SG_CLAMP_CAP : SG_CLAMP_ZERO;
        replay->clamp_limit = own->log_ratio_clamp;
    }
    int code = own->kl ? parse_kl(own->kl, replay) : CLI_EXIT_DONE;
    if (!code && own->sequence_clamp)
        code = parse_sequence_clamp(own->sequence_clamp, replay);
    return code;
}

/* Set a parameter in every objective that has it, through the parser, which checks the range. */
static int set_parameter(cli_objectives *objectives, const char *option, const char *name,
                         size_t offset, double value)
{
    size_t having = 0;
    for (size_t i = 0; i < objectives->count && !isnan(value); i++) {
        sg_objective *objective = &objectives->items[i];
        char spec[768], parameters[512];
        sg_error error;
        if (!strstr(objective->method->parameters, name))
            continue;
        having++;
        *(double *)(void *)((char *)objective + offset) = value;
        sg_objective_parameters(objective, parameters, sizeof parameters);
        snprintf(spec, sizeof spec, "%s:%s", objective->method->name, parameters);
        if (sg_objective_parse(objective, spec, &error) != SG_OK)
            return cli_report(&error);
    }
    if (having == 0 && !isnan(value))
        return cli_fail(SG_EARGUMENT, "%s has no effect: no objective here has the parameter %s",
                        option, name);
    return CLI_EXIT_DONE;
}

/* Says which of a trainer's columns are read as which. */
static void say_columns(const sg_table *table)
{
    sg_text said = {0};
    const char *name;
    for (size_t i = 0; (name = sg_batch_column_name(i)) != NULL; i++) {
        ptrdiff_t column;
        sg_error error;
        if (sg_batch_find_column(table, name, false, &column, &error) != SG_OK || column < 0)
            continue;
        const char *found = sg_table_column_name(table, (size_t)column);
        if (strcmp(found, name) != 0)
            sg_text_printf(&said, "%s%s as %s", said.length ? ", " : "", found, name);
    }
    if (said.length && !said.failed)
        cli_note("reading %s", said.data);
    sg_text_free(&said);
}

/* Loads the batch; standard input is "-". */
static int read_batch(const char *path, int64_t sequences, sg_batch **batch)
{
    sg_table *table = NULL;
    sg_error error;
    int code = CLI_EXIT_DONE;
    if (sg_table_read(&table, path, &error) != SG_OK)
        return cli_report(&error);
    size_t count = sequences == CLI_ABSENT ? 0 : (size_t)sequences;
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    if (sg_batch_from_table(batch, table, count, &error) != SG_OK)
        code = cli_fail(error.status, "%s: %s", name, error.message);
    else if (count == 0 && (*batch)->tokens == 0)
        code =
            cli_fail(SG_EDATA,
                     "%s holds no token; if that is meant, say how many empty sequences there are "
                     "with --sequences N",
                     name);
    else
        say_columns(table);
    sg_table_free(table);
    return code;
}

/* Refuses unmasked numbers that are not finite, naming the first. */
static int check_finite(const char *path, const sg_batch *batch, const sg_replay_summary *summary)
{
    if (summary->nonfinite == 0)
        return CLI_EXIT_DONE;
    size_t row = summary->nonfinite_row[0];
    return cli_fail(
        SG_EDATA,
        "%s: %zu unmasked token%s a NaN or infinite number, first data row %zu "
        "(sequence %lld, position %lld); mask what is not to count, or leave it out with "
        "--nonfinite skip",
        path, summary->nonfinite, summary->nonfinite == 1 ? " has" : "s have", row + 1,
        (long long)batch->sequence[row], (long long)batch->position[row]);
}

static void print_summary(const sg_objective *objective, const sg_replay_summary *summary)
{
    char parameters[512];
    json_line line = {0};
    sg_objective_parameters(objective, parameters, sizeof parameters);
    json_line_text(&line, "objective", objective->method->name);
    json_line_text(&line, "params", parameters);
    json_line_text(&line, "aggregate", sg_aggregate_name(summary->aggregate));
    json_line_real(&line, "loss", summary->loss);
    json_line_integer(&line, "tokens", summary->tokens);
    json_line_integer(&line, "sequences", summary->sequences);
    json_line_integer(&line, "live_sequences", summary->live_sequences);
    json_line_integer(&line, "nonfinite_tokens", summary->nonfinite);
    json_line_bool(&line, "on_policy", summary->on_policy);
#define REAL(field) json_line_real(&line, #field, summary->field);
    REAL(effective_update_ratio)
    REAL(clipped_fraction)
    REAL(clipped_fraction_pos)
    REAL(clipped_fraction_neg)
    REAL(attenuated_half)
    REAL(attenuated_tenth)
    REAL(amplified)
    REAL(coefficient_share_neg)
    REAL(ratio_min)
    REAL(ratio_mean)
    REAL(ratio_max)
    REAL(log_ratio_min)
    REAL(log_ratio_max)
    REAL(kl_k1)
    REAL(kl_k2)
    REAL(kl_k3)
    REAL(ess)
    REAL(diffuse_push)
    REAL(beyond_20)
    REAL(beyond_88)
    REAL(clamped)
    REAL(hidden_pos)
    REAL(hidden_neg)
    REAL(sequence_variance)
    REAL(sequence_deviation)
    REAL(sequence_bound)
    REAL(sequence_deviation_true)
    if (!isnan(summary->chosen_share))
        REAL(chosen_share)
    if (!isnan(summary->clip_low)) {
        REAL(clip_low)
        REAL(clip_high)
    }
#undef REAL
    json_line_print(&line, "");
}

static int replay_batch(const cli_call *call, const sg_batch *batch,
                        const cli_objectives *objectives, const sg_replay_options *replay)
{
    const replay_options *own = call->options;
    bool wants_tokens = call->common.output != NULL;
    sg_table *table = NULL;
    sg_error error;
    int code = CLI_EXIT_DONE;
    sg_replay_summary *summaries = calloc(objectives->count, sizeof *summaries);
    if (!summaries)
        return cli_fail(SG_ENOMEM, "not enough memory for the summaries");
    if (sg_replay_all(batch, objectives->items, objectives->count, replay,
                      wants_tokens ? &table : NULL, summaries, &error) != SG_OK)
        code = cli_report(&error);
    if (!code && strcmp(own->nonfinite, "fail") == 0)
        code = check_finite(call->operands.items[0], batch, &summaries[0]);
    if (!code && wants_tokens) {
        if (cli_specs_stamp(objectives, table, &error) != SG_OK)
            code = cli_report(&error);
        else
            code = cli_write_table(call, table);
    }
    for (size_t i = 0; !code && i < objectives->count; i++)
        print_summary(&objectives->items[i], &summaries[i]);
    sg_table_free(table);
    free(summaries);
    return code;
}

/* Is this an objective, and no file? */
static bool is_objective(const char *operand)
{
    sg_objective objective;
    sg_error error;
    return access(operand, F_OK) != 0 && sg_objective_parse(&objective, operand, &error) == SG_OK;
}

static int run(const cli_call *call)
{
    const replay_options *own = call->options;
    if (is_objective(call->operands.items[0]))
        return cli_fail(SG_EARGUMENT,
                        "%.60s is an objective; the batch comes first: softgate replay BATCH.csv "
                        "%.60s",
                        call->operands.items[0], call->operands.items[0]);
    if (call->common.output && strcmp(call->common.output, "-") == 0)
        return cli_fail(SG_EARGUMENT, "-o needs the name of a file for the tokens, because the "
                                      "summaries go to standard output");
    cli_objectives objectives = {0};
    sg_replay_options replay;
    sg_batch *batch = NULL;
    int code = cli_specs_parse(&objectives, call, &own->objective, 1);
    if (!code)
        code = set_parameter(&objectives, "--dual-clip", "dual_clip",
                             offsetof(sg_objective, parameter.dual_clip), own->dual_clip);
    if (!code)
        code = set_parameter(&objectives, "--delta", "delta", offsetof(sg_objective, parameter.delta),
                             own->delta);
    if (!code)
        code = parse_replay(own, &replay);
    if (!code)
        code = read_batch(call->operands.items[0], own->sequences, &batch);
    if (!code)
        code = replay_batch(call, batch, &objectives, &replay);
    sg_batch_free(batch);
    free(objectives.items);
    return code;
}

const cli_command cli_replay = {
    .name = "replay",
    .summary = "exact loss and gradient of a token batch under objectives",
    .operands = "BATCH [SPEC...]",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .missing = "replay needs a batch: softgate replay BATCH.csv --objective sapo",
    .description =
        "Computes what objectives do with one minibatch of a trainer: the exact loss and its "
        "derivative by every log-probability, and the statistics that explain it.\n\n"
        "BATCH is CSV, JSONL or NPZ (- is standard input) with a row per token and the columns "
        "sequence, position, mask, advantage, logp_old, logp_new and, if present, logp_rollout, "
        "logp_ref and weight, a factor of the token's loss. Masked tokens (mask 0) may hold "
        "anything. What TRL, verl, OpenRLHF, slime and NeMo-RL call these columns is understood "
        "(response_mask, advantages, old_log_probs, ...). NPZ arrays [responses, tokens], and "
        "JSONL "
        "with a response a line whose tokens are in lists, need no sequence and position.\n\n"
        "Standard output gets one JSON object per objective. With -o a file gets a row per "
        "unmasked "
        "token and objective: objective, params, sequence, position, ratio, log_ratio, weight, "
        "coefficient, loss, dloss_dlogp.",
    .options = options,
    .defaults = &defaults,
    .size = sizeof defaults,
    .output_help = "write what every token gets to FILE; .csv, .json and .npz choose the format",
    .groups = CLI_TALK | CLI_OUTPUT | CLI_COMPUTE,
    .examples = examples,
    .run = run,
};
