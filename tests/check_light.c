/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows against dense double-precision rows that get the same pushes, and against the textbook
 * of rows_twin.h: the error that is measured must stay below the bound that is reported. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/light_rows.h"
#include "core/rng.h"
#include "rows_twin.h"
#include "run_suites.h"

enum { SAMPLES = 16, UPDATES = 4, HEAD = 20 };

/* A device may be emulated, which is slow. */
static bool on_device(void)
{
    return backend_under_test() == SG_BACKEND_CUDA;
}

static double uniform(uint32_t step, uint32_t sample, uint32_t token)
{
    return sg_rng_uniform((sg_address){21, SG_STREAM_SYNTHETIC, step, 0, sample, token});
}

static double normal(uint32_t step, uint32_t sample, uint32_t token)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){22, SG_STREAM_SYNTHETIC, step, 0, sample, token}, pair);
    return pair[0];
}

typedef enum prior_shape { ZIPF, GAUSSIAN, GEOMETRIC, UNIFORM } prior_shape;
static const char *const shape_names[] = {"zipf", "gaussian", "geometric", "uniform"};

static double *make_logits(prior_shape shape, size_t vocabulary)
{
    double *z = malloc(vocabulary * sizeof *z);
    for (size_t v = 0; v < vocabulary; v++) {
        double tail = log(0.025 / (double)(vocabulary - HEAD));
        z[v] = shape == ZIPF        ? -1.1 * log((double)v + 1)
               : shape == GAUSSIAN  ? normal(0, 0, (uint32_t)v)
               : shape == GEOMETRIC ? (v < HEAD ? (double)v * log(0.6) : tail)
                                    : 0;
    }
    return z;
}

static sg_light_prior *make_prior(size_t vocabulary, const double *logits)
{
    sg_light_prior *prior;
    sg_error error;
    ck_assert_msg(sg_light_prior_alloc(&prior, vocabulary, HEAD, logits, &error) == SG_OK, "%s",
                  error.message);
    return prior;
}

static sg_light_rows *make_rows(sg_light_config config, sg_light_prior *prior)
{
    sg_light_rows *rows;
    sg_error error;
    ck_assert_msg(sg_light_rows_alloc(&rows, backend_under_test(), &config, prior, &error) == SG_OK,
                  "%s", error.message);
    return rows;
}

static sg_light_rows *rows_of(sg_light_config config, size_t vocabulary, const double *logits)
{
    sg_light_prior *prior = make_prior(vocabulary, logits);
    sg_light_rows *rows = make_rows(config, prior);
    sg_light_prior_free(prior);
    return rows;
}

static sg_objective objective_of(const char *spec)
{
    sg_objective objective;
    sg_error error;
    ck_assert_msg(sg_objective_parse(&objective, spec, &error) == SG_OK, "%s", error.message);
    return objective;
}

/* Half the range of the differences of two logit vectors: the error, a common constant apart. */
static double distance(const double *a, const double *b, size_t n)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t v = 0; v < n; v++) {
        if (a[v] == -INFINITY && b[v] == -INFINITY)
            continue;
        low = fmin(low, a[v] - b[v]);
        high = fmax(high, a[v] - b[v]);
    }
    return (high - low) / 2;
}

/* One step of all rows with real gates: draws, advantages around `shift`, inner updates. */
static void advance(sg_light_rows *rows, size_t states, double lr, const sg_objective *objective,
                    double shift, uint32_t step, int32_t *tokens, double *pushes)
{
    double *u = malloc(states * SAMPLES * 3 * sizeof *u), *old = u + states * SAMPLES,
           *advantage = old + states * SAMPLES;
    sg_error error;
    for (size_t s = 0; s < states; s++) {
        double mean = 0;
        for (size_t j = 0; j < SAMPLES; j++) {
            u[s * SAMPLES + j] = uniform(step, (uint32_t)j, (uint32_t)s);
            advantage[s * SAMPLES + j] = normal(step, (uint32_t)j, (uint32_t)s + 1);
            mean += advantage[s * SAMPLES + j] / SAMPLES;
        }
        for (size_t j = 0; j < SAMPLES; j++)
            advantage[s * SAMPLES + j] += shift - mean;
    }
    sg_light_rows_draw(rows, 0, states, SAMPLES, u, tokens, step % 2 ? u : NULL);
    sg_light_rows_log_prob(rows, 0, states, SAMPLES, tokens, old);
    if (step % 2)
        ck_assert_mem_eq(u, old, states * SAMPLES * sizeof *u);
    ck_assert_int_eq(sg_light_rows_inner_updates(rows, lr, UPDATES, objective, 1.0 / SAMPLES, 0,
                                                 states, SAMPLES, tokens, old, advantage, pushes,
                                                 &error),
                     SG_OK);
    free(u);
}

