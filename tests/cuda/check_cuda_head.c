/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The output layer on the device beside the CPU's: bits where bits are promised, and chunks of any
 * size. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/head.h"
#include "core/rng.h"
#include "policy/head.h"
#include "policy/net_matrix.h"
#include "policy/net_policy.h"

enum { V = 2600, WIDTH = 12, ROWS = 7, COUNT = 90, DRAWS = 60 };

typedef struct problem {
    sg_precision precision;
    size_t real;
    void *weights, *bias, *hidden;
    int32_t tokens[COUNT];
    uint32_t row[COUNT];
    double pushes[COUNT];
} problem;

static double normal(uint32_t what, size_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){8, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i}, pair);
    return pair[0];
}

static double uniform(uint32_t what, size_t i)
{
    return sg_rng_uniform((sg_address){9, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i});
}

static void *normals(const problem *p, uint32_t what, size_t n, double scale)
{
    void *x = malloc(n * p->real);
    for (size_t i = 0; i < n; i++)
        if (p->precision == SG_FP32)
            ((float *)x)[i] = (float)(scale * normal(what, i));
        else
            ((double *)x)[i] = scale * normal(what, i);
    return x;
}

/* Tokens repeat within rows; row 3 has samples, but no push, and row 5 no samples. */
static problem problem_new(sg_precision precision)
{
    problem p = {.precision = precision, .real = sg_real_size(precision)};
    p.weights = normals(&p, 1, V * WIDTH, 0.6);
    p.bias = normals(&p, 2, V, 1);
    p.hidden = normals(&p, 3, ROWS * WIDTH, 1);
    for (size_t i = 0; i < COUNT; i++) {
        p.row[i] = (uint32_t)(uniform(4, i) * 5);
        p.row[i] += p.row[i] == 4 ? 2 : 0;
        p.tokens[i] = i % 3 == 0 ? 2055 : (int32_t)(uniform(5, i) * V);
        p.pushes[i] = p.row[i] == 3 ? 0 : normal(6, i);
    }
    return p;
}

static void problem_free(problem *p)
{
    free(p->weights);
    free(p->bias);
    free(p->hidden);
}

static sg_head head_of(const problem *p)
{
    return (sg_head){V, WIDTH, 700, p->precision, 1.5, p->weights, p->bias, false, NULL};
}

typedef struct result {
    double log_prob[COUNT], drawn_log_prob[DRAWS], log_norm[ROWS];
    int32_t drawn[DRAWS];
    void *weights, *bias, *hidden, *logits;
    sg_row_observation seen[ROWS];
} result;

static void result_free(result *r)
{
    free(r->weights);
    free(r->bias);
    free(r->hidden);
    free(r->logits);
}

static result solve(const problem *p, sg_backend_kind backend, sg_diffuse diffuse)
{
    sg_head head = head_of(p);
    size_t lead = sg_head_padded(&head);
    result r = {.weights = malloc(V * WIDTH * p->real),
                .bias = malloc(V * p->real),
                .hidden = malloc(ROWS * WIDTH * p->real),
                .logits = malloc(3 * lead * p->real)};
    sg_head_samples samples = {COUNT, p->tokens, p->row};
    sg_head_gradient gradient = {r.weights, r.bias, r.hidden, NULL};
    sg_head_pass *pass = sg_head_pass_alloc(backend);
    double u[DRAWS];
    uint32_t row[DRAWS];
    for (size_t i = 0; i < DRAWS; i++) {
        u[i] = uniform(7, i);
        row[i] = (uint32_t)(i % ROWS);
    }
    ck_assert(!sg_head_forward(pass, &head, p->hidden, ROWS, &samples, r.log_prob, NULL));
    ck_assert(
        !sg_head_draw(pass, &head, p->hidden, DRAWS, row, u, r.drawn, r.drawn_log_prob, NULL));
    ck_assert(!sg_head_logits(pass, &head, p->hidden, 2, 3, r.logits, NULL));
    ck_assert(!sg_head_observe(pass, &head, p->hidden, r.seen, NULL));
    ck_assert(
        !sg_head_backward(pass, &head, p->hidden, &samples, p->pushes, diffuse, &gradient, NULL));
    for (size_t i = 0; i < ROWS; i++)
        r.log_norm[i] = sg_head_log_norm(pass, i);
    sg_head_pass_free(pass);
    return r;
}

