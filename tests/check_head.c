/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The linear output layer against a textbook in fp64 that stores every logit. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cuda/device.h"
#include "core/rng.h"
#include "policy/head.h"
#include "policy/net_matrix.h"
#include "run_suites.h"

/* A device may be emulated, which is slow. */
static bool small(void)
{
    return backend_under_test() == SG_BACKEND_CUDA;
}

/* One problem in both precisions; the textbook uses the rounded numbers of fp32. */
typedef struct problem {
    size_t vocabulary, width, rows, count, head_tokens;
    double sharpness;
    double *weights, *bias, *hidden, *pushes;
    float *weights32, *bias32, *hidden32;
    int32_t *tokens;
    uint32_t *row;
    double *logits, *log_norm; /* textbook */
} problem;

static double normal(uint32_t what, size_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){3, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i}, pair);
    return pair[0];
}

static double uniform(uint32_t what, size_t i)
{
    return sg_rng_uniform((sg_address){4, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i});
}

static void fill(double **wide, float **narrow, uint32_t what, size_t n, double scale)
{
    *wide = malloc(n * sizeof **wide);
    *narrow = malloc(n * sizeof **narrow);
    for (size_t i = 0; i < n; i++)
        (*wide)[i] = (*narrow)[i] = (float)(scale * normal(what, i));
}

static problem problem_new(size_t vocabulary, size_t width, size_t rows, size_t count,
                           double sharpness)
{
    problem p = {vocabulary, width, rows, count, vocabulary / 3 + 1, sharpness, .row = NULL};
    fill(&p.weights, &p.weights32, 1, vocabulary * width, 2 / sqrt((double)width));
    fill(&p.bias, &p.bias32, 2, vocabulary, 1);
    fill(&p.hidden, &p.hidden32, 3, rows * width, 1);
    p.pushes = malloc(count * sizeof *p.pushes);
    p.tokens = malloc(count * sizeof *p.tokens);
    p.row = malloc(count * sizeof *p.row);
    for (size_t i = 0; i < count; i++) {
        p.row[i] = (uint32_t)(uniform(4, i) * (double)rows);
        p.tokens[i] = (int32_t)(uniform(5, i) * uniform(6, i) * (double)vocabulary);
        p.pushes[i] = p.row[i] % 5 == 1 ? 0 : normal(7, i);
    }
    p.logits = malloc(rows * vocabulary * sizeof *p.logits);
    p.log_norm = malloc(rows * sizeof *p.log_norm);
    for (size_t r = 0; r < rows; r++) {
        double *z = p.logits + r * vocabulary, max = -INFINITY, sum = 0;
        for (size_t v = 0; v < vocabulary; v++) {
            z[v] = p.bias[v];
            for (size_t k = 0; k < width; k++)
                z[v] += p.weights[v * width + k] * p.hidden[r * width + k];
            z[v] *= sharpness;
            max = fmax(max, z[v]);
        }
        for (size_t v = 0; v < vocabulary; v++)
            sum += exp(z[v] - max);
        p.log_norm[r] = max + log(sum);
    }
    return p;
}