typedef struct trial {
    prior_shape shape;
    size_t vocabulary;
    uint32_t steps;
    double lr;
    const char *objective;
    double shift; /* mean of the advantages: the sign of W */
    double tolerance;
    size_t explicit_limit;
    uint64_t least_rebases, least_folds;
} trial;

static const trial trials[] = {
    {ZIPF, 1000, 2500, 0.5, "sapo", 0, 0, 0, 0, 1},
    {ZIPF, 5000, 2500, 0.5, "grpo", 0.2, 1e-12, 64, 1, 10},
    {ZIPF, 5000, 300, 0.5, "sapo", -0.2, 1e-14, 64, 1, 10},
    {GAUSSIAN, 5000, 1000, 0.5, "sapo:tau_pos=1,tau_neg=1.05", 0, 1e-13, 32, 3, 10},
    {GAUSSIAN, 5000, 300, 5, "grpo", -0.1, 0, 32, 1, 1},
    {GAUSSIAN, 5000, 300, 20, "cispo", 0.3, 0, 0, 1, 0},
    {GEOMETRIC, 5000, 1500, 0.5, "grpo", 0, 0, 32, 0, 1},
    {GEOMETRIC, 100000, 20, 2, "reinforce", -0.3, 0, 8, 0, 1},
    {UNIFORM, 5000, 1000, 0.5, "sapo", 0.1, 0, 64, 1, 10},
    {UNIFORM, 5000, 500, 0.5, "sapo", -0.1, 1e-13, 64, 1, 10},
    {ZIPF, 131072, 200, 0.5, "sapo", 0, 0, 0, 0, 1},
    {GAUSSIAN, 131072, 100, 5, "grpo", -0.1, 0, 0, 0, 1},
    {ZIPF, 1000000, 20, 0.5, "sapo", 0, 0, 32, 0, 1},
    {ZIPF, 300000, 12, 500, "sapo", 0.3, 0, 0, 1, 0},
};

static sg_rows *dense_of(size_t vocabulary, const double *z)
{
    sg_rows_config config = {1, vocabulary, HEAD, SG_FP64, SG_SGD};
    sg_rows *dense;
    sg_error error;
    ck_assert_int_eq(sg_rows_alloc(&dense, SG_BACKEND_CPU, &config, &error), SG_OK);
    ck_assert_int_eq(sg_rows_set_logits(dense, 0, z, &error), SG_OK);
    return dense;
}

static void assert_close(double a, double b, double tolerance, const char *what)
{
    ck_assert_msg(fabs(a - b) <= tolerance * (1 + fabs(b)), "%s: %.17g is not %.17g", what, a, b);
}

static void assert_observations_close(const sg_row_observation *a, const sg_row_observation *b,
                                      double tolerance)
{
    assert_close(a->entropy, b->entropy, tolerance, "entropy");
    assert_close(a->head_entropy, b->head_entropy, tolerance, "head entropy");
    assert_close(a->tail_mass, b->tail_mass, tolerance, "tail mass");
    assert_close(a->tail_entropy_share, b->tail_entropy_share, tolerance, "tail entropy share");
    assert_close(a->collision, b->collision, tolerance, "collision");
    assert_close(a->max_prob, b->max_prob, tolerance, "max prob");
    assert_close(a->logit_range, b->logit_range, tolerance, "logit range");
    ck_assert_uint_eq(a->underflowed, b->underflowed);
}

