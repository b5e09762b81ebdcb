/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Conformance of a backend: everything that backend.h promises, against the textbook of
 * rows_twin.h. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "core/rng.h"
#include "rows_twin.h"
#include "run_suites.h"

static const size_t vocabularies[] = {2, 3, 1000, 1024, 1025, 5000, 131072};
enum { VOCABULARIES = sizeof vocabularies / sizeof *vocabularies, SAMPLES = 16, STEPS = 5 };

static const sg_optimizer optimizers[] = {
    {SG_SGD, 0.5, 0, 0, 0, 0},
    {SG_MOMENTUM, 0.2, 0.9, 0, 0, 0},
    {SG_ADAM, 0.02, 0.9, 0.999, 1e-8, 0},
    {SG_ADAM, 0.02, 0.9, 0.95, 0, 0},
    {SG_SGD, 2e-4, 0, 0, 0, 0}, /* steps so small that the short series serve */
    {SG_ADAM, 1e-4, 0.9, 0.999, 1e-8, 0},
    {SG_ADAMW, 0.02, 0.9, 0.999, 1e-8, 0.1},
    {SG_ADAMW, 1e-3, 0.9, 0.95, 0, 0.01},
    {SG_COUPLED_ADAM, 1e-3, 0.9, 0.999, 1e-8, 0},
    {SG_COUPLED_ADAM, 1e-5, 0.9, 0.95, 0, 0},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

static double uniform(uint32_t step, uint32_t sample, uint32_t token)
{
    return sg_rng_uniform((sg_address){11, SG_STREAM_SYNTHETIC, step, 0, sample, token});
}

static double normal(uint32_t step, uint32_t sample, uint32_t token)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){12, SG_STREAM_SYNTHETIC, step, 0, sample, token}, pair);
    return pair[0];
}

static sg_rows *rows_new(size_t states, size_t vocabulary, sg_precision precision,
                         sg_optimizer_kind optimizer)
{
    sg_rows_config config = {states, vocabulary, vocabulary < 20 ? 1 : 20, precision, optimizer};
    sg_rows *rows;
    sg_error error;
    ck_assert_msg(sg_rows_alloc(&rows, backend_under_test(), &config, &error) == SG_OK, "%s",
                  error.message);
    return rows;
}

static double *random_logits(size_t vocabulary, uint32_t state, double scale)
{
    double *z = malloc(vocabulary * sizeof *z);
    for (size_t i = 0; i < vocabulary; i++)
        z[i] = scale * normal(0, state, (uint32_t)i);
    return z;
}

static void set_logits(sg_rows *rows, size_t state, const double *z)
{
    sg_error error;
    ck_assert_msg(sg_rows_set_logits(rows, state, z, &error) == SG_OK, "%s", error.message);
}

/* Greatest difference between the logits of a state and `z`, a common constant apart. */
static double logit_distance(const sg_rows *rows, size_t state, size_t vocabulary, const double *z)
{
    double *mine = malloc(vocabulary * sizeof *mine), worst = 0;
    sg_rows_get_logits(rows, state, mine);
    double constant = mine[0] - z[0];
    for (size_t i = 0; i < vocabulary; i++)
        worst = fmax(worst, fabs(mine[i] - z[i] - constant));
    free(mine);
    return worst;
}

/* Tokens of a step: some drawn, some twice, one with a push of 0. */
static void make_samples(uint32_t step, size_t vocabulary, int32_t *tokens, double *pushes)
{
    for (uint32_t j = 0; j < SAMPLES; j++) {
        tokens[j] = (int32_t)(uniform(step, j, 0) * (double)vocabulary);
        pushes[j] = normal(step, j, 1) * (j % 2 ? 0.3 : 0.1);
    }
    tokens[5] = tokens[4];
    pushes[7] = 0;
}

static void assert_near(double a, double b, double relative, double absolute, const char *what)
{
    ck_assert_msg(fabs(a - b) <= relative * fabs(b) + absolute, "%s: %.17g is not near %.17g", what,
                  a, b);
}

