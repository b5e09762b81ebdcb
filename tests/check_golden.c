/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Replay against twelve public trainers: their own loss functions were run in float64 on the batches of
 * tests/golden/inputs.csv; loss and d loss / d logp of every token must agree. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/table.h"
#include "io/table_io.h"
#include "objective/advantage.h"
#include "objective/replay.h"

enum { ROWS = 8, COLUMNS = 32, CASES = 10, TOKENS = ROWS * COLUMNS };

/* What a trainer adds to the plain objective. */
enum {
    WEIGHT = 1,        /* multiplies the token loss by is_w */
    ZERO20 = 2,        /* clamps log-ratios to +-20, no gradient beyond */
    CAP20 = 4,         /* clamps log-ratios to +-20 in the coefficient only */
    SEQUENCE_CAP = 8,  /* caps the log of the sequence ratio at 10 */
    ROW_ADVANTAGE = 16, /* replaces the advantage by its row mean */
    VESPO_CLAMP = 32,  /* keeps log W within [ln 1e-8, 20] */
    COUNT = 64,        /* empty rows are in the denominator */
    NO_ADVANTAGE = 128, /* the KL term alone */
    KL_K1 = 256,
    KL_K2 = 512,
    KL_K3 = 1024,
    KL_ABS = 2048,
    KL_PLUS = 32768,   /* the derivative of k2 */
    LENGTH_ONLY = 4096, /* seq-mean-token-sum-norm without the division by the rows */
    MILD_CASES = 16384, /* only |log-ratio| around 0.3 or less, where clamps do nothing */
    ROW_CASES = 8192,   /* only the cases with one advantage a row */
};

typedef struct golden_config {
    const char *peer, *config, *spec, *mode;
    int adds;
    double kl_beta;
    double tolerance;
} golden_config;

#define TIGHT 1e-12
#define LOOSE 2e-7
#define SINGLE 2.5e-7
#define SMTM "seq-mean-token-mean"
#define SMTS "seq-mean-token-sum"
#define NORM "seq-mean-token-sum-norm"
#define MEAN "token-mean"
#define EVERY NULL /* five configurations, one for each mode: name__mode */

static const golden_config covered[] = {
#include "golden_configs.inc"
};

static const struct {
    const char *peer, *config, *reason;
} left_out[] = {
    {"vespo", "vespo_default_isw__token-mean", "the rollout weight enters W, not the token loss"},
    {"trl", "grpo_20_20_beta0.04_bckl", "KL term multiplied by the ratio"},
    {"trl", "grpo_20_20_opm0.05", "off-policy mask drops whole rows"},
    {"trl", "luspo_20_20", "its mean also runs over masked tokens"},
    {"trl", "luspo_20_28_delta4", "its mean also runs over masked tokens"},
    {"liger", "luspo_20_20", "its mean also runs over masked tokens"},
    {"ms_swift", "real_0.5", "real is not a CORE objective"},
    {"nemo_rl", "ppo_20_20_kl0.01_k3", "KL term with its own importance weight"},
    {"roll", "ppo_20_28__token-mean", "its token mean also sums masked tokens"},
    {"torchforge", "simple_grpo_beta0.1", "ratio forced to 1 in the loss"},
};

static sg_table *read_golden(const char *name)
{
    const char *root = getenv("TEST_DATA");
    char path[4096];
    snprintf(path, sizeof path, "%s/golden/%s.csv", root == NULL ? "tests" : root, name);
    sg_table *table = NULL;
    sg_error error;
    if (sg_table_read(&table, path, &error) != SG_OK)
        ck_abort_msg("%s", error.message);
    return table;
}

static size_t column(const sg_table *table, const char *name)
{
    ptrdiff_t c = sg_table_find(table, name);
    ck_assert_msg(c >= 0, "golden data lack a column %s", name);
    return (size_t)c;
}

static double cell(const sg_table *table, const char *name, size_t row)
{
    return sg_table_get_number(table, column(table, name), row);
}

static double *reals(size_t n)
{
    double *cells = calloc(n, sizeof *cells);
    ck_assert_ptr_nonnull(cells);
    return cells;
}

static sg_batch *batch_of(const sg_table *inputs, size_t first, int adds)
{
    sg_batch *batch;
    ck_assert_int_eq(sg_batch_alloc(&batch, TOKENS, NULL), SG_OK);
    batch->logp_ref = reals(TOKENS);
    if (adds & WEIGHT)
        batch->weight = reals(TOKENS);
    for (size_t i = 0; i < TOKENS; i++) {
        size_t row = first + i;
        batch->sequence[i] = (int64_t)cell(inputs, "row", row);
        batch->position[i] = (int64_t)cell(inputs, "col", row);
        batch->mask[i] = cell(inputs, "mask", row) != 0;
        batch->advantage[i] = adds & NO_ADVANTAGE ? 0 : cell(inputs, "adv", row);
        batch->logp_old[i] = cell(inputs, "old_logp", row);
        batch->logp_new[i] = cell(inputs, "new_logp", row);
        batch->logp_ref[i] = cell(inputs, "ref_logp", row);
        if (adds & WEIGHT)
            batch->weight[i] = cell(inputs, "is_w", row);
    }
    for (size_t r = 0; r < ROWS && adds & ROW_ADVANTAGE; r++) {
        double sum = 0, n = 0;
        for (size_t i = r * COLUMNS; i < (r + 1) * COLUMNS; i++) {
            sum += batch->mask[i] ? batch->advantage[i] : 0;
            n += batch->mask[i];
        }
        for (size_t i = r * COLUMNS; i < (r + 1) * COLUMNS; i++)
            batch->advantage[i] = n > 0 ? sum / n : 0;
    }
    ck_assert_int_eq(sg_batch_group(batch, ROWS, NULL), SG_OK);
    return batch;
}