START_TEST(error_stays_below_its_bound)
{
    const trial *t = &trials[_i];
    size_t n = t->vocabulary;
    uint32_t steps = on_device() ? (t->steps / 10 + 8) / 4 * 4 : t->steps;
    if (on_device() && (n > 5000 || t->lr > 10)) /* too long, or short of its end ill-conditioned */
        return;
    double *z = make_logits(t->shape, n), *mine = malloc(n * sizeof *mine), worst = 0;
    sg_light_rows *rows = rows_of((sg_light_config){1, t->tolerance, t->explicit_limit}, n, z);
    sg_rows *dense = dense_of(n, z);
    sg_objective objective = objective_of(t->objective);
    sg_optimizer sgd = {.kind = SG_SGD, .lr = t->lr};
    sg_light_report report;
    for (uint32_t step = 1; step <= steps; step++) {
        int32_t tokens[SAMPLES];
        double pushes[UPDATES * SAMPLES];
        advance(rows, 1, t->lr, &objective, t->shift, step, tokens, pushes);
        for (size_t k = 0; k < UPDATES; k++)
            sg_rows_update(dense, &sgd, 1, 0, 1, SAMPLES, tokens, pushes + k * SAMPLES, NULL);
        if (step % (steps / 4) != 0)
            continue;
        sg_light_rows_get_logits(rows, 0, mine);
        sg_rows_get_logits(dense, 0, z);
        report = sg_light_rows_report(rows, 0);
        worst = distance(mine, z, n);
        ck_assert_msg(worst <= report.bound, "%s V %zu lr %g %s: off by %g, bound %g",
                      shape_names[t->shape], n, t->lr, t->objective, worst, report.bound);
        ck_assert_double_le(fabs(mine[1] - z[1]), 2 * report.bound + 1e-11); /* the constant too */
        sg_row_observation a, b;
        sg_light_rows_observe(rows, 0, 1, &a);
        sg_rows_observe(dense, 0, 1, &b);
        assert_observations_close(&a, &b, 1e-12 + 40 * worst);
        double collision;
        sg_light_rows_collision(rows, 0, 1, &collision);
        assert_close(collision, b.collision, 1e-12 + 40 * worst, "collision alone");
        int32_t some[] = {0, 5, 77, 999};
        assert_close(sg_light_rows_mass(rows, 0, some, 4), sg_rows_mass(dense, 0, some, 4),
                     1e-13 + 4 * worst, "mass");
    }
    ck_assert_msg(worst <= 1e-5, "off by %g", worst);
    /* The trial is one of what it is meant for. */
    ck_assert_uint_ge(report.rebases, on_device() ? 0 : t->least_rebases);
    ck_assert_uint_ge(report.folds, on_device() ? 0 : t->least_folds);
    ck_assert(report.updates == steps * (uint64_t)UPDATES);
    sg_light_rows_free(rows);
    sg_rows_free(dense);
    free(mine);
    free(z);
}
END_TEST

START_TEST(agrees_with_the_textbook)
{
    enum { VOCABULARY = 3000, STEPS = 12 };
    double *z = make_logits(_i == 0 ? GAUSSIAN : ZIPF, VOCABULARY), mine[VOCABULARY];
    sg_light_rows *rows = rows_of((sg_light_config){1, 0, 8}, VOCABULARY, z);
    rows_twin *twin = rows_twin_new(VOCABULARY, HEAD);
    memcpy(twin->z, z, VOCABULARY * sizeof *z);
    sg_optimizer sgd = {.kind = SG_SGD, .lr = 0.5};
    for (uint32_t step = 1; step <= STEPS; step++) {
        int32_t tokens[SAMPLES];
        double pushes[SAMPLES], log_prob[SAMPLES];
        for (uint32_t j = 0; j < SAMPLES; j++) {
            tokens[j] = (int32_t)(uniform(step, j, 0) * VOCABULARY);
            pushes[j] = normal(step, j, 1) * 0.2 + (step % 2 ? 0.1 : -0.1);
        }
        tokens[5] = tokens[4];
        pushes[7] = 0;
        sg_row_change a, b;
        sg_error error;
        ck_assert_int_eq(sg_light_rows_update(rows, 0.5, 0, 1, SAMPLES, tokens, pushes, &a, &error),
                         SG_OK);
        rows_twin_update(twin, &sgd, step, SAMPLES, tokens, pushes, &b);
        assert_close(a.kl_old_new / b.kl_old_new, 1, 1e-10, "kl_old_new");
        assert_close(a.kl_new_old / b.kl_new_old, 1, 1e-10, "kl_new_old");
        assert_close(a.grad_norm2 / b.grad_norm2, 1, 1e-11, "grad_norm2");
        assert_close(a.delta_norm2 / b.delta_norm2, 1, 1e-11, "delta_norm2");
        assert_close(a.diffuse_push / b.diffuse_push, 1, 1e-13, "diffuse_push");
        assert_close(a.upward_push, b.upward_push, 1e-11, "upward_push");
        ck_assert_double_le(fabs(a.max_unsampled_push - b.max_unsampled_push),
                            1e-11 * b.max_unsampled_push);
        sg_light_rows_log_prob(rows, 0, 1, SAMPLES, tokens, log_prob);
        for (size_t j = 0; j < SAMPLES; j++)
            assert_close(log_prob[j], rows_twin_log_prob(twin, tokens[j]), 1e-12, "log_prob");
        sg_row_observation look, textbook;
        sg_light_rows_observe(rows, 0, 1, &look);
        rows_twin_observe(twin, &textbook);
        assert_observations_close(&look, &textbook, 1e-11);
    }
    sg_light_rows_get_logits(rows, 0, mine);
    ck_assert_double_le(distance(mine, twin->z, VOCABULARY), 1e-13);
    ck_assert_uint_ge(sg_light_rows_report(rows, 0).folds, 5);
    rows_twin_free(twin);
    sg_light_rows_free(rows);
    free(z);
}
END_TEST