static void assert_change_near(const sg_row_change *a, const sg_row_change *b, double relative)
{
    assert_near(a->kl_old_new, b->kl_old_new, relative, 1e-20, "kl_old_new");
    assert_near(a->kl_new_old, b->kl_new_old, relative, 1e-20, "kl_new_old");
    assert_near(a->grad_norm2, b->grad_norm2, relative, 0, "grad_norm2");
    assert_near(a->delta_norm2, b->delta_norm2, relative, 0, "delta_norm2");
    assert_near(a->diffuse_push, b->diffuse_push, relative, 1e-16, "diffuse_push");
    assert_near(a->upward_push, b->upward_push, relative, 1e-16, "upward_push");
    assert_near(a->max_unsampled_push, b->max_unsampled_push, relative, 1e-18,
                "max_unsampled_push");
}

static void compare_with_textbook(size_t vocabulary, sg_precision precision,
                                  const sg_optimizer *optimizer, double logit_error,
                                  double relative)
{
    sg_rows *rows = rows_new(1, vocabulary, precision, optimizer->kind);
    rows_twin *twin = rows_twin_new(vocabulary, 1);
    double *z = random_logits(vocabulary, 0, 2);
    memcpy(twin->z, z, vocabulary * sizeof *z);
    set_logits(rows, 0, z);
    for (uint32_t step = 1; step <= STEPS; step++) {
        int32_t tokens[SAMPLES];
        double pushes[SAMPLES];
        make_samples(step, vocabulary, tokens, pushes);
        sg_row_change mine, theirs;
        sg_rows_update(rows, optimizer, step, 0, 1, SAMPLES, tokens, pushes, &mine);
        rows_twin_update(twin, optimizer, step, SAMPLES, tokens, pushes, &theirs);
        assert_change_near(&mine, &theirs, relative);
        double distance = logit_distance(rows, 0, vocabulary, twin->z);
        ck_assert_msg(distance <= logit_error, "V %zu, optimizer %d, step %u: logits off by %g",
                      vocabulary, optimizer->kind, step, distance);
        double log_prob[SAMPLES];
        sg_rows_log_prob(rows, 0, 1, SAMPLES, tokens, log_prob);
        for (size_t j = 0; j < SAMPLES; j++)
            assert_near(log_prob[j], rows_twin_log_prob(twin, tokens[j]), 0, 2 * logit_error,
                        "log_prob");
    }
    free(z);
    rows_twin_free(twin);
    sg_rows_free(rows);
}

START_TEST(value_by_hand)
{
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        sg_rows *rows = rows_new(1, 4, precision, SG_SGD);
        sg_optimizer sgd = {.kind = SG_SGD, .lr = 0.1};
        int32_t token = 2;
        double push = -1, z[4];
        sg_row_change change;
        sg_rows_update(rows, &sgd, 1, 0, 1, 1, &token, &push, &change);
        sg_rows_get_logits(rows, 0, z);
        double tolerance = precision == SG_FP32 ? 1e-7 : 1e-15;
        ck_assert_double_eq_tol(z[0] - z[2], 0.1, tolerance);
        ck_assert_double_eq(z[0], z[1]);
        ck_assert_double_eq_tol(change.max_unsampled_push, 0.025, tolerance);
        ck_assert_double_eq_tol(change.upward_push, 0.75, 1e-15);
        ck_assert_double_eq(change.diffuse_push, -1);
        ck_assert_double_eq_tol(change.grad_norm2, 0.75 * 0.75 + 3 * 0.0625, 1e-15);
        sg_rows_free(rows);
    }
}
END_TEST

START_TEST(fp64_updates_match_the_textbook)
{
    for (size_t i = 0; i < VOCABULARIES; i++)
        compare_with_textbook(vocabularies[i], SG_FP64, &optimizers[_i], 1e-13, 1e-9);
}
END_TEST

/* fp32: logits move by at most 2e-7 a step in rounding beyond the 6e-8 of storing them. */
START_TEST(fp32_updates_stay_within_their_bound)
{
    for (size_t i = 0; i < VOCABULARIES; i++)
        compare_with_textbook(vocabularies[i], SG_FP32, &optimizers[_i], 1.5e-6, 1e-4);
}
END_TEST

