/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The output layer on tensor cores beside the CPU's in double precision: within the bounds of backend/cuda/head.h on any numbers,
 * and much closer where rounding changes nothing. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/head.h"
#include "core/rng.h"
#include "policy/head.h"
#include "policy/net_matrix.h"

enum { V = 2600, WIDTH = 20, ROWS = 21, COUNT = 90, DRAWS = 12 };
static const double SHARPNESS = 1.5;

typedef struct problem {
    bool bias;
    float weights[V * WIDTH], offset[V], hidden[ROWS * WIDTH];
    double weights64[V * WIDTH], offset64[V], hidden64[ROWS * WIDTH];
    int32_t tokens[COUNT];
    uint32_t row[COUNT];
    double pushes[COUNT];
} problem;

static double uniform(uint32_t what, size_t i)
{
    return sg_rng_uniform((sg_address){31, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i});
}

static double normal(uint32_t what, size_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){32, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i}, pair);
    return pair[0];
}

/* exact: numbers whose logits are quarters below 16, which 8 significant bits hold. Tokens repeat within rows; row 3 has
 * samples, but no push, and row 5 no samples. */
static problem *problem_new(bool exact, bool bias)
{
    problem *p = malloc(sizeof *p);
    p->bias = bias;
    for (size_t i = 0; i < V * WIDTH; i++)
        p->weights[i] = (float)(exact ? floor(5 * uniform(1, i)) * 0.5 - 1 : 0.6 * normal(1, i));
    for (size_t i = 0; i < V; i++)
        p->offset[i] = (float)(exact ? floor(9 * uniform(2, i)) * 0.25 - 1 : normal(2, i));
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        p->hidden[i] = (float)(exact ? floor(3 * uniform(3, i)) * 0.5 - 0.5 : normal(3, i));
    for (size_t i = 0; i < V * WIDTH; i++)
        p->weights64[i] = (double)p->weights[i];
    for (size_t i = 0; i < V; i++)
        p->offset64[i] = (double)p->offset[i];
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        p->hidden64[i] = (double)p->hidden[i];
    for (size_t i = 0; i < COUNT; i++) {
        p->row[i] = (uint32_t)(uniform(4, i) * (ROWS - 1));
        p->row[i] += p->row[i] >= 5;
        p->tokens[i] = i % 3 == 0 ? 2055 : (int32_t)(uniform(5, i) * V);
        p->pushes[i] = p->row[i] == 3 ? 0 : normal(6, i);
    }
    return p;
}

typedef struct result {
    double log_prob[COUNT], drawn_log_prob[DRAWS], again[DRAWS], log_norm[ROWS];
    int32_t drawn[DRAWS];
    double weights[V * WIDTH], bias[V], hidden[ROWS * WIDTH], logits[2 * V];
    sg_row_observation seen[ROWS];
    sg_divergence apart[ROWS];
} result;

/* An array of the layer's precision, in fp64. */
static void widen(double *to, const void *from, sg_precision precision, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = precision == SG_FP32 ? (double)((const float *)from)[i] : ((const double *)from)[i];
}

static sg_head head_of(const problem *p, bool device, double sharpness)
{
    const void *weights = device ? (const void *)p->weights : p->weights64,
               *bias = device ? (const void *)p->offset : p->offset64;
    return (sg_head){
        V,     WIDTH, 700, device ? SG_FP32 : SG_FP64, sharpness, weights, p->bias ? bias : NULL,
        false, NULL};
}

static sg_head_pass *pass_new(sg_matmul matmul)
{
    bool device = matmul != SG_MATMUL_SAME;
    sg_head_pass *pass = sg_head_pass_alloc(device ? SG_BACKEND_CUDA : SG_BACKEND_CPU);
    ck_assert(!sg_head_pass_matmul(pass, matmul, NULL));
    return pass;
}