START_TEST(value_by_hand)
{
    size_t vocabularies[] = {25, 4000};
    for (size_t i = 0; i < 2; i++) {
        size_t n = vocabularies[i];
        double *z = calloc(n, sizeof *z);
        sg_light_rows *rows = rows_of((sg_light_config){1, 0, 0}, n, z);
        int32_t token = 2;
        double push = -1;
        sg_error error;
        ck_assert_int_eq(sg_light_rows_update(rows, 0.1, 0, 1, 1, &token, &push, NULL, &error),
                         SG_OK);
        sg_light_rows_get_logits(rows, 0, z);
        ck_assert_double_eq_tol(z[0] - z[2], 0.1, 1e-15);
        ck_assert_double_eq_tol(z[n - 1], 0.1 / (double)n, 1e-16);
        sg_light_rows_free(rows);
        free(z);
    }
}
END_TEST

/* Draws follow the distribution that get_logits shows, on a base that is shared and on one of the
 * row's own, after W of both signs. Likely and unlikely tokens alternate: without the rejection
 * that turns q0 into q the likely ones would be off by two percent. */
START_TEST(draws_follow_the_policy)
{
    enum { VOCABULARY = 6000, GROUPS = 40, DRAWS = 800000, UPDATES_BEFORE = 190 };
    double z[VOCABULARY];
    for (size_t v = 0; v < VOCABULARY; v++)
        z[v] = v % 2 ? -1.5 : 0;
    sg_light_rows *rows = rows_of((sg_light_config){1, 1e-6, _i == 0 ? 4096 : 64}, VOCABULARY, z);
    for (uint32_t step = 1; step <= UPDATES_BEFORE; step++) {
        int32_t tokens[SAMPLES];
        double pushes[SAMPLES];
        sg_error error;
        for (uint32_t j = 0; j < SAMPLES; j++) {
            tokens[j] = (int32_t)(uniform(step, j, 9) * VOCABULARY);
            pushes[j] = _i == 2 ? -0.03 : 0.03;
        }
        sg_light_rows_update(rows, 1, 0, 1, SAMPLES, tokens, pushes, NULL, &error);
    }
    sg_light_report report = sg_light_rows_report(rows, 0);
    ck_assert_msg(report.rebases == 0 && report.series > 0.6, "%d rebases, series %g",
                  (int)report.rebases, report.series);
    ck_assert(_i == 0 ? report.folds == 0 : report.folds > 0);
    sg_light_rows_get_logits(rows, 0, z);
    double total = 0, expected[GROUPS] = {0}, draws = on_device() ? DRAWS / 20 : DRAWS;
    size_t group[VOCABULARY], seen[GROUPS] = {0};
    for (size_t v = 0; v < VOCABULARY; v++)
        total += exp(z[v]);
    for (size_t v = 0; v < VOCABULARY; v++) {
        group[v] = v % 2 + 2 * (v * (GROUPS / 2) / VOCABULARY);
        expected[group[v]] += exp(z[v]) / total * draws;
    }
    enum { BATCH = 1000 };
    for (uint32_t batch = 0; batch * BATCH < draws; batch++) {
        double u[BATCH];
        int32_t tokens[BATCH];
        for (uint32_t j = 0; j < BATCH; j++)
            u[j] = uniform(1000 + batch, j, 3);
        sg_light_rows_draw(rows, 0, 1, BATCH, u, tokens, NULL);
        for (size_t j = 0; j < BATCH; j++) {
            ck_assert(tokens[j] >= 0 && tokens[j] < VOCABULARY);
            seen[group[tokens[j]]]++;
        }
    }
    double chi2 = 0, likely = 0, seen_likely = 0;
    for (size_t g = 0; g < GROUPS; g++) {
        double d = (double)seen[g] - expected[g];
        chi2 += d * d / expected[g];
        likely += g % 2 ? 0 : expected[g];
        seen_likely += g % 2 ? 0 : (double)seen[g];
    }
    ck_assert_msg(chi2 < GROUPS + 4.5 * sqrt(2 * GROUPS), "chi2 %g of %d groups", chi2, GROUPS);
    double deviation = sqrt(likely * (1 - likely / draws));
    ck_assert_msg(fabs(seen_likely - likely) < 4 * deviation, "%g likely draws, %g expected",
                  seen_likely, likely);
    sg_light_rows_free(rows);
}
END_TEST