/* Runs a fixed scenario and returns everything that can be seen of it. */
static double *scenario(size_t states, size_t vocabulary, sg_precision precision,
                        const sg_optimizer *optimizer, bool wants_change, size_t *length)
{
    sg_rows *rows = rows_new(states, vocabulary, precision, optimizer->kind);
    size_t changes = STEPS * states * sizeof(sg_row_change) / sizeof(double);
    size_t looks = states * sizeof(sg_row_observation) / sizeof(double);
    *length = states * vocabulary + 2 * states * SAMPLES * STEPS + changes + looks;
    double *seen = calloc(*length, sizeof *seen), *end = seen;
    for (size_t s = 0; s < states; s++) {
        double *z = random_logits(vocabulary, (uint32_t)s, 2);
        set_logits(rows, s, z);
        free(z);
    }
    int32_t *tokens = malloc(states * SAMPLES * sizeof *tokens);
    double *numbers = malloc(states * SAMPLES * sizeof *numbers);
    sg_row_change *change = calloc(states, sizeof *change);
    sg_row_observation *look = calloc(states, sizeof *look);
    for (uint32_t step = 1; step <= STEPS; step++) {
        for (size_t j = 0; j < states * SAMPLES; j++)
            numbers[j] = uniform(step, (uint32_t)j, 2);
        sg_rows_draw(rows, 0, states, SAMPLES, numbers, tokens, step == 1 ? NULL : numbers);
        for (size_t j = 0; j < states * SAMPLES; j++)
            *end++ = tokens[j];
        sg_rows_log_prob(rows, 0, states, SAMPLES, tokens, end);
        if (step > 1)
            ck_assert_mem_eq(end, numbers, states * SAMPLES * sizeof *numbers);
        end += states * SAMPLES;
        for (size_t j = 0; j < states * SAMPLES; j++)
            numbers[j] = normal(step, (uint32_t)j, 3);
        sg_rows_update(rows, optimizer, step, 0, states, SAMPLES, tokens, numbers,
                       wants_change ? change : NULL);
        memcpy(end, change, states * sizeof *change);
        end += states * sizeof *change / sizeof(double);
    }
    sg_rows_observe(rows, 0, states, look);
    memcpy(end, look, states * sizeof *look);
    end += looks;
    for (size_t s = 0; s < states; s++, end += vocabulary)
        sg_rows_get_logits(rows, s, end);
    ck_assert_ptr_eq(end, seen + *length);
    free(look);
    free(change);
    free(numbers);
    free(tokens);
    sg_rows_free(rows);
    return seen;
}

static void set_threads(int threads)
{
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
}

/* One state is split over threads, three are shared out: both must give the bytes of one thread. On a
 * device, where threads are none of its business: two runs give the same bytes. */
START_TEST(results_do_not_depend_on_threads)
{
    size_t vocabulary = backend_under_test() == SG_BACKEND_CPU ? 70000 : 5000;
    for (int precision = SG_FP32; precision <= SG_FP64; precision++)
        for (size_t states = 1; states <= 3; states += 2) {
            size_t length;
            set_threads(1);
            double *one = scenario(states, vocabulary, precision, &optimizers[_i], true, &length);
            set_threads(4);
            double *four = scenario(states, vocabulary, precision, &optimizers[_i], true, &length);
            ck_assert_mem_eq(one, four, length * sizeof *one);
            free(one);
            free(four);
        }
    set_threads(1);
}
END_TEST

START_TEST(results_do_not_depend_on_the_instruction_set)
{
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        size_t length;
        double *best = scenario(2, 5000, precision, &optimizers[_i], true, &length);
        const char *const isas[] = {"portable", "avx2"};
        for (size_t k = 0; k < 2; k++) {
            setenv("SOFTGATE_ISA", isas[k], 1);
            double *other = scenario(2, 5000, precision, &optimizers[_i], true, &length);
            unsetenv("SOFTGATE_ISA");
            ck_assert_mem_eq(best, other, length * sizeof *best);
            free(other);
        }
        free(best);
    }
}
END_TEST

START_TEST(watching_an_update_does_not_change_it)
{
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        size_t length, logits = 2 * 5000;
        double *with = scenario(2, 5000, precision, &optimizers[_i], true, &length);
        double *without = scenario(2, 5000, precision, &optimizers[_i], false, &length);
        ck_assert_mem_eq(with + length - logits, without + length - logits, logits * sizeof *with);
        free(with);
        free(without);
    }
}
END_TEST