static void look(const problem *p, sg_matmul matmul, result *r)
{
    bool device = matmul != SG_MATMUL_SAME;
    sg_head head = head_of(p, device, SHARPNESS), other = head_of(p, device, 1.4);
    const void *hidden = device ? (const void *)p->hidden : p->hidden64;
    sg_head_samples drawn = {DRAWS, r->drawn, NULL};
    size_t lead = sg_head_padded(&head);
    void *logits = malloc(2 * lead * sizeof(double));
    double u[DRAWS];
    uint32_t row[DRAWS];
    drawn.row = row;
    sg_head_pass *pass = pass_new(matmul), *after = pass_new(matmul);
    for (size_t i = 0; i < DRAWS; i++) {
        u[i] = uniform(7, i);
        row[i] = (uint32_t)(i % ROWS);
    }
    ck_assert(!sg_head_forward(pass, &head, hidden, ROWS, NULL, NULL, NULL));
    ck_assert(!sg_head_draw(pass, &head, hidden, DRAWS, row, u, r->drawn, r->drawn_log_prob, NULL));
    ck_assert(!sg_head_forward(pass, &head, hidden, ROWS, &drawn, r->again, NULL));
    ck_assert(!sg_head_observe(pass, &head, hidden, r->seen, NULL));
    ck_assert(!sg_head_logits(pass, &head, hidden, 2, 2, logits, NULL));
    ck_assert(!sg_head_forward(after, &other, hidden, ROWS, NULL, NULL, NULL));
    ck_assert(!sg_head_diverge(pass, &head, hidden, after, &other, hidden, r->apart, NULL));
    for (size_t i = 0; i < 2; i++) {
        const char *at = (const char *)logits + i * lead * sg_real_size(head.precision);
        widen(r->logits + i * V, at, head.precision, V);
        double beyond;
        widen(&beyond, at + V * sg_real_size(head.precision), head.precision, 1);
        ck_assert(beyond == -(double)INFINITY);
    }
    free(logits);
    sg_head_pass_free(pass);
    sg_head_pass_free(after);
}

static result *solve(const problem *p, sg_matmul matmul, sg_diffuse diffuse)
{
    bool device = matmul != SG_MATMUL_SAME;
    sg_head head = head_of(p, device, SHARPNESS);
    size_t real = sg_real_size(head.precision);
    const void *hidden = device ? (const void *)p->hidden : p->hidden64;
    result *r = calloc(1, sizeof *r);
    void *weights = malloc(V * WIDTH * real), *bias = malloc(V * real),
         *features = malloc(ROWS * WIDTH * real);
    sg_head_samples samples = {COUNT, p->tokens, p->row};
    sg_head_gradient gradient = {weights, p->bias ? bias : NULL, features, NULL};
    sg_head_pass *pass = pass_new(matmul);
    ck_assert(!sg_head_forward(pass, &head, hidden, ROWS, &samples, r->log_prob, NULL));
    ck_assert(
        !sg_head_backward(pass, &head, hidden, &samples, p->pushes, diffuse, &gradient, NULL));
    for (size_t i = 0; i < ROWS; i++)
        r->log_norm[i] = sg_head_log_norm(pass, i);
    widen(r->weights, weights, head.precision, V * WIDTH);
    widen(r->hidden, features, head.precision, ROWS * WIDTH);
    if (p->bias)
        widen(r->bias, bias, head.precision, V);
    free(weights);
    free(bias);
    free(features);
    sg_head_pass_free(pass);
    look(p, matmul, r);
    return r;
}