START_TEST(rows_share_a_prior)
{
    enum { VOCABULARY = 20000, STATES = 3 };
    double *z = make_logits(ZIPF, VOCABULARY), *mine = malloc(VOCABULARY * sizeof *mine);
    sg_light_prior *prior = make_prior(VOCABULARY, z);
    sg_light_rows *rows = make_rows((sg_light_config){STATES, 0, 32}, prior);
    sg_objective objective = objective_of("sapo");
    int32_t tokens[2 * SAMPLES];
    for (uint32_t step = 1; step <= 50; step++)
        advance(rows, 2, 0.5, &objective, 0, step, tokens, NULL);
    sg_light_rows_get_logits(rows, 2, mine);
    ck_assert_double_le(distance(mine, z, VOCABULARY), 1e-14);
    ck_assert_uint_ge(sg_light_rows_report(rows, 0).folds, 1);
    /* A copy goes on like the original; a row that is set again starts again. */
    sg_light_rows *copy = make_rows((sg_light_config){STATES, 0, 32}, prior);
    sg_light_prior_free(prior);
    sg_error error;
    ck_assert_int_eq(sg_light_rows_copy(copy, rows, &error), SG_OK);
    for (uint32_t step = 51; step <= 80; step++) {
        advance(rows, 2, 0.5, &objective, 0, step, tokens, NULL);
        advance(copy, 2, 0.5, &objective, 0, step, tokens, NULL);
    }
    double *theirs = malloc(VOCABULARY * sizeof *theirs);
    for (size_t s = 0; s < STATES; s++) {
        sg_light_rows_get_logits(rows, s, mine);
        sg_light_rows_get_logits(copy, s, theirs);
        ck_assert_mem_eq(mine, theirs, VOCABULARY * sizeof *mine);
    }
    ck_assert_int_eq(sg_light_rows_set_logits(rows, 0, z, &error), SG_OK);
    sg_light_rows_get_logits(rows, 0, mine);
    ck_assert_double_le(distance(mine, z, VOCABULARY), 1e-14);
    sg_light_rows_free(rows);
    sg_light_rows_free(copy);
    free(theirs);
    free(mine);
    free(z);
}
END_TEST