START_TEST(draws_are_the_inverse_cdf)
{
    for (size_t i = 0; i < VOCABULARIES; i++) {
        size_t vocabulary = vocabularies[i];
        sg_rows *rows = rows_new(1, vocabulary, SG_FP64, SG_SGD);
        rows_twin *twin = rows_twin_new(vocabulary, 1);
        double *z = random_logits(vocabulary, 1, 3), u[40];
        memcpy(twin->z, z, vocabulary * sizeof *z);
        set_logits(rows, 0, z);
        int32_t tokens[40];
        for (uint32_t j = 0; j < 40; j++)
            u[j] = uniform(3, j, 0);
        sg_rows_draw(rows, 0, 1, 40, u, tokens, NULL);
        for (size_t j = 0; j < 40; j++)
            ck_assert_int_eq(tokens[j], rows_twin_draw(twin, u[j]));
        free(z);
        rows_twin_free(twin);
        sg_rows_free(rows);
    }
}
END_TEST

START_TEST(draws_avoid_tokens_of_no_mass)
{
    enum { V = 3000 };
    double z[V];
    for (size_t i = 0; i < V; i++)
        z[i] = -INFINITY;
    z[1023] = z[2047] = 0;
    double u[] = {0x1p-53, 0.25, 0.4999, 0.5001, 0.75, 1 - 0x1p-53};
    int32_t tokens[6], expected[] = {1023, 1023, 1023, 2047, 2047, 2047};
    sg_rows *rows = rows_new(1, V, SG_FP32, SG_SGD);
    set_logits(rows, 0, z);
    sg_rows_draw(rows, 0, 1, 6, u, tokens, NULL);
    ck_assert_mem_eq(tokens, expected, sizeof tokens);
    sg_row_observation look;
    sg_rows_observe(rows, 0, 1, &look);
    ck_assert_uint_eq(look.underflowed, V - 2);
    ck_assert_double_eq_tol(look.entropy, log(2), 1e-15);
    ck_assert_double_eq(look.logit_range, 0);
    int32_t dead = 5;
    double log_prob;
    sg_rows_log_prob(rows, 0, 1, 1, &dead, &log_prob);
    ck_assert_double_infinite(log_prob);
    sg_rows_free(rows);
}
END_TEST

START_TEST(observations_match_the_textbook)
{
    for (size_t i = 0; i < VOCABULARIES; i++)
        for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
            size_t vocabulary = vocabularies[i];
            sg_rows *rows = rows_new(1, vocabulary, precision, SG_SGD);
            rows_twin *twin = rows_twin_new(vocabulary, vocabulary < 20 ? 1 : 20);
            double *z = random_logits(vocabulary, 4, 2);
            set_logits(rows, 0, z);
            memcpy(twin->z, z, vocabulary * sizeof *z);
            sg_row_observation mine, theirs;
            sg_rows_observe(rows, 0, 1, &mine);
            rows_twin_observe(twin, &theirs);
            double e = precision == SG_FP32 ? 1e-6 : 1e-12;
            assert_near(mine.entropy, theirs.entropy, e, 0, "entropy");
            assert_near(mine.head_entropy, theirs.head_entropy, e, e, "head_entropy");
            assert_near(mine.tail_mass, theirs.tail_mass, e, 0, "tail_mass");
            assert_near(mine.tail_entropy_share, theirs.tail_entropy_share, e, 0, "share");
            assert_near(mine.collision, theirs.collision, e, 0, "collision");
            double alone;
            sg_rows_collision(rows, 0, 1, &alone);
            assert_near(alone, theirs.collision, e, 0, "collision alone");
            assert_near(mine.max_prob, theirs.max_prob, e, 0, "max_prob");
            assert_near(mine.logit_range, theirs.logit_range, e, e, "logit_range");
            ck_assert_uint_eq(mine.underflowed, 0);
            int32_t set[] = {1, 0};
            long double *pi = malloc(vocabulary * sizeof *pi);
            rows_twin_probabilities(twin, pi);
            assert_near(sg_rows_mass(rows, 0, set, 2), (double)(pi[0] + pi[1]), e, 0, "mass");
            free(pi);
            free(z);
            rows_twin_free(twin);
            sg_rows_free(rows);
        }
}
END_TEST