static sg_replay_options options_of(const golden_config *config, sg_aggregate_mode mode)
{
    sg_replay_options options = {.aggregate = mode,
                                 .empty = config->adds & COUNT ? SG_EMPTY_COUNT : SG_EMPTY_SKIP,
                                 .norm_length = config->adds & LENGTH_ONLY
                                                    ? (double)COLUMNS / ROWS
                                                    : COLUMNS,
                                 .kl_beta = config->kl_beta};
    if (config->adds & (ZERO20 | CAP20)) {
        options.clamp = config->adds & ZERO20 ? SG_CLAMP_ZERO : SG_CLAMP_CAP;
        options.clamp_limit = 20;
    }
    if (config->adds & SEQUENCE_CAP) {
        options.sequence_log_low = -HUGE_VAL;
        options.sequence_log_high = 10;
    }
    if (config->adds & VESPO_CLAMP) {
        options.sequence_log_low = log(1e-8);
        options.sequence_log_high = 20;
    }
    options.kl = config->adds & KL_K1    ? SG_KL_K1
                 : config->adds & KL_K2  ? SG_KL_K2
                 : config->adds & KL_ABS ? SG_KL_ABS
                                         : SG_KL_K3;
    if (config->adds & KL_PLUS)
        options.kl = options.kl == SG_KL_K1 ? SG_KL_K1_PLUS : SG_KL_K3_PLUS;
    return options;
}

static double error_of(double got, double want)
{
    if (isnan(got) != isnan(want))
        return INFINITY;
    return isnan(want) ? 0 : fabs(got - want) / fmax(1, fabs(want));
}

static const char *text_cell(const sg_table *table, const char *name, size_t row)
{
    return sg_table_get_text(table, column(table, name), row);
}

static double wanted_loss(const sg_table *losses, const char *peer, const char *config,
                          const char *name)
{
    for (size_t row = 0; row < sg_table_rows(losses); row++) {
        if (strcmp(text_cell(losses, "config", row), config) == 0 &&
            strcmp(text_cell(losses, "peer", row), peer) == 0 &&
            strcmp(text_cell(losses, "case", row), name) == 0)
            return cell(losses, "loss", row);
    }
    ck_abort_msg("no golden loss for %s %s %s", peer, config, name);
    return NAN;
}

/* Largest error of loss and gradients over the cases on which the trainer was run. */
static double compare(const golden_config *config, const char *full_name, sg_aggregate_mode mode,
                      const sg_table *inputs, const sg_table *losses, const sg_table *grads,
                      int *cases)
{
    sg_objective objective;
    sg_error error;
    if (sg_objective_parse(&objective, config->spec, &error) != SG_OK)
        ck_abort_msg("%s", error.message);
    sg_replay_options options = options_of(config, mode);
    double worst = 0;
    *cases = 0;
    for (size_t c = 0; c < CASES; c++) {
        size_t first = c * TOKENS;
        const char *name = text_cell(inputs, "case", first);
        if (isnan(cell(grads, full_name, first)) ||
            (config->adds & ROW_CASES && strstr(name, "_seq") == NULL) ||
            (config->adds & MILD_CASES && (strstr(name, "n3_") == name || strstr(name, "ext"))))
            continue; /* the first: the trainer was not run on this case */
        sg_batch *batch = batch_of(inputs, first, config->adds);
        sg_replay_token tokens[TOKENS];
        sg_replay_summary summary;
        ck_assert_int_eq(sg_replay(batch, &objective, &options, tokens, &summary, &error), SG_OK);
        double loss = wanted_loss(losses, config->peer, full_name, name);
        worst = fmax(worst, error_of(summary.loss, loss));
        for (size_t i = 0; i < TOKENS; i++)
            worst = fmax(worst,
                         error_of(tokens[i].dloss_dlogp, cell(grads, full_name, first + i)));
        if (getenv("GOLDEN_VERBOSE"))
            printf("    %s loss %.17g want %.17g worst so far %g\n", name, summary.loss, loss,
                   worst);
        sg_batch_free(batch);
        (*cases)++;
    }
    return worst;
}