/* Rows that never left the prior, that folded, that rebased: all go on as if nothing had happened. */
START_TEST(saved_rows_continue_bit_for_bit)
{
    enum { VOCABULARY = 20000, STATES = 4 };
    double *z = make_logits(_i == 0 ? ZIPF : GAUSSIAN, VOCABULARY);
    double *mine = malloc(VOCABULARY * sizeof *mine), *theirs = malloc(VOCABULARY * sizeof *theirs);
    sg_light_config config = {STATES, _i == 0 ? 0 : 1e-13, 32};
    sg_light_rows *rows = rows_of(config, VOCABULARY, z), *other = rows_of(config, VOCABULARY, z);
    sg_objective objective = objective_of("sapo");
    int32_t tokens[STATES * SAMPLES], again[STATES * SAMPLES];
    sg_error error;
    for (uint32_t step = 1; step <= 60; step++)
        advance(rows, step < 2 ? STATES - 1 : STATES - 2, step < 20 ? 0.2 : 2, &objective, 0.1,
                step, tokens, NULL);
    ck_assert_uint_ge(sg_light_rows_report(rows, 0).folds, 1);
    ck_assert_uint_eq(sg_light_rows_report(rows, 0).rebases > 0, _i == 1);
    ck_assert_uint_eq(sg_light_rows_report(rows, STATES - 2).folds, 0);
    size_t size = sg_light_rows_save(rows, NULL);
    ck_assert_uint_lt(size, STATES * VOCABULARY * sizeof(double)); /* two stand on the prior */
    char *bytes = malloc(size), *twice = malloc(size);
    ck_assert_uint_eq(sg_light_rows_save(rows, bytes), size);
    advance(other, STATES, 1, &objective, 0, 99, tokens, NULL); /* something to be overwritten */
    ck_assert_int_eq(sg_light_rows_load(other, bytes, size, &error), SG_OK);
    ck_assert_uint_eq(sg_light_rows_save(other, NULL), size);
    sg_light_rows_save(other, twice);
    ck_assert_mem_eq(bytes, twice, size);
    for (uint32_t step = 61; step <= 90; step++) {
        advance(rows, STATES, 2, &objective, -0.1, step, tokens, NULL);
        advance(other, STATES, 2, &objective, -0.1, step, again, NULL);
        ck_assert_mem_eq(tokens, again, sizeof tokens);
    }
    for (size_t s = 0; s < STATES; s++) {
        sg_light_rows_get_logits(rows, s, mine);
        sg_light_rows_get_logits(other, s, theirs);
        ck_assert_mem_eq(mine, theirs, VOCABULARY * sizeof *mine);
        ck_assert_double_eq(sg_light_rows_report(rows, s).bound,
                            sg_light_rows_report(other, s).bound);
    }
    /* Bytes of something else are refused, not believed. */
    ck_assert_int_eq(sg_light_rows_load(other, bytes, size - 1, &error), SG_EDATA);
    for (size_t left = 0; left < 4000; left += 37)
        ck_assert_int_eq(sg_light_rows_load(other, bytes, left, &error), SG_EDATA);
    memset(bytes, 0x5a, 64);
    ck_assert_int_eq(sg_light_rows_load(other, bytes, size, &error), SG_EDATA);
    sg_light_rows *smaller = rows_of((sg_light_config){STATES - 1, 0, 32}, VOCABULARY, z);
    ck_assert_int_eq(sg_light_rows_load(smaller, twice, size, &error), SG_EDATA);
    sg_light_rows_free(smaller);
    sg_light_rows_free(other);
    sg_light_rows_free(rows);
    free(bytes);
    free(twice);
    free(theirs);
    free(mine);
    free(z);
}
END_TEST

/* Without the diffuse part only sampled tokens move, as in dense rows. */
START_TEST(projected_updates_are_those_of_dense_rows)
{
    enum { VOCABULARY = 5000, N = 12 };
    double *z = make_logits(ZIPF, VOCABULARY), mine[VOCABULARY], theirs[VOCABULARY];
    sg_light_rows *rows = rows_of((sg_light_config){1, 0, 16}, VOCABULARY, z);
    sg_rows *dense = dense_of(VOCABULARY, z);
    sg_optimizer sgd = {.kind = SG_SGD, .lr = 0.5};
    sg_error error;
    for (uint32_t step = 1; step <= 30; step++) {
        int32_t tokens[N];
        double pushes[N];
        sg_row_change a, b;
        for (uint32_t j = 0; j < N; j++) {
            tokens[j] = (int32_t)(uniform(step, j, 0) * VOCABULARY);
            pushes[j] = normal(step, j, 1) + 0.2;
        }
        ck_assert_int_eq(
            sg_light_rows_update_projected(rows, sgd.lr, 0, 1, N, tokens, pushes, &a, &error),
            SG_OK);
        sg_rows_update_projected(dense, &sgd, step, 0, 1, N, tokens, pushes, &b);
        ck_assert_double_eq(a.diffuse_push, 0);
        ck_assert_double_eq(a.max_unsampled_push, 0);
        assert_close(a.delta_norm2, b.delta_norm2, 1e-12, "delta_norm2");
        assert_close(a.kl_old_new, b.kl_old_new, 1e-12, "kl_old_new");
    }
    sg_light_rows_get_logits(rows, 0, mine);
    sg_rows_get_logits(dense, 0, theirs);
    ck_assert_double_le(distance(mine, theirs, VOCABULARY), 1e-13);
    ck_assert_uint_ge(sg_light_rows_report(rows, 0).folds, 1);
    sg_light_rows_free(rows);
    sg_rows_free(dense);
    free(z);
}
END_TEST