/* Steps so large that the greatest logit changes by hundreds: the offset must follow. */
START_TEST(large_steps_neither_overflow_nor_empty_a_row)
{
    static const double pushes[][2] = {{-300, 0}, {300, 0}, {-80, -900}, {500, -700}, {-60, 60.5}};
    for (int precision = SG_FP32; precision <= SG_FP64; precision++)
        for (size_t k = 0; k < sizeof pushes / sizeof *pushes; k++) {
            sg_rows *rows = rows_new(1, 3, precision, SG_SGD);
            rows_twin *twin = rows_twin_new(3, 1);
            double z[] = {8, 0, -3};
            memcpy(twin->z, z, sizeof z);
            set_logits(rows, 0, z);
            sg_optimizer sgd = {.kind = SG_SGD, .lr = 1};
            int32_t tokens[] = {0, 1};
            sg_row_change mine, theirs;
            sg_rows_update(rows, &sgd, 1, 0, 1, 2, tokens, pushes[k], &mine);
            rows_twin_update(twin, &sgd, 1, 2, tokens, pushes[k], &theirs);
            assert_change_near(&mine, &theirs, precision == SG_FP32 ? 1e-5 : 1e-12);
            for (int32_t token = 0; token < 3; token++) {
                double mine_log, theirs_log = rows_twin_log_prob(twin, token);
                sg_rows_log_prob(rows, 0, 1, 1, &token, &mine_log);
                if (theirs_log > (precision == SG_FP32 ? -80 : -650))
                    assert_near(mine_log, theirs_log, 0, precision == SG_FP32 ? 1e-4 : 1e-12,
                                "log_prob");
                else
                    ck_assert_double_lt(mine_log, -80);
            }
            rows_twin_free(twin);
            sg_rows_free(rows);
        }
}
END_TEST

/* Many upward steps of everything (Adam moves all logits alike): q must be rebased, not overflow.
 */
START_TEST(offset_follows_a_long_drift)
{
    sg_rows *rows = rows_new(1, 1000, SG_FP32, SG_ADAM);
    rows_twin *twin = rows_twin_new(1000, 1);
    sg_optimizer adam = {SG_ADAM, 0.5, 0.9, 0.999, 1e-12, 0};
    int32_t token = 7;
    double push = -1e-3;
    sg_row_change mine, theirs;
    for (uint32_t step = 1; step <= 120; step++) {
        sg_rows_update(rows, &adam, step, 0, 1, 1, &token, &push, &mine);
        rows_twin_update(twin, &adam, step, 1, &token, &push, &theirs);
    }
    double drift = twin->z[0];
    ck_assert_double_gt(drift, 50);
    double log_prob;
    token = 3;
    sg_rows_log_prob(rows, 0, 1, 1, &token, &log_prob);
    assert_near(log_prob, rows_twin_log_prob(twin, token), 0, 1e-4, "log_prob");
    rows_twin_free(twin);
    sg_rows_free(rows);
}
END_TEST

/* Centred pushes leave a residue of rounding: it is not a push, and Adam must not make one of it.
 */
START_TEST(rounding_residue_moves_nobody)
{
    sg_rows *rows = rows_new(1, 1000, SG_FP64, SG_ADAM);
    sg_optimizer adam = {SG_ADAM, 0.1, 0.9, 0.999, 0, 0};
    int32_t tokens[] = {1, 2, 3};
    double pushes[] = {0.1, 0.2, -0.30000000000000004 + 0x1p-54}, z[1000];
    ck_assert_double_ne(pushes[0] + pushes[1] + pushes[2], 0);
    sg_row_change change;
    sg_rows_update(rows, &adam, 1, 0, 1, 3, tokens, pushes, &change);
    sg_rows_get_logits(rows, 0, z);
    ck_assert_double_eq(change.diffuse_push, 0);
    ck_assert_double_eq(change.max_unsampled_push, 0);
    ck_assert_double_eq(z[0], z[999]);
    ck_assert_double_eq_tol(z[1] - z[0], 0.1, 1e-14);
    sg_rows_free(rows);
}
END_TEST