static double greatest(const double *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

static void assert_near(const double *a, const double *b, size_t n, double allowed)
{
    double size = greatest(b, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq_tol(a[i], b[i], allowed * size);
}

/* Where weights, features and logits are not changed by rounding, only the rounded logit gradient and the order of sums tell the
 * device from fp64: layouts, transposes and edges are right. */
START_TEST(exact_numbers_stay_exact)
{
    sg_matmul matmul = _i % 2 ? SG_MATMUL_BF16 : SG_MATMUL_TF32;
    sg_diffuse diffuse = (sg_diffuse)(_i / 2);
    problem *p = problem_new(true, diffuse != SG_DIFFUSE_DROP);
    result *cpu = solve(p, SG_MATMUL_SAME, diffuse), *cuda = solve(p, matmul, diffuse);
    double unit = matmul == SG_MATMUL_BF16 ? 0x1p-8 : 0x1p-11;
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_double_eq_tol(cuda->log_prob[i], cpu->log_prob[i], 4e-6);
    for (size_t i = 0; i < ROWS; i++) {
        ck_assert_double_eq_tol(cuda->log_norm[i], cpu->log_norm[i], 4e-6);
        ck_assert_double_eq_tol(cuda->seen[i].entropy, cpu->seen[i].entropy, 1e-5);
        ck_assert_double_eq(cuda->seen[i].logit_range, cpu->seen[i].logit_range);
        ck_assert_double_eq_tol(cuda->apart[i].kl_ab, cpu->apart[i].kl_ab, 1e-6);
        ck_assert_double_eq_tol(cuda->apart[i].total_variation, cpu->apart[i].total_variation,
                                1e-6);
    }
    ck_assert_mem_eq(cuda->logits, cpu->logits, sizeof cpu->logits);
    ck_assert_mem_eq(cuda->drawn, cpu->drawn, sizeof cpu->drawn);
    ck_assert_mem_eq(cuda->again, cuda->drawn_log_prob, sizeof cuda->again);
    assert_near(cuda->weights, cpu->weights, V * WIDTH, 2 * unit);
    assert_near(cuda->hidden, cpu->hidden, ROWS * WIDTH, 2 * unit);
    if (p->bias)
        assert_near(cuda->bias, cpu->bias, V, matmul == SG_MATMUL_BF16 ? unit : 2e-6);
    ck_assert_double_gt(greatest(cpu->weights, V * WIDTH), 0.1);
    free(p);
    free(cpu);
    free(cuda);
}
END_TEST

/* What the header of head.h promises, for each log-probability and each element of a gradient. */
START_TEST(random_numbers_stay_within_the_bound)
{
    sg_matmul matmul = _i % 2 ? SG_MATMUL_BF16 : SG_MATMUL_TF32;
    bool bf16 = matmul == SG_MATMUL_BF16;
    problem *p = problem_new(false, _i / 2 != 0);
    result *cpu = solve(p, SG_MATMUL_SAME, SG_DIFFUSE_KEEP),
           *cuda = solve(p, matmul, SG_DIFFUSE_KEEP), *again = solve(p, matmul, SG_DIFFUSE_KEEP);
    double u = bf16 ? 0x1p-8 : 0x1p-11, of_log_pi = bf16 ? 0x1p-8 : 0x1p-23, worst = 0;
    double *e = calloc(ROWS, sizeof *e), *log_pi = calloc(ROWS * V, sizeof *log_pi),
           *g = calloc(ROWS * V, sizeof *g), *slack = calloc(ROWS * V, sizeof *slack);
    for (size_t r = 0; r < ROWS; r++) {
        double most = 0;
        for (size_t v = 0; v < V; v++) {
            double sum = 0, z = p->bias ? p->offset64[v] : 0;
            for (size_t k = 0; k < WIDTH; k++) {
                double term = p->weights64[v * WIDTH + k] * p->hidden64[r * WIDTH + k];
                sum += fabs(term);
                z += term;
            }
            log_pi[r * V + v] = SHARPNESS * z - cpu->log_norm[r];
            most = fmax(most, sum);
        }
        e[r] = SHARPNESS * (2 * u + WIDTH * 0x1p-23) * most;
    }
    for (size_t r = 0; r < 2; r++) {
        double sum = 0;
        for (size_t v = 0; v < V; v++)
            sum += exp(cuda->logits[r * V + v] - cuda->log_norm[2 + r]);
        ck_assert_double_eq_tol(sum, 1, 4e-6);
    }
    for (size_t i = 0; i < COUNT; i++) {
        double error = fabs(cuda->log_prob[i] - cpu->log_prob[i]);
        ck_assert_double_le(error, 2 * e[p->row[i]] + 0x1p-20);
        worst = fmax(worst, error);
    }
    ck_assert_double_gt(worst, bf16 ? 1e-3 : 1e-4); /* or nothing was rounded */
    ck_assert_double_lt(worst, bf16 ? 5e-2 : 5e-3); /* usual numbers are far from the bound */
    double diffuse[ROWS] = {0};
    for (size_t i = 0; i < COUNT; i++)
        diffuse[p->row[i]] += p->pushes[i];
    for (size_t r = 0; r < ROWS; r++)
        for (size_t v = 0; v < V; v++) {
            g[r * V + v] = SHARPNESS * fabs(diffuse[r]) * exp(log_pi[r * V + v]);
            slack[r * V + v] = g[r * V + v] * of_log_pi * fabs(log_pi[r * V + v]);
        }
    for (size_t i = 0; i < COUNT; i++)
        g[p->row[i] * V + (size_t)p->tokens[i]] += SHARPNESS * fabs(p->pushes[i]);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t v = 0; v < V; v++)
            slack[r * V + v] += g[r * V + v] * (2 * u + expm1(2 * e[r]));
    for (size_t v = 0; v < V; v++)
        for (size_t k = 0; k < WIDTH; k++) {
            double allowed = 1e-30, order = (ROWS + WIDTH) * 0x1p-22;
            for (size_t r = 0; r < ROWS; r++)
                allowed +=
                    (slack[r * V + v] + order * g[r * V + v]) * fabs(p->hidden64[r * WIDTH + k]);
            ck_assert_double_eq_tol(cuda->weights[v * WIDTH + k], cpu->weights[v * WIDTH + k],
                                    allowed);
        }
    for (size_t r = 0; r < ROWS; r++)
        for (size_t k = 0; k < WIDTH; k++) {
            double allowed = 1e-30, order = (V + WIDTH) * 0x1p-22;
            for (size_t v = 0; v < V; v++)
                allowed +=
                    (slack[r * V + v] + order * g[r * V + v]) * fabs(p->weights64[v * WIDTH + k]);
            ck_assert_double_eq_tol(cuda->hidden[r * WIDTH + k], cpu->hidden[r * WIDTH + k],
                                    allowed);
        }
    assert_near(cuda->weights, cpu->weights, V * WIDTH, bf16 ? 0.02 : 0.002);
    assert_near(cuda->hidden, cpu->hidden, ROWS * WIDTH, bf16 ? 0.02 : 0.002);
    ck_assert_mem_eq(again, cuda, sizeof *cuda);
    free(p);
    free(cpu);
    free(cuda);
    free(again);
    free(e);
    free(log_pi);
    free(g);
    free(slack);
}
END_TEST

/* Any size of chunks, so that rows are cut too. */
START_TEST(chunks_change_the_order_of_sums_only)
{
    sg_matmul matmul = _i ? SG_MATMUL_BF16 : SG_MATMUL_TF32;
    problem *p = problem_new(true, true);
    sg_cuda_layer layer = {V, WIDTH, SG_FP32, 1.5, p->weights, p->offset, false};
    const uint32_t active[] = {0, 2, 3, 6, 9, 10, 17, 18, 19, 20}, place[] = {0, 0, 1, 3, 3, 9};
    const int32_t tokens[] = {5, 5, 1023, 0, 1024, 2599};
    const double push[] = {0.5, -2, 1, 0.25, 1, -1},
                 diffuse[] = {1.5, -1, 0, -0.25, 1, 1, 1, 2, -2, 1};
    sg_cuda_push pushed = {10, active, diffuse, SG_CUDA_DIFFUSE_HIDDEN, 6, place, tokens, push};
    const size_t limits[] = {(size_t)8 << 20, (size_t)ROWS * 1024 * 4, 3 * 1024 * 4, 1};
    float *weights[2], *bias[2], *hidden[2];
    for (int k = 0; k < 2; k++) {
        weights[k] = malloc(V * WIDTH * sizeof(float));
        bias[k] = malloc(V * sizeof(float));
        hidden[k] = malloc(ROWS * WIDTH * sizeof(float));
    }
    double log_prob[2][COUNT], norms[2][ROWS];
    for (int n = 0; n < 4; n++) {
        int k = n > 0;
        sg_cuda_head *head;
        ck_assert(!sg_cuda_head_alloc(&head, NULL));
        ck_assert(!sg_cuda_head_matmul(head, matmul, NULL));
        sg_cuda_head_limit(head, limits[n]);
        ck_assert(!sg_cuda_head_load(head, &layer, p->hidden, ROWS, NULL));
        ck_assert(
            !sg_cuda_head_forward(head, COUNT, p->tokens, p->row, log_prob[k], norms[k], NULL));
        ck_assert(!sg_cuda_head_backward(head, &pushed, weights[k], bias[k], hidden[k], NULL));
        sg_cuda_head_free(head);
        for (size_t i = 0; i < COUNT; i++)
            ck_assert_double_eq_tol(log_prob[k][i], log_prob[0][i], 1e-6);
        for (size_t i = 0; i < V * WIDTH; i++)
            ck_assert_float_eq_tol(weights[k][i], weights[0][i], 1e-6f);
        for (size_t i = 0; i < V; i++)
            ck_assert_float_eq_tol(bias[k][i], bias[0][i], 1e-6f);
        for (size_t i = 0; i < ROWS * WIDTH; i++)
            ck_assert_float_eq_tol(hidden[k][i], hidden[0][i], 1e-5f);
    }
    for (size_t k = 0; k < WIDTH; k++) {
        ck_assert_float_ne(hidden[0][2 * WIDTH + k], 0);
        ck_assert_float_eq(hidden[0][1 * WIDTH + k], 0);
    }
    for (int k = 0; k < 2; k++) {
        free(weights[k]);
        free(bias[k]);
        free(hidden[k]);
    }
    free(p);
}
END_TEST

static void *on_device(const void *from, size_t bytes)
{
    void *at;
    ck_assert(!sg_cuda_alloc(&at, bytes, "an array of a test", NULL));
    ck_assert(!sg_cuda_to_device(at, from, bytes, NULL, NULL));
    return at;
}

/* Parameters that are on the device, where they may start at any number, and gradients that stay there, give the bits that copies
 * give; and looks see them as they were rounded, when they have changed since. */
START_TEST(parameters_may_live_on_the_device)
{
    problem *p = problem_new(false, true);
    size_t weights = V * WIDTH * sizeof(float), bias = V * sizeof(float);
    float *got[2][3], *place = calloc(V * WIDTH + 1, sizeof *place);
    double log_prob[2][COUNT];
    sg_row_observation seen[2][ROWS];
    sg_head_samples samples = {COUNT, p->tokens, p->row};
    memcpy(place + 1, p->weights, weights);
    float *whole = on_device(place, weights + sizeof *place);
    size_t features = ROWS * WIDTH * sizeof(float);
    void *at[5] = {on_device(p->offset, bias), on_device(place, weights), on_device(place, bias),
                   on_device(p->hidden, features), on_device(p->hidden, features)};
    ck_assert(!sg_cuda_stream_wait(NULL, NULL));
    for (int resident = 0; resident < 2; resident++) {
        sg_head head = head_of(p, true, SHARPNESS);
        sg_head_pass *pass = pass_new(_i ? SG_MATMUL_BF16 : SG_MATMUL_TF32);
        for (int k = 0; k < 3; k++)
            got[resident][k] = malloc(weights);
        sg_head_gradient gradient = {got[resident][0], got[resident][1], got[resident][2], NULL};
        if (resident) {
            head.weights = whole + 1;
            head.bias = at[0];
            head.resident = true;
            gradient.weights = at[1];
            gradient.bias = at[2];
            gradient.hidden = at[4];
        }
        const void *hidden = resident ? at[3] : p->hidden;
        ck_assert(!sg_head_forward(pass, &head, hidden, ROWS, &samples, log_prob[resident], NULL));
        if (resident)
            ck_assert(!sg_cuda_zero(whole, weights, NULL, NULL));
        ck_assert(!sg_cuda_stream_wait(NULL, NULL));
        ck_assert(!sg_head_backward(pass, &head, hidden, &samples, p->pushes, SG_DIFFUSE_KEEP,
                                    &gradient, NULL));
        ck_assert(!sg_head_observe(pass, &head, hidden, seen[resident], NULL));
        if (resident) {
            ck_assert(!sg_cuda_from_device(got[1][0], at[1], weights, NULL, NULL));
            ck_assert(!sg_cuda_from_device(got[1][1], at[2], bias, NULL, NULL));
            ck_assert(!sg_cuda_from_device(got[1][2], at[4], features, NULL, NULL));
        }
        sg_head_pass_free(pass);
    }
    ck_assert_mem_eq(log_prob[0], log_prob[1], sizeof log_prob[0]);
    ck_assert_mem_eq(seen[0], seen[1], sizeof seen[0]);
    ck_assert_mem_eq(got[0][0], got[1][0], weights);
    ck_assert_mem_eq(got[0][1], got[1][1], bias);
    ck_assert_mem_eq(got[0][2], got[1][2], features);
    for (int k = 0; k < 3; k++) {
        free(got[0][k]);
        free(got[1][k]);
    }
    for (int k = 0; k < 5; k++)
        sg_cuda_free(at[k]);
    sg_cuda_free(whole);
    free(place);
    free(p);
}
END_TEST

START_TEST(not_a_number_stays_one)
{
    problem *p = problem_new(true, false);
    p->weights[2599 * WIDTH + 7] = (float)NAN;
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        p->hidden[i] = i / WIDTH == 4 ? 0.5f : 0;
    sg_head head = head_of(p, true, 1);
    sg_head_pass *pass = pass_new(_i ? SG_MATMUL_BF16 : SG_MATMUL_TF32);
    sg_row_observation seen[ROWS];
    ck_assert(!sg_head_forward(pass, &head, p->hidden, ROWS, NULL, NULL, NULL));
    ck_assert(!sg_head_observe(pass, &head, p->hidden, seen, NULL));
    ck_assert_double_nan(sg_head_log_norm(pass, 4));
    sg_head_pass_free(pass);
    free(p);
}
END_TEST

START_TEST(what_cannot_be_done_is_refused_in_a_sentence)
{
    problem *p = problem_new(true, false);
    sg_head head = head_of(p, false, 1);
    sg_error error;
    sg_head_pass *cpu = sg_head_pass_alloc(SG_BACKEND_CPU);
    ck_assert_int_eq(sg_head_pass_matmul(cpu, SG_MATMUL_BF16, &error), SG_EUNSUPPORTED);
    ck_assert_str_eq(error.message,
                     "tf32 and bf16 products belong to CUDA; set run.backend to cuda "
                     "or run.matmul to same");
    sg_head_pass *pass = pass_new(SG_MATMUL_BF16);
    ck_assert_int_eq(sg_head_forward(pass, &head, p->hidden64, ROWS, NULL, NULL, &error),
                     SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "policy.precision"));
    setenv("SOFTGATE_CUBLASLT", "/nowhere/libcublasLt.so.13", 1);
    sg_head_pass *other = sg_head_pass_alloc(SG_BACKEND_CUDA);
    ck_assert_int_eq(sg_head_pass_matmul(other, SG_MATMUL_TF32, &error), SG_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "/nowhere/libcublasLt.so.13 cannot be opened"));
    unsetenv("SOFTGATE_CUBLASLT");
    ck_assert_int_eq(sg_head_pass_matmul(other, SG_MATMUL_SAME, NULL), SG_OK);
    sg_head_pass_free(cpu);
    sg_head_pass_free(pass);
    sg_head_pass_free(other);
    free(p);
}
END_TEST