/* Bits of a run of several rows under the present instruction set and threads. */
static double *run_bits(size_t vocabulary, size_t states)
{
    double *z = make_logits(ZIPF, vocabulary), *all = malloc(states * vocabulary * sizeof *all);
    sg_light_rows *rows = rows_of((sg_light_config){states, 1e-12, 32}, vocabulary, z);
    const char *specs[] = {"sapo", "grpo", "cispo", "gipo"};
    int32_t *tokens = malloc(states * SAMPLES * sizeof *tokens);
    for (uint32_t step = 1; step <= 60; step++) {
        sg_objective objective = objective_of(specs[step % 4]);
        advance(rows, states, 2, &objective, -0.1, step, tokens, NULL);
    }
    for (size_t s = 0; s < states; s++)
        sg_light_rows_get_logits(rows, s, all + s * vocabulary);
    sg_light_rows_free(rows);
    free(tokens);
    free(z);
    return all;
}

START_TEST(threads_and_instructions_do_not_matter)
{
    enum { VOCABULARY = 5000, STATES = 5 };
    const char *isas[] = {"portable", "avx2", "avx512"};
    double *reference = run_bits(VOCABULARY, STATES);
    for (size_t i = 0; i < 3; i++) {
        setenv("SOFTGATE_ISA", isas[i], 1);
#ifdef _OPENMP
        omp_set_num_threads(i == 0 ? 1 : (int)i + 2);
#endif
        double *bits = run_bits(VOCABULARY, STATES);
        ck_assert_mem_eq(bits, reference, VOCABULARY * STATES * sizeof *bits);
        free(bits);
    }
    unsetenv("SOFTGATE_ISA");
    free(reference);
}
END_TEST

/* The gates of the inner updates are those of the objective module, for every method of token
 * level. */
START_TEST(gates_are_the_objectives)
{
    enum { VOCABULARY = 3000 };
    double *z = make_logits(ZIPF, VOCABULARY);
    const sg_method *method = sg_method_at((size_t)_i);
    sg_objective objective = objective_of(method->name);
    if (objective.level != SG_LEVEL_TOKEN || method->rule != SG_RULE_NONE) {
        free(z);
        return;
    }
    sg_light_rows *rows = rows_of((sg_light_config){1, 0, 0}, VOCABULARY, z);
    int32_t tokens[SAMPLES];
    double log_prob[SAMPLES], old[SAMPLES], advantage[SAMPLES], pushes[SAMPLES];
    sg_error error;
    for (uint32_t j = 0; j < SAMPLES; j++) {
        tokens[j] = (int32_t)(uniform(1, j, 0) * VOCABULARY);
        advantage[j] = normal(1, j, 1);
    }
    sg_light_rows_log_prob(rows, 0, 1, SAMPLES, tokens, log_prob);
    for (uint32_t j = 0; j < SAMPLES; j++)
        old[j] = log_prob[j] - (j == 0 ? 0 : j == 1 ? 1e-9 : 0.4 * normal(2, j, 0));
    advantage[3] = 0;
    old[4] = NAN;
    ck_assert_int_eq(sg_light_rows_inner_updates(rows, 0.1, 1, &objective, 0.25, 0, 1, SAMPLES,
                                                 tokens, old, advantage, pushes, &error),
                     SG_OK);
    for (size_t j = 0; j < SAMPLES; j++) {
        double c =
            sg_objective_eval(&objective, log_prob[j] - old[j], advantage[j], old[j]).coefficient;
        double push = 0.25 * c * advantage[j];
        ck_assert_msg((isnan(push) && isnan(pushes[j])) || fabs(pushes[j] - push) <= 1e-13,
                      "%s, sample %zu: %.17g is not %.17g", method->name, j, pushes[j], push);
    }
    sg_light_rows_free(rows);
    free(z);
}
END_TEST