/* A vanishing gradient of 1e-12 still gives Adam's full step in fp32: moments must not underflow.
 */
START_TEST(fp32_adam_sees_tiny_gradients)
{
    sg_rows *rows = rows_new(1, 1000, SG_FP32, SG_ADAM);
    sg_optimizer adam = {SG_ADAM, 0.1, 0.9, 0.999, 1e-20, 0};
    int32_t token = 1;
    double push = 1e-9, z[1000];
    sg_rows_update(rows, &adam, 1, 0, 1, 1, &token, &push, NULL);
    sg_rows_get_logits(rows, 0, z);
    ck_assert_double_eq_tol(z[1] - z[0], 0.2, 1e-6);
    sg_rows_free(rows);
}
END_TEST

/* The fused loop is the loop that its comment writes out, to the bit. */
START_TEST(inner_updates_are_the_separate_calls)
{
    enum { STATES = 3, N = 8, V = 3000 };
    sg_error error;
    sg_objective objective;
    ck_assert_int_eq(sg_objective_parse(&objective, "sapo", &error), SG_OK);
    sg_optimizer sgd = optimizers[0];
    sg_rows *a = rows_new(STATES, V, SG_FP64, SG_SGD), *b = rows_new(STATES, V, SG_FP64, SG_SGD);
    int32_t tokens[STATES * N];
    double old[STATES * N], now[STATES * N], advantage[STATES * N], push[STATES * N];
    for (uint32_t j = 0; j < STATES * N; j++) {
        tokens[j] = (int32_t)(uniform(9, j, 0) * V);
        advantage[j] = normal(9, j, 1);
    }
    sg_rows_log_prob(a, 0, STATES, N, tokens, old);
    sg_rows_inner_updates(a, &sgd, 1, 4, &objective, 0.125, 0, STATES, N, tokens, old, advantage,
                          now);
    for (uint64_t k = 1; k <= 4; k++) {
        sg_rows_log_prob(b, 0, STATES, N, tokens, now);
        for (size_t j = 0; j < STATES * N; j++) {
            sg_gate_value gate =
                sg_objective_eval(&objective, now[j] - old[j], advantage[j], old[j]);
            push[j] = 0.125 * gate.coefficient * advantage[j];
        }
        sg_rows_update(b, &sgd, k, 0, STATES, N, tokens, push, NULL);
    }
    double za[V], zb[V];
    for (size_t s = 0; s < STATES; s++) {
        sg_rows_get_logits(a, s, za);
        sg_rows_get_logits(b, s, zb);
        if (backend_under_test() == SG_BACKEND_CPU)
            ck_assert_mem_eq(za, zb, sizeof za);
        for (size_t i = 0; i < V; i++) /* a device has an exp of its own in its gates */
            ck_assert_double_eq_tol(za[i], zb[i], 1e-13);
        ck_assert_double_ne(za[tokens[s * N]], za[(tokens[s * N] + 1) % V]);
    }
    sg_rows_free(a);
    sg_rows_free(b);
}
END_TEST

/* Where the gradient sums to zero, so do coupled-adam's changes; adam's do not. */
START_TEST(coupled_adam_keeps_the_sum_of_a_row)
{
    enum { V = 5000 };
    static const sg_optimizer_kind kinds[] = {SG_ADAM, SG_COUPLED_ADAM};
    for (int k = 0; k < 2; k++) {
        sg_optimizer optimizer = {kinds[k], 1e-3, 0.9, 0.999, 1e-8, 0};
        sg_rows *rows = rows_new(1, V, SG_FP64, optimizer.kind);
        double *z = random_logits(V, 6, 2), sum = 0, size = 0, was[V];
        set_logits(rows, 0, z);
        sg_rows_get_logits(rows, 0, was);
        for (uint32_t step = 1; step <= STEPS; step++) {
            int32_t tokens[SAMPLES];
            double pushes[SAMPLES];
            make_samples(step, V, tokens, pushes);
            sg_rows_update(rows, &optimizer, step, 0, 1, SAMPLES, tokens, pushes, NULL);
        }
        sg_rows_get_logits(rows, 0, z);
        for (size_t i = 0; i < V; i++) {
            sum += z[i] - was[i];
            size += fabs(z[i] - was[i]);
        }
        ck_assert_double_gt(size, 0.1);
        if (optimizer.kind == SG_COUPLED_ADAM)
            ck_assert_double_le(fabs(sum), 1e-10 * size);
        else
            ck_assert_double_gt(fabs(sum), 1e-2 * size);
        free(z);
        sg_rows_free(rows);
    }
}
END_TEST