/* A machine may lack it. */
static bool has_cublaslt(void)
{
    sg_error error;
    sg_head_pass *pass = sg_head_pass_alloc(SG_BACKEND_CUDA);
    sg_status status = sg_head_pass_matmul(pass, SG_MATMUL_BF16, &error);
    sg_head_pass_free(pass);
    if (status == SG_EUNSUPPORTED && strstr(error.message, "cuBLASLt"))
        printf("cuda_tensor: not run: %s\n", error.message);
    return status != SG_EUNSUPPORTED || !strstr(error.message, "cuBLASLt");
}

Suite *cuda_tensor_suite(void);
Suite *cuda_tensor_suite(void)
{
    Suite *suite = suite_create("cuda_tensor");
    TCase *tests = tcase_create("output layer on tensor cores");
    suite_add_tcase(suite, tests);
    if (!has_cublaslt())
        return suite;
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, exact_numbers_stay_exact, 0, 6);
    tcase_add_loop_test(tests, random_numbers_stay_within_the_bound, 0, 4);
    tcase_add_loop_test(tests, chunks_change_the_order_of_sums_only, 0, 2);
    tcase_add_loop_test(tests, parameters_may_live_on_the_device, 0, 2);
    tcase_add_loop_test(tests, not_a_number_stays_one, 0, 2);
    tcase_add_test(tests, what_cannot_be_done_is_refused_in_a_sentence);
    return suite;
}