static double get(const void *array, sg_precision precision, size_t i)
{
    return precision == SG_FP32 ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

static void assert_near(const problem *p, const void *a, const void *b, size_t n, double allowed)
{
    double size = 0;
    for (size_t i = 0; i < n; i++)
        size = fmax(size, fabs(get(b, p->precision, i)));
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq_tol(get(a, p->precision, i), get(b, p->precision, i), allowed * size);
}

START_TEST(device_and_processor_agree_in_bits_where_sums_have_one_order)
{
    problem p = problem_new((sg_precision)(_i / 3));
    sg_diffuse diffuse = (sg_diffuse)(_i % 3);
    result cpu = solve(&p, SG_BACKEND_CPU, diffuse), cuda = solve(&p, SG_BACKEND_CUDA, diffuse),
           again = solve(&p, SG_BACKEND_CUDA, diffuse);
    double allowed = p.precision == SG_FP32 ? 1e-6 : 1e-15;
    ck_assert_mem_eq(cuda.log_norm, cpu.log_norm, sizeof cpu.log_norm);
    ck_assert_mem_eq(cuda.log_prob, cpu.log_prob, sizeof cpu.log_prob);
    ck_assert_mem_eq(cuda.drawn, cpu.drawn, sizeof cpu.drawn);
    ck_assert_mem_eq(cuda.drawn_log_prob, cpu.drawn_log_prob, sizeof cpu.drawn_log_prob);
    ck_assert_mem_eq(cuda.logits, cpu.logits,
                     3 * sg_head_padded(&(sg_head){.vocabulary = V}) * p.real);
    if (diffuse == SG_DIFFUSE_KEEP) {
        ck_assert_mem_eq(cuda.weights, cpu.weights, V * WIDTH * p.real);
        ck_assert_mem_eq(cuda.bias, cpu.bias, V * p.real);
    }
    assert_near(&p, cuda.weights, cpu.weights, V * WIDTH, allowed);
    assert_near(&p, cuda.bias, cpu.bias, V, allowed);
    assert_near(&p, cuda.hidden, cpu.hidden, ROWS * WIDTH, 2 * allowed);
    for (size_t i = 0; i < ROWS; i++) {
        ck_assert_double_eq_tol(cuda.seen[i].entropy, cpu.seen[i].entropy, 1e-13);
        ck_assert_double_eq_tol(cuda.seen[i].collision, cpu.seen[i].collision, 1e-14);
        ck_assert_double_eq(cuda.seen[i].max_prob, cpu.seen[i].max_prob);
        ck_assert_double_eq(cuda.seen[i].logit_range, cpu.seen[i].logit_range);
    }
    ck_assert_mem_eq(again.log_prob, cuda.log_prob, sizeof cuda.log_prob);
    ck_assert_mem_eq(again.weights, cuda.weights, V * WIDTH * p.real);
    ck_assert_mem_eq(again.bias, cuda.bias, V * p.real);
    ck_assert_mem_eq(again.hidden, cuda.hidden, ROWS * WIDTH * p.real);
    ck_assert_mem_eq(again.seen, cuda.seen, sizeof cuda.seen);
    result_free(&cpu);
    result_free(&cuda);
    result_free(&again);
    problem_free(&p);
}
END_TEST

static void *on_device(const void *from, size_t bytes)
{
    void *at;
    ck_assert(!sg_cuda_alloc(&at, bytes, "an array of a test", NULL));
    ck_assert(!sg_cuda_to_device(at, from, bytes, NULL, NULL));
    return at;
}

/* Parameters that are on the device, and gradients that stay there: log-probabilities, gradients, and what
 * copies of parameters are good for after these have changed. */
START_TEST(parameters_may_live_on_the_device)
{
    static const sg_matmul ways[] = {SG_MATMUL_SAME, SG_MATMUL_SAME, SG_MATMUL_TF32,
                                     SG_MATMUL_BF16};
    problem p = problem_new(_i / 2 == 1 ? SG_FP64 : SG_FP32);
    bool pushed = _i % 2;
    size_t weights = V * WIDTH * p.real, bias = V * p.real, features = ROWS * WIDTH * p.real;
    void *at[6] = {on_device(p.weights, weights), on_device(p.bias, bias),
                   on_device(p.weights, weights), on_device(p.bias, bias),
                   on_device(p.hidden, features), on_device(p.hidden, features)};
    ck_assert(!sg_cuda_stream_wait(NULL, NULL));
    char *got[2][3];
    double log_prob[2][COUNT];
    sg_divergence apart[2][ROWS];
    sg_head_samples samples = {COUNT, p.tokens, p.row};
    for (size_t i = 0; i < COUNT && !pushed; i++)
        p.pushes[i] = 0;
    for (int resident = 0; resident < 2; resident++) {
        sg_head head = head_of(&p), other = head;
        sg_head_pass *pass = sg_head_pass_alloc(SG_BACKEND_CUDA),
                     *after = sg_head_pass_alloc(SG_BACKEND_CUDA);
        ck_assert(!sg_head_pass_matmul(pass, ways[_i / 2], NULL));
        ck_assert(!sg_head_pass_matmul(after, ways[_i / 2], NULL));
        got[resident][0] = malloc(weights);
        got[resident][1] = malloc(bias);
        got[resident][2] = malloc(features);
        sg_head_gradient gradient = {got[resident][0], got[resident][1], got[resident][2], NULL};
        if (resident) {
            head.weights = other.weights = at[0];
            head.bias = other.bias = at[1];
            head.resident = other.resident = true;
            gradient.weights = at[2];
            gradient.bias = at[3];
            gradient.hidden = at[5];
        }
        const void *hidden = resident ? at[4] : p.hidden;
        ck_assert(!sg_head_forward(pass, &head, hidden, ROWS, &samples, log_prob[resident], NULL));
        ck_assert(!sg_head_backward(pass, &head, hidden, &samples, p.pushes, SG_DIFFUSE_KEEP,
                                    &gradient, NULL));
        if (resident) {
            ck_assert(!sg_cuda_from_device(got[1][0], at[2], weights, NULL, NULL));
            ck_assert(!sg_cuda_from_device(got[1][1], at[3], bias, NULL, NULL));
            ck_assert(!sg_cuda_from_device(got[1][2], at[5], features, NULL, NULL));
            /* The parameters move away, the weights' place gets others. */
            ck_assert(!sg_cuda_to_device(at[2], p.weights, weights, NULL, NULL));
            ck_assert(!sg_cuda_to_device(at[3], p.bias, bias, NULL, NULL));
            ck_assert(!sg_cuda_zero(at[0], weights, NULL, NULL));
            head.weights = at[2];
            head.bias = at[3];
            ck_assert(!sg_cuda_stream_wait(NULL, NULL));
        } else {
            other.weights = calloc(V * WIDTH, p.real);
        }
        ck_assert(!sg_head_forward(after, &other, hidden, ROWS, NULL, NULL, NULL));
        ck_assert(
            !sg_head_diverge(pass, &head, hidden, after, &other, hidden, apart[resident], NULL));
        if (!resident)
            free((void *)(uintptr_t)other.weights);
        sg_head_pass_free(pass);
        sg_head_pass_free(after);
    }
    ck_assert_mem_eq(log_prob[0], log_prob[1], sizeof log_prob[0]);
    ck_assert_mem_eq(got[0][0], got[1][0], weights);
    ck_assert_mem_eq(got[0][1], got[1][1], bias);
    ck_assert_mem_eq(got[0][2], got[1][2], features);
    ck_assert_mem_eq(apart[0], apart[1], sizeof apart[0]);
    ck_assert_double_gt(apart[0][0].kl_ab, 0.01);
    for (int k = 0; k < 3; k++) {
        free(got[0][k]);
        free(got[1][k]);
    }
    for (int k = 0; k < 6; k++)
        sg_cuda_free(at[k]);
    problem_free(&p);
}
END_TEST

/* As head_device.c asks it, with logits in chunks of at most `limit` bytes. */
static result in_chunks(const problem *p, size_t limit, sg_cuda_head_sums *sums, double *divergence)
{
    result r = {.weights = malloc(V * WIDTH * p->real),
                .bias = malloc(V * p->real),
                .hidden = malloc(ROWS * WIDTH * p->real),
                .logits = malloc(ROWS * V * p->real)};
    sg_cuda_layer layer = {V, WIDTH, p->precision, 1.5, p->weights, p->bias, false};
    const uint32_t active[] = {0, 2, 3, 6}, place[] = {0, 0, 1, 3, 3, 3};
    const int32_t tokens[] = {5, 5, 1023, 0, 1024, 2599};
    const double push[] = {0.5, -2, 1, 0.25, 1, -1}, diffuse[] = {1.5, -1, 0, -0.25};
    sg_cuda_push pushed = {4, active, diffuse, SG_CUDA_DIFFUSE_HIDDEN, 6, place, tokens, push};
    sg_cuda_head *head, *other;
    ck_assert(!sg_cuda_head_alloc(&head, NULL));
    ck_assert(!sg_cuda_head_alloc(&other, NULL));
    sg_cuda_head_limit(head, limit);
    ck_assert(!sg_cuda_head_load(head, &layer, p->hidden, ROWS, NULL));
    ck_assert(!sg_cuda_head_forward(head, COUNT, p->tokens, p->row, r.log_prob, r.log_norm, NULL));
    ck_assert(!sg_cuda_head_backward(head, &pushed, r.weights, r.bias, r.hidden, NULL));
    ck_assert(!sg_cuda_head_logits(head, 1, 0, ROWS, r.logits, V, NULL));
    ck_assert(!sg_cuda_head_observe(head, 1500, sums, r.log_norm, NULL));
    layer.sharpness = 1.4;
    double norms[ROWS];
    ck_assert(!sg_cuda_head_load(other, &layer, p->hidden, ROWS, NULL));
    ck_assert(!sg_cuda_head_forward(other, 0, NULL, NULL, NULL, norms, NULL));
    ck_assert(!sg_cuda_head_diverge(head, other, divergence, NULL));
    sg_cuda_head_free(head);
    sg_cuda_head_free(other);
    return r;
}

START_TEST(results_do_not_depend_on_the_chunks)
{
    problem p = problem_new((sg_precision)_i);
    const size_t limits[] = {(size_t)64 << 20, 3 * 1024 * p.real, 5 * 2048 * p.real, 1};
    sg_cuda_head_sums sums[2][ROWS * 2];
    double apart[2][ROWS * 3];
    result whole = in_chunks(&p, limits[0], sums[0], apart[0]);
    for (size_t row = 0; row < ROWS; row++)
        ck_assert_double_gt(apart[0][3 * row], 1e-4);
    for (int k = 1; k < 4; k++) {
        result r = in_chunks(&p, limits[k], sums[1], apart[1]);
        ck_assert_mem_eq(r.log_norm, whole.log_norm, sizeof r.log_norm);
        ck_assert_mem_eq(r.log_prob, whole.log_prob, sizeof r.log_prob);
        ck_assert_mem_eq(r.weights, whole.weights, V * WIDTH * p.real);
        ck_assert_mem_eq(r.bias, whole.bias, V * p.real);
        ck_assert_mem_eq(r.hidden, whole.hidden, ROWS * WIDTH * p.real);
        ck_assert_mem_eq(r.logits, whole.logits, ROWS * V * p.real);
        ck_assert_mem_eq(sums[1], sums[0], sizeof sums[0]);
        ck_assert_mem_eq(apart[1], apart[0], sizeof apart[0]);
        result_free(&r);
    }
    result_free(&whole);
    problem_free(&p);
}
END_TEST

Suite *cuda_head_suite(void);
Suite *cuda_head_suite(void)
{
    Suite *suite = suite_create("cuda_head");
    TCase *tests = tcase_create("output layer on the device");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, device_and_processor_agree_in_bits_where_sums_have_one_order, 0, 6);
    tcase_add_loop_test(tests, parameters_may_live_on_the_device, 0, 8);
    tcase_add_loop_test(tests, results_do_not_depend_on_the_chunks, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