/* By hand: V = 4, logits 0, one push -1 on token 2: g = (1/4, 1/4, -3/4, 1/4), mean of g^2 3/16. */
START_TEST(first_step_of_coupled_adam_by_hand)
{
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        sg_rows *rows = rows_new(1, 4, precision, SG_COUPLED_ADAM);
        sg_optimizer coupled = {SG_COUPLED_ADAM, 0.1, 0.9, 0.999, 0, 0};
        int32_t token = 2;
        double push = -1, z[4], tolerance = precision == SG_FP32 ? 1e-7 : 1e-15;
        sg_rows_update(rows, &coupled, 1, 0, 1, 1, &token, &push, NULL);
        sg_rows_get_logits(rows, 0, z);
        ck_assert_double_eq_tol(z[0], 0.1 * 0.25 / sqrt(3.0 / 16), tolerance);
        ck_assert_double_eq_tol(z[2], -3 * 0.1 * 0.25 / sqrt(3.0 / 16), 2 * tolerance);
        sg_rows_free(rows);
    }
}
END_TEST

/* Without pushes all logits fade by 1 - lr weight_decay a step, the constant like the others. */
START_TEST(weight_decay_alone_shrinks_every_logit)
{
    enum { V = 3000, TIMES = 50 };
    for (int precision = SG_FP32; precision <= SG_FP64; precision++) {
        sg_rows *rows = rows_new(1, V, precision, SG_ADAMW);
        sg_optimizer adamw = {SG_ADAMW, 0.1, 0.9, 0.999, 1e-8, 0.2};
        double *z = random_logits(V, 7, 3), now[V], left = pow(1 - 0.1 * 0.2, TIMES);
        for (size_t i = 0; i < V; i++)
            z[i] += 40;
        z[5] = -INFINITY;
        set_logits(rows, 0, z);
        for (uint32_t step = 1; step <= TIMES; step++)
            sg_rows_update(rows, &adamw, step, 0, 1, 0, NULL, NULL, NULL);
        sg_rows_get_logits(rows, 0, now);
        ck_assert_double_infinite(now[5]);
        for (size_t i = 0; i < V; i++)
            if (i != 5)
                ck_assert_double_eq_tol(now[i], left * z[i],
                                        precision == SG_FP32 ? TIMES * 2e-7 : TIMES * 1e-14);
        free(z);
        sg_rows_free(rows);
    }
}
END_TEST

/* adamw without decay is adam, to the bit. */
START_TEST(no_decay_is_adam)
{
    size_t length;
    sg_optimizer adam = optimizers[2], adamw = adam;
    adamw.kind = SG_ADAMW;
    double *a = scenario(2, 5000, SG_FP32, &adam, true, &length);
    double *b = scenario(2, 5000, SG_FP32, &adamw, true, &length);
    ck_assert_mem_eq(a, b, length * sizeof *a);
    free(a);
    free(b);
}
END_TEST

START_TEST(copies_carry_the_optimiser_state)
{
    sg_optimizer adam = optimizers[_i];
    sg_rows *a = rows_new(3, 2000, SG_FP32, adam.kind), *b = rows_new(3, 2000, SG_FP32, adam.kind);
    int32_t tokens[] = {4, 5, 6};
    double pushes[] = {1, -2, 0.5}, za[2000], zb[2000];
    sg_rows_update(a, &adam, 1, 0, 3, 1, tokens, pushes, NULL);
    sg_rows_copy(b, a);
    sg_rows_update(a, &adam, 2, 0, 3, 1, tokens, pushes, NULL);
    sg_rows_update(b, &adam, 2, 0, 3, 1, tokens, pushes, NULL);
    for (size_t s = 0; s < 3; s++) {
        sg_rows_get_logits(a, s, za);
        sg_rows_get_logits(b, s, zb);
        ck_assert_mem_eq(za, zb, sizeof za);
    }
    sg_rows_free(a);
    sg_rows_free(b);
}
END_TEST