START_TEST(every_covered_configuration_agrees)
{
    sg_table *inputs = read_golden("inputs"), *losses = read_golden("losses");
    sg_table *grads = NULL;
    const char *peer = "";
    size_t agreeing = 0, failing = 0;
    printf("%-10s %-42s %5s %9s %9s\n", "trainer", "configuration", "cases", "error", "allowed");
    for (size_t k = 0; k < sizeof covered / sizeof *covered; k++) {
        const golden_config *config = &covered[k];
        if (strcmp(peer, config->peer) != 0) {
            char name[64];
            snprintf(name, sizeof name, "grads_%s", config->peer);
            sg_table_free(grads);
            grads = read_golden(name);
            peer = config->peer;
        }
        for (int m = 0; m < 5; m++) {
            sg_aggregate_mode mode = (sg_aggregate_mode)m;
            if (config->mode != NULL && strcmp(config->mode, sg_aggregate_name(mode)) != 0)
                continue;
            char name[128];
            snprintf(name, sizeof name, "%s%s%s", config->config, config->mode == NULL ? "__" : "",
                     config->mode == NULL ? sg_aggregate_name(mode) : "");
            int cases;
            double worst = compare(config, name, mode, inputs, losses, grads, &cases);
            bool good = worst <= config->tolerance && cases > 0;
            printf("%-10s %-42s %5d %9.1e %9.0e%s\n", config->peer, name, cases, worst,
                   config->tolerance, good ? "" : "  <-- FAILS");
            agreeing += good;
            failing += !good;
        }
    }
    printf("%zu configurations of public trainers agree; left out:\n", agreeing);
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        printf("  %-10s %-32s %s\n", left_out[i].peer, left_out[i].config, left_out[i].reason);
    fflush(stdout);
    sg_table_free(grads);
    sg_table_free(losses);
    sg_table_free(inputs);
    ck_assert_uint_eq(failing, 0);
}
END_TEST

static bool is_listed(const char *peer, const char *config)
{
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        if (strcmp(peer, left_out[i].peer) == 0 && strcmp(config, left_out[i].config) == 0)
            return true;
    }
    for (size_t k = 0; k < sizeof covered / sizeof *covered; k++) {
        size_t length = strlen(covered[k].config);
        bool every = covered[k].mode == NULL && strncmp(config, covered[k].config, length) == 0 &&
                     strncmp(config + length, "__", 2) == 0;
        if (strcmp(peer, covered[k].peer) == 0 &&
            (every || strcmp(config, covered[k].config) == 0))
            return true;
    }
    return false;
}

START_TEST(no_configuration_is_forgotten)
{
    sg_table *configs = read_golden("configs");
    for (size_t row = 0; row < sg_table_rows(configs); row++) {
        const char *peer = text_cell(configs, "peer", row);
        const char *config = text_cell(configs, "config", row);
        ck_assert_msg(is_listed(peer, config), "%s %s is neither covered nor left out", peer,
                      config);
    }
    sg_table_free(configs);
}
END_TEST

START_TEST(advantages_agree_with_verl)
{
    static const struct {
        const char *name;
        sg_advantage_kind kind;
    } estimators[] = {
        {"grpo_std", SG_ADVANTAGE_GRPO},      {"dr_grpo_nostd", SG_ADVANTAGE_DR_GRPO},
        {"rloo", SG_ADVANTAGE_RLOO},          {"opo", SG_ADVANTAGE_OPO},
        {"gpg", SG_ADVANTAGE_GPG},            {"reinforce_pp_baseline",
                                               SG_ADVANTAGE_REINFORCE_PP_BASELINE},
    };
    sg_table *golden = read_golden("advantages");
    size_t compared = 0;
    for (int fixture = 0; fixture < 3; fixture++) {
        for (size_t e = 0; e < sizeof estimators / sizeof *estimators; e++) {
            double reward[64], length[64], want[64], got[64];
            int64_t group[64];
            size_t n = 0;
            for (size_t row = 0; row < sg_table_rows(golden); row++) {
                if (cell(golden, "fixture", row) != fixture ||
                    strcmp(text_cell(golden, "estimator", row), estimators[e].name) != 0)
                    continue;
                reward[n] = cell(golden, "reward", row);
                length[n] = cell(golden, "resp_len", row);
                group[n] = (int64_t)cell(golden, "group", row);
                want[n++] = cell(golden, "advantage", row);
            }
            sg_rewards rewards = {n, reward, group, length, NULL};
            sg_advantage_options options = {.eps = 1e-6};
            ck_assert_int_eq(sg_advantage_estimate(estimators[e].kind, &rewards, &options, got,
                                                   NULL, NULL),
                             SG_OK);
            for (size_t i = 0; i < n; i++, compared++) /* verl computes these in float32 */
                ck_assert_double_eq_tol(got[i], want[i], 1e-6 * fmax(1, fabs(want[i])));
        }
    }
    ck_assert_uint_eq(compared, 6 * (16 + 16 + 11));
    sg_table_free(golden);
}
END_TEST

Suite *golden_suite(void);
Suite *golden_suite(void)
{
    Suite *suite = suite_create("golden");
    TCase *tests = tcase_create("public trainers");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_covered_configuration_agrees);
    tcase_add_test(tests, no_configuration_is_forgotten);
    tcase_add_test(tests, advantages_agree_with_verl);
    suite_add_tcase(suite, tests);
    return suite;
}