static void problem_free(problem *p)
{
    void *all[] = {p->weights,  p->bias,   p->hidden, p->pushes, p->weights32, p->bias32,
                   p->hidden32, p->tokens, p->row,    p->logits, p->log_norm};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static sg_head head_of(const problem *p, sg_precision precision)
{
    bool narrow = precision == SG_FP32;
    return (sg_head){p->vocabulary,
                     p->width,
                     p->head_tokens,
                     precision,
                     p->sharpness,
                     narrow ? (const void *)p->weights32 : p->weights,
                     narrow ? (const void *)p->bias32 : p->bias,
                     false,
                     NULL};
}

static const void *hidden_of(const problem *p, sg_precision precision)
{
    return precision == SG_FP32 ? (const void *)p->hidden32 : p->hidden;
}

static double probability(const problem *p, size_t row, size_t token)
{
    return exp(p->logits[row * p->vocabulary + token] - p->log_norm[row]);
}

typedef struct result {
    double *log_prob;
    void *weights, *bias, *hidden;
} result;

static result solve(const problem *p, sg_precision precision, sg_diffuse diffuse)
{
    size_t real = sg_real_size(precision);
    result r = {malloc(p->count * sizeof(double)), malloc(p->vocabulary * p->width * real),
                malloc(p->vocabulary * real), malloc(p->rows * p->width * real)};
    sg_head head = head_of(p, precision);
    sg_head_samples samples = {p->count, p->tokens, p->row};
    sg_head_gradient gradient = {r.weights, r.bias, r.hidden, NULL};
    sg_head_pass *pass = sg_head_pass_alloc(backend_under_test());
    const void *hidden = hidden_of(p, precision);
    ck_assert(!sg_head_forward(pass, &head, hidden, p->rows, &samples, r.log_prob, NULL));
    ck_assert(
        !sg_head_backward(pass, &head, hidden, &samples, p->pushes, diffuse, &gradient, NULL));
    sg_head_pass_free(pass);
    return r;
}

static void result_free(result *r)
{
    free(r->log_prob);
    free(r->weights);
    free(r->bias);
    free(r->hidden);
}

static double get(const void *array, sg_precision precision, size_t i)
{
    return precision == SG_FP32 ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

/* Greatest difference over the greatest element of the textbook. */
static double distance(const void *array, sg_precision precision, const double *truth, size_t n)
{
    double most = 0, size = 1e-300;
    for (size_t i = 0; i < n; i++) {
        double apart = fabs(get(array, precision, i) - truth[i]);
        most = apart > most || apart != apart ? apart : most;
        size = fmax(size, fabs(truth[i]));
    }
    return most / size;
}

/* Textbook gradients with the diffuse part kept for the weights or the features. */
static void textbook(const problem *p, bool for_weights, bool for_hidden, double *dw, double *db,
                     double *dh)
{
    size_t d = p->width, v_count = p->vocabulary;
    memset(dw, 0, v_count * d * sizeof *dw);
    memset(db, 0, v_count * sizeof *db);
    memset(dh, 0, p->rows * d * sizeof *dh);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t v = 0; v < v_count; v++) {
            double sampled = 0, total = 0;
            for (size_t i = 0; i < p->count; i++)
                if (p->row[i] == r) {
                    total += p->pushes[i];
                    sampled += p->tokens[i] == (int32_t)v ? p->pushes[i] : 0;
                }
            double diffuse = total * probability(p, r, v);
            double gw = p->sharpness * (sampled - (for_weights ? diffuse : 0));
            double gh = p->sharpness * (sampled - (for_hidden ? diffuse : 0));
            db[v] += gw;
            for (size_t k = 0; k < d; k++) {
                dw[v * d + k] += gw * p->hidden[r * d + k];
                dh[r * d + k] += gh * p->weights[v * d + k];
            }
        }
}

static const struct shape {
    size_t vocabulary, width, rows, count;
    double sharpness;
} shapes[] = {{2, 1, 1, 3, 1},      {5, 3, 2, 1, 1},         {255, 7, 3, 40, 1},
              {256, 32, 1, 5, 2},   {257, 33, 97, 300, 0.7}, {1000, 40, 200, 130, 1},
              {3001, 17, 12, 64, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static problem problem_at(int i)
{
    struct shape s = shapes[i];
    return problem_new(s.vocabulary, s.width, s.rows, s.count, s.sharpness);
}

START_TEST(log_probabilities_and_gradients_are_those_of_the_textbook)
{
    problem p = problem_at(_i / 3);
    sg_diffuse diffuse = (sg_diffuse)(_i % 3);
    double *dw = malloc(p.vocabulary * p.width * sizeof *dw);
    double *db = malloc(p.vocabulary * sizeof *db), *dh = malloc(p.rows * p.width * sizeof *dh);
    textbook(&p, diffuse == SG_DIFFUSE_KEEP, diffuse != SG_DIFFUSE_DROP, dw, db, dh);
    const double allowed[2] = {4e-6, 1e-13};
    for (int precision = 0; precision < 2; precision++) {
        sg_precision real = (sg_precision)precision;
        result r = solve(&p, real, diffuse);
        for (size_t i = 0; i < p.count; i++) {
            double z = p.logits[p.row[i] * p.vocabulary + (size_t)p.tokens[i]];
            ck_assert_double_eq_tol(r.log_prob[i], z - p.log_norm[p.row[i]], allowed[precision]);
        }
        ck_assert_double_le(distance(r.weights, real, dw, p.vocabulary * p.width),
                            allowed[precision]);
        ck_assert_double_le(distance(r.bias, real, db, p.vocabulary), allowed[precision]);
        ck_assert_double_le(distance(r.hidden, real, dh, p.rows * p.width), allowed[precision]);
        result_free(&r);
    }
    free(dw);
    free(db);
    free(dh);
    problem_free(&p);
}
END_TEST

START_TEST(pushes_of_zero_give_gradients_of_zero)
{
    problem p = problem_at(3);
    memset(p.pushes, 0, p.count * sizeof *p.pushes);
    for (int diffuse = 0; diffuse < 3; diffuse++) {
        result r = solve(&p, SG_FP32, (sg_diffuse)diffuse);
        for (size_t i = 0; i < p.vocabulary * p.width; i++)
            ck_assert_double_eq(get(r.weights, SG_FP32, i), 0);
        for (size_t i = 0; i < p.rows * p.width; i++)
            ck_assert_double_eq(get(r.hidden, SG_FP32, i), 0);
        result_free(&r);
    }
    problem_free(&p);
}
END_TEST

/* The bound that head.h states. */
START_TEST(single_precision_keeps_its_bound_at_full_size)
{
    problem p = small() ? problem_new(4096, 64, 2, 64, 1) : problem_new(32768, 256, 2, 64, 1);
    result single = solve(&p, SG_FP32, SG_DIFFUSE_KEEP), twin = solve(&p, SG_FP64, SG_DIFFUSE_KEEP);
    for (size_t i = 0; i < p.count; i++) {
        double z = p.logits[p.row[i] * p.vocabulary + (size_t)p.tokens[i]];
        ck_assert_double_eq_tol(twin.log_prob[i], z - p.log_norm[p.row[i]], 1e-12);
        ck_assert_double_eq_tol(single.log_prob[i], twin.log_prob[i], 4e-6);
    }
    ck_assert_double_le(distance(single.weights, SG_FP32, twin.weights, p.vocabulary * p.width),
                        3e-6);
    ck_assert_double_le(distance(single.hidden, SG_FP32, twin.hidden, p.rows * p.width), 3e-6);
    result_free(&single);
    result_free(&twin);
    problem_free(&p);
}
END_TEST

/* The same bits on one thread and on three, and on every instruction set of this machine. */
START_TEST(results_are_the_same_bits_everywhere)
{
    sg_precision precision = (sg_precision)_i;
    size_t real = sg_real_size(precision);
    problem p =
        small() ? problem_new(1300, 20, 70, 200, 1.5) : problem_new(3000, 70, 130, 500, 1.5);
    result first = {0};
    const char *isas[] = {"avx512", "avx2", "portable"};
    for (int k = 0; k < 6; k++) {
        setenv("SOFTGATE_ISA", isas[k / 2], 1);
#ifdef _OPENMP
        omp_set_num_threads(k % 2 ? 3 : 1);
#endif
        result r = solve(&p, precision, SG_DIFFUSE_KEEP);
        if (k == 0) {
            first = r;
            continue;
        }
        ck_assert_mem_eq(r.log_prob, first.log_prob, p.count * sizeof(double));
        ck_assert_mem_eq(r.weights, first.weights, p.vocabulary * p.width * real);
        ck_assert_mem_eq(r.bias, first.bias, p.vocabulary * real);
        ck_assert_mem_eq(r.hidden, first.hidden, p.rows * p.width * real);
        result_free(&r);
    }
    unsetenv("SOFTGATE_ISA");
    result_free(&first);
    problem_free(&p);
}
END_TEST

START_TEST(observations_are_sums_over_the_whole_vocabulary)
{
    problem p = problem_at(_i);
    for (int precision = 0; precision < 2; precision++) {
        double allowed = precision == SG_FP32 ? 2e-5 : 1e-11;
        sg_head head = head_of(&p, (sg_precision)precision);
        const void *hidden = hidden_of(&p, (sg_precision)precision);
        sg_head_pass *pass = sg_head_pass_alloc(backend_under_test());
        sg_row_observation *seen = malloc(p.rows * sizeof *seen);
        ck_assert(!sg_head_forward(pass, &head, hidden, p.rows, NULL, NULL, NULL));
        ck_assert(!sg_head_observe(pass, &head, hidden, seen, NULL));
        for (size_t r = 0; r < p.rows; r++) {
            double h = 0, tail_h = 0, tail = 0, c = 0, max = 0, low = INFINITY, high = -INFINITY;
            double head_h = 0;
            for (size_t v = 0; v < p.vocabulary; v++) {
                double pi = probability(&p, r, v), z = p.logits[r * p.vocabulary + v];
                h -= pi * log(pi);
                tail += v >= p.head_tokens ? pi : 0;
                tail_h -= v >= p.head_tokens ? pi * log(pi) : 0;
                c += pi * pi;
                max = fmax(max, pi);
                low = fmin(low, z);
                high = fmax(high, z);
            }
            for (size_t v = 0; v < p.head_tokens; v++) {
                double pi = probability(&p, r, v) / (1 - tail);
                head_h -= pi * log(pi);
            }
            ck_assert_double_eq_tol(seen[r].entropy, h, allowed);
            ck_assert_double_eq_tol(seen[r].tail_mass, tail, allowed);
            ck_assert_double_eq_tol(seen[r].tail_entropy_share, tail_h / h, allowed);
            ck_assert_double_eq_tol(seen[r].head_entropy, head_h, allowed);
            ck_assert_double_eq_tol(seen[r].collision, c, allowed);
            ck_assert_double_eq_tol(seen[r].max_prob, max, allowed);
            ck_assert_double_eq_tol(seen[r].logit_range, high - low, allowed);
            ck_assert_uint_eq(seen[r].underflowed, 0);
        }
        free(seen);
        sg_head_pass_free(pass);
    }
    problem_free(&p);
}
END_TEST

START_TEST(divergences_are_sums_over_the_whole_vocabulary)
{
    problem p = problem_at(5), q = problem_at(5);
    const double steps[] = {1e-6, 1e-2, 3};
    for (size_t i = 0; i < q.rows * q.width; i++)
        q.hidden[i] += steps[_i] * normal(9, i);
    sg_head_pass *a = sg_head_pass_alloc(backend_under_test()),
                 *b = sg_head_pass_alloc(backend_under_test());
    sg_head head = head_of(&p, SG_FP64);
    sg_divergence *seen = malloc(p.rows * sizeof *seen);
    ck_assert(!sg_head_forward(a, &head, p.hidden, p.rows, NULL, NULL, NULL));
    ck_assert(!sg_head_forward(b, &head, q.hidden, q.rows, NULL, NULL, NULL));
    ck_assert(!sg_head_diverge(a, &head, p.hidden, b, &head, q.hidden, seen, NULL));
    for (size_t r = 0; r < p.rows; r++) {
        long double ab = 0, ba = 0, tv = 0, norm_q = 0, norm_p = 0, zq[1000];
        for (size_t v = 0; v < p.vocabulary; v++) {
            zq[v] = q.bias[v];
            for (size_t k = 0; k < q.width; k++)
                zq[v] += (long double)q.weights[v * q.width + k] * q.hidden[r * q.width + k];
            norm_q += expl(zq[v]);
            norm_p += expl(p.logits[r * p.vocabulary + v]);
        }
        for (size_t v = 0; v < p.vocabulary; v++) {
            long double lp = p.logits[r * p.vocabulary + v] - logl(norm_p);
            long double lq = zq[v] - logl(norm_q);
            ab += expl(lp) * (lp - lq);
            ba += expl(lq) * (lq - lp);
            tv += fabsl(expl(lp) - expl(lq)) / 2;
        }
        double allowed = 1e-17 + 1e-7 * (double)ab;
        ck_assert_double_eq_tol(seen[r].kl_ab, (double)ab, allowed);
        ck_assert_double_eq_tol(seen[r].kl_ba, (double)ba, allowed);
        ck_assert_double_eq_tol(seen[r].total_variation, (double)tv, 1e-12);
    }
    free(seen);
    sg_head_pass_free(a);
    sg_head_pass_free(b);
    problem_free(&p);
    problem_free(&q);
}
END_TEST

/* What has risen most becomes a sample, so that something else has risen most. */
START_TEST(rises_leave_samples_out)
{
    problem p = problem_at(_i), q = problem_at(_i);
    enum { ROUNDS = 4 };
    int32_t tokens[ROUNDS];
    uint32_t row[ROUNDS];
    for (size_t i = 0; i < q.rows * q.width; i++)
        q.hidden[i] += 0.1 * normal(9, i);
    sg_head_pass *a = sg_head_pass_alloc(backend_under_test()),
                 *b = sg_head_pass_alloc(backend_under_test());
    sg_head head = head_of(&p, SG_FP64), plain = head;
    plain.sharpness = 1;
    ck_assert(!sg_head_forward(a, &head, p.hidden, p.rows, NULL, NULL, NULL));
    ck_assert(!sg_head_forward(b, &head, q.hidden, q.rows, NULL, NULL, NULL));
    for (size_t round = 0; round < ROUNDS; round++) {
        double most = 0, seen;
        for (size_t r = 0; r < p.rows; r++)
            for (size_t v = 0; v < p.vocabulary; v++) {
                double rise = 0;
                for (size_t k = 0; k < p.width; k++)
                    rise += p.weights[v * p.width + k] *
                            (q.hidden[r * p.width + k] - p.hidden[r * p.width + k]);
                for (size_t s = 0; s < round; s++)
                    rise = row[s] == r && tokens[s] == (int32_t)v ? 0 : rise;
                if (rise > most) {
                    most = rise;
                    row[round] = (uint32_t)r;
                    tokens[round] = (int32_t)v;
                }
            }
        sg_head_samples samples = {round, tokens, row};
        ck_assert(!sg_head_rise(a, &plain, p.hidden, b, &plain, q.hidden, &samples, &seen, NULL));
        ck_assert_double_eq_tol(seen, most, 1e-13);
        if (most == 0)
            break;
    }
    sg_head_pass_free(a);
    sg_head_pass_free(b);
    problem_free(&p);
    problem_free(&q);
}
END_TEST

/* A uniform that lies a hair below or above the cumulated probability of a token draws that token
 * or the next, so the draw is the inverse CDF. */
START_TEST(draws_invert_the_cumulated_probabilities)
{
    problem p = problem_at(_i);
    for (int precision = 0; precision < 2; precision++) {
        double hair = precision == SG_FP32 ? 4e-6 : 1e-12;
        sg_head head = head_of(&p, (sg_precision)precision);
        const void *hidden = hidden_of(&p, (sg_precision)precision);
        sg_head_pass *pass = sg_head_pass_alloc(backend_under_test());
        ck_assert(!sg_head_forward(pass, &head, hidden, p.rows, NULL, NULL, NULL));
        enum { DRAWS = 200 };
        uint32_t row[DRAWS];
        double u[DRAWS], log_prob[DRAWS];
        int32_t tokens[DRAWS];
        for (size_t i = 0; i < DRAWS; i++) {
            row[i] = (uint32_t)(i % p.rows);
            u[i] = uniform(11, i);
        }
        u[0] = 1 - 0x1p-53;
        u[1] = 0x1p-53;
        ck_assert(!sg_head_draw(pass, &head, hidden, DRAWS, row, u, tokens, log_prob, NULL));
        for (size_t i = 0; i < DRAWS; i++) {
            ck_assert_int_ge(tokens[i], 0);
            ck_assert_int_lt(tokens[i], (int)p.vocabulary);
            double below = 0, own = probability(&p, row[i], (size_t)tokens[i]);
            for (int32_t v = 0; v < tokens[i]; v++)
                below += probability(&p, row[i], (size_t)v);
            ck_assert_double_ge(u[i], below - hair);
            ck_assert_double_le(u[i], below + own + hair);
            ck_assert_double_eq_tol(log_prob[i], log(own), precision == SG_FP32 ? 4e-6 : 1e-12);
        }
        sg_head_pass_free(pass);
    }
    problem_free(&p);
}
END_TEST

/* Chi-square of 20000 draws in 20 classes; a right sampler fails with probability 1e-6 (19 degrees
 * of freedom, critical values 64.4 and 2.0), but the seed is fixed. */
START_TEST(draws_follow_the_distribution)
{
    problem p = problem_new(600, 8, 1, 1, 1);
    enum { DRAWS = 20000, CLASSES = 20 };
    size_t draws = small() ? 1000 : DRAWS;
    sg_head head = head_of(&p, SG_FP32);
    sg_head_pass *pass = sg_head_pass_alloc(backend_under_test());
    uint32_t *row = calloc(DRAWS, sizeof *row);
    double *u = malloc(DRAWS * sizeof *u), seen[CLASSES] = {0}, expected[CLASSES] = {0};
    int32_t *tokens = malloc(DRAWS * sizeof *tokens);
    for (size_t i = 0; i < draws; i++)
        u[i] = uniform(12, i);
    ck_assert(!sg_head_forward(pass, &head, p.hidden32, 1, NULL, NULL, NULL));
    ck_assert(!sg_head_draw(pass, &head, p.hidden32, draws, row, u, tokens, NULL, NULL));
    for (size_t i = 0; i < draws; i++)
        seen[tokens[i] % CLASSES]++;
    for (size_t v = 0; v < p.vocabulary; v++)
        expected[v % CLASSES] += (double)draws * probability(&p, 0, v);
    double chi2 = 0;
    for (int c = 0; c < CLASSES; c++)
        chi2 += (seen[c] - expected[c]) * (seen[c] - expected[c]) / expected[c];
    ck_assert_double_lt(chi2, 64.4);
    ck_assert_double_gt(chi2, 2.0); /* as unlikely on the other side */
    free(row);
    free(u);
    free(tokens);
    sg_head_pass_free(pass);
    problem_free(&p);
}
END_TEST

START_TEST(whole_rows_of_logits_are_the_same_bits_as_tiles)
{
    problem p = problem_at(5);
    sg_head head = head_of(&p, SG_FP64);
    size_t lead = sg_head_padded(&head);
    double *z = malloc(3 * lead * sizeof *z), *log_prob = malloc(p.count * sizeof *log_prob);
    sg_head_pass *pass = sg_head_pass_alloc(backend_under_test());
    sg_head_samples samples = {p.count, p.tokens, p.row};
    ck_assert(!sg_head_forward(pass, &head, p.hidden, p.rows, &samples, log_prob, NULL));
    ck_assert(!sg_head_logits(pass, &head, p.hidden, 50, 3, z, NULL));
    int met = 0;
    for (size_t i = 0; i < p.count; i++)
        if (p.row[i] >= 50 && p.row[i] < 53) {
            double own = z[(p.row[i] - 50) * lead + (size_t)p.tokens[i]];
            ck_assert_double_eq(own - sg_head_log_norm(pass, p.row[i]), log_prob[i]);
            met++;
        }
    ck_assert_int_gt(met, 0);
    ck_assert_double_eq(z[p.vocabulary], -INFINITY);
    free(z);
    free(log_prob);
    sg_head_pass_free(pass);
    problem_free(&p);
}
END_TEST

START_TEST(not_a_number_shows)
{
    problem p = problem_at(4);
    p.hidden[p.width] = NAN;
    result r = solve(&p, SG_FP64, SG_DIFFUSE_KEEP);
    int met = 0;
    for (size_t i = 0; i < p.count; i++) {
        ck_assert_int_eq(isnan(r.log_prob[i]), p.row[i] == 1);
        met += p.row[i] == 1;
    }
    ck_assert_int_gt(met, 0);
    result_free(&r);
    problem_free(&p);
}
END_TEST

START_TEST(a_build_without_cuda_says_so)
{
    if (sg_cuda_built())
        return;
    problem p = problem_at(1);
    sg_head head = head_of(&p, SG_FP32);
    sg_error error;
    sg_head_pass *pass = sg_head_pass_alloc(SG_BACKEND_CUDA);
    ck_assert_int_eq(sg_head_forward(pass, &head, p.hidden32, p.rows, NULL, NULL, &error),
                     SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "was built without CUDA"));
    sg_head_pass_free(pass);
    problem_free(&p);
}
END_TEST

Suite *head_suite(void);
Suite *head_suite(void)
{
    Suite *suite = suite_create("head");
    TCase *tests = tcase_create("head");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, log_probabilities_and_gradients_are_those_of_the_textbook, 0,
                        SHAPES * 3);
    tcase_add_test(tests, pushes_of_zero_give_gradients_of_zero);
    tcase_add_test(tests, single_precision_keeps_its_bound_at_full_size);
    tcase_add_loop_test(tests, results_are_the_same_bits_everywhere, 0, 2);
    tcase_add_loop_test(tests, observations_are_sums_over_the_whole_vocabulary, 0, SHAPES);
    tcase_add_loop_test(tests, divergences_are_sums_over_the_whole_vocabulary, 0, 3);
    tcase_add_loop_test(tests, rises_leave_samples_out, 0, SHAPES);
    tcase_add_loop_test(tests, draws_invert_the_cumulated_probabilities, 0, SHAPES);
    tcase_add_test(tests, draws_follow_the_distribution);
    tcase_add_test(tests, whole_rows_of_logits_are_the_same_bits_as_tiles);
    tcase_add_test(tests, not_a_number_shows);
    tcase_add_test(tests, a_build_without_cuda_says_so);
    suite_add_tcase(suite, tests);
    return suite;
}