START_TEST(wrong_configurations_are_refused)
{
    sg_rows_config good = {1, 1000, 20, SG_FP32, SG_SGD}, bad = good;
    sg_rows *rows = NULL;
    sg_error error;
    bad.states = 0;
    ck_assert_int_eq(sg_rows_alloc(&rows, backend_under_test(), &bad, &error), SG_EARGUMENT);
    bad = good;
    bad.vocabulary = 1;
    ck_assert_int_eq(sg_rows_alloc(&rows, backend_under_test(), &bad, &error), SG_EARGUMENT);
    bad = good;
    bad.head = 1001;
    ck_assert_int_eq(sg_rows_alloc(&rows, backend_under_test(), &bad, &error), SG_EARGUMENT);
    bad = good;
    bad.states = SIZE_MAX / 4096;
    ck_assert_int_eq(sg_rows_alloc(&rows, backend_under_test(), &bad, &error), SG_ENOMEM);
    ck_assert_ptr_null(rows);
    if (sg_cuda_use(&error) != SG_OK) /* no CUDA here: one sentence, whatever the reason */
        ck_assert_int_eq(sg_rows_alloc(&rows, SG_BACKEND_CUDA, &good, &error), error.status);
    ck_assert_int_eq(sg_rows_alloc(&rows, backend_under_test(), &good, &error), SG_OK);
    double z[1000] = {0};
    z[3] = NAN;
    ck_assert_int_eq(sg_rows_set_logits(rows, 0, z, &error), SG_EDATA);
    for (size_t i = 0; i < 1000; i++)
        z[i] = -INFINITY;
    ck_assert_int_eq(sg_rows_set_logits(rows, 0, z, &error), SG_EDATA);
    sg_rows_free(rows);
    sg_rows_free(NULL);
}
END_TEST

START_TEST(memory_stays_near_the_parameters)
{
    static const double arrays[] = {1, 2, 3, 3, 2};
    for (int kind = SG_SGD; kind <= SG_COUPLED_ADAM; kind++) {
        sg_rows_config config = {4, 131072, 20, SG_FP32, (sg_optimizer_kind)kind};
        double parameters = 4.0 * 131072 * sizeof(float) * arrays[kind];
        ck_assert_double_le((double)sg_rows_bytes(&config), 1.05 * parameters);
    }
}
END_TEST

Suite *rows_suite(void);
Suite *rows_suite(void)
{
    Suite *suite = suite_create("rows");
    TCase *tests = tcase_create("conformance");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, value_by_hand);
    tcase_add_loop_test(tests, fp64_updates_match_the_textbook, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, fp32_updates_stay_within_their_bound, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, results_do_not_depend_on_threads, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, results_do_not_depend_on_the_instruction_set, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, watching_an_update_does_not_change_it, 0, OPTIMIZERS);
    tcase_add_test(tests, draws_are_the_inverse_cdf);
    tcase_add_test(tests, draws_avoid_tokens_of_no_mass);
    tcase_add_test(tests, observations_match_the_textbook);
    tcase_add_test(tests, large_steps_neither_overflow_nor_empty_a_row);
    tcase_add_test(tests, offset_follows_a_long_drift);
    tcase_add_test(tests, rounding_residue_moves_nobody);
    tcase_add_test(tests, fp32_adam_sees_tiny_gradients);
    tcase_add_test(tests, inner_updates_are_the_separate_calls);
    tcase_add_test(tests, coupled_adam_keeps_the_sum_of_a_row);
    tcase_add_test(tests, first_step_of_coupled_adam_by_hand);
    tcase_add_test(tests, weight_decay_alone_shrinks_every_logit);
    tcase_add_test(tests, no_decay_is_adam);
    tcase_add_loop_test(tests, copies_carry_the_optimiser_state, 0, OPTIMIZERS);
    tcase_add_test(tests, wrong_configurations_are_refused);
    tcase_add_test(tests, memory_stays_near_the_parameters);
    suite_add_tcase(suite, tests);
    return suite;
}