START_TEST(divergence_does_not_hang)
{
    enum { VOCABULARY = 5000 };
    double *z = make_logits(ZIPF, VOCABULARY), u[SAMPLES], log_prob[SAMPLES];
    sg_light_rows *rows = rows_of((sg_light_config){1, 0, 0}, VOCABULARY, z);
    double bad[] = {INFINITY, NAN, 1e300};
    int32_t tokens[SAMPLES] = {1, 2, 3};
    double pushes[SAMPLES] = {1, bad[_i], -1};
    sg_error error;
    for (uint32_t step = 0; step < 3; step++) {
        ck_assert_int_eq(
            sg_light_rows_update(rows, 10, 0, 1, SAMPLES, tokens, pushes, NULL, &error), SG_OK);
        for (uint32_t j = 0; j < SAMPLES; j++)
            u[j] = uniform(step, j, 0);
        sg_light_rows_draw(rows, 0, 1, SAMPLES, u, tokens, NULL);
        for (size_t j = 0; j < SAMPLES; j++)
            ck_assert(tokens[j] >= 0 && tokens[j] < VOCABULARY);
        sg_light_rows_log_prob(rows, 0, 1, SAMPLES, tokens, log_prob);
        ck_assert(_i == 2 || isnan(log_prob[0]));
        sg_row_observation observation;
        sg_light_rows_observe(rows, 0, 1, &observation);
    }
    sg_light_rows_free(rows);
    free(z);
}
END_TEST

START_TEST(bad_arguments_are_named)
{
    double z[] = {0, NAN, 1}, dead[] = {-INFINITY, -INFINITY}, good[] = {0, 1, -INFINITY};
    sg_light_prior *prior, *other;
    sg_light_rows *rows;
    sg_error error;
    ck_assert_int_eq(sg_light_prior_alloc(&prior, 1, 1, z, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_light_prior_alloc(&prior, 3, 4, z, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_light_prior_alloc(&prior, 3, 1, z, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "logit 1"));
    ck_assert_int_eq(sg_light_prior_alloc(&prior, 2, 1, dead, &error), SG_EDATA);
    ck_assert_ptr_null(prior);
    ck_assert_int_eq(sg_light_prior_alloc(&prior, 3, 1, good, &error), SG_OK);
    ck_assert_int_eq(sg_light_prior_alloc(&other, 2, 1, good, &error), SG_OK);
    sg_light_config none = {0, 0, 0}, negative = {1, -1, 0}, fine = {1, 0, 0};
    ck_assert_int_eq(sg_light_rows_alloc(&rows, backend_under_test(), &none, prior, &error),
                     SG_EARGUMENT);
    ck_assert_int_eq(sg_light_rows_alloc(&rows, backend_under_test(), &negative, prior, &error),
                     SG_EARGUMENT);
    ck_assert_ptr_null(rows);
    ck_assert_int_eq(sg_light_rows_alloc(&rows, backend_under_test(), &fine, prior, &error), SG_OK);
    ck_assert_int_eq(sg_light_rows_set_prior(rows, 0, other, &error), SG_EARGUMENT);
    sg_row_observation observation;
    sg_light_rows_observe(rows, 0, 1, &observation);
    ck_assert_uint_eq(observation.underflowed, 1);
    sg_light_rows_free(rows);
    sg_light_prior_free(prior);
    sg_light_prior_free(other);
}
END_TEST

Suite *light_suite(void);
Suite *light_suite(void)
{
    Suite *suite = suite_create("light");
    TCase *accuracy = tcase_create("accuracy");
    tcase_set_timeout(accuracy, 60);
    tcase_add_test(accuracy, value_by_hand);
    tcase_add_loop_test(accuracy, error_stays_below_its_bound, 0,
                        (int)(sizeof trials / sizeof *trials));
    tcase_add_loop_test(accuracy, agrees_with_the_textbook, 0, 2);
    tcase_add_loop_test(accuracy, gates_are_the_objectives, 0, (int)sg_method_count());
    suite_add_tcase(suite, accuracy);
    TCase *behaviour = tcase_create("behaviour");
    tcase_set_timeout(behaviour, 60);
    tcase_add_loop_test(behaviour, draws_follow_the_policy, 0, 3);
    tcase_add_test(behaviour, rows_share_a_prior);
    tcase_add_loop_test(behaviour, saved_rows_continue_bit_for_bit, 0, 2);
    tcase_add_test(behaviour, projected_updates_are_those_of_dense_rows);
    tcase_add_test(behaviour, threads_and_instructions_do_not_matter);
    tcase_add_loop_test(behaviour, divergence_does_not_hang, 0, 3);
    tcase_add_test(behaviour, bad_arguments_are_named);
    suite_add_tcase(suite, behaviour);
    return suite;
}
