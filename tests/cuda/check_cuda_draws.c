/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Equal uniforms give equal tokens, but where one falls between a boundary of fp64 and the same one as rounding moved it. Prints
 * the share that agrees. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/rng.h"
#include "policy/head.h"
#include "policy/net_matrix.h"

enum { V = 3000, WIDTH = 16, ROWS = 16, DRAWS = 512 };

typedef struct layer {
    float narrow[V * WIDTH], narrow_hidden[ROWS * WIDTH];
    double wide[V * WIDTH], wide_hidden[ROWS * WIDTH];
    uint32_t row[DRAWS];
    double uniform[DRAWS];
} layer;

typedef struct seen {
    int32_t tokens[DRAWS];
    double log_prob[ROWS][V], drawn[DRAWS];
} seen;

static double normal(uint32_t what, size_t i)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){41, SG_STREAM_SYNTHETIC, what, 0, 0, (uint32_t)i}, pair);
    return pair[0];
}

static layer *layer_new(void)
{
    layer *a = malloc(sizeof *a);
    for (size_t i = 0; i < V * WIDTH; i++)
        a->wide[i] = (double)(a->narrow[i] = (float)(0.5 * normal(1, i)));
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        a->wide_hidden[i] = (double)(a->narrow_hidden[i] = (float)normal(2, i));
    for (size_t j = 0; j < DRAWS; j++) {
        a->row[j] = (uint32_t)(j % ROWS);
        a->uniform[j] = sg_rng_uniform((sg_address){42, SG_STREAM_SYNTHETIC, 3, 0, 0, (uint32_t)j});
    }
    return a;
}

/* The tokens of one way to compute, and what it thinks of all tokens. */
static seen *look(const layer *a, sg_backend_kind backend, sg_matmul matmul)
{
    bool device = backend == SG_BACKEND_CUDA;
    sg_head head = {.vocabulary = V,
                    .width = WIDTH,
                    .head_tokens = 100,
                    .precision = device ? SG_FP32 : SG_FP64,
                    .sharpness = 1,
                    .weights = device ? (const void *)a->narrow : a->wide};
    const void *hidden = device ? (const void *)a->narrow_hidden : a->wide_hidden;
    size_t lead = sg_head_padded(&head);
    void *logits = malloc(ROWS * lead * sg_real_size(head.precision));
    seen *s = malloc(sizeof *s);
    sg_head_pass *pass = sg_head_pass_alloc(backend);
    ck_assert(!sg_head_pass_matmul(pass, matmul, NULL));
    ck_assert(!sg_head_forward(pass, &head, hidden, ROWS, NULL, NULL, NULL));
    ck_assert(
        !sg_head_draw(pass, &head, hidden, DRAWS, a->row, a->uniform, s->tokens, s->drawn, NULL));
    ck_assert(!sg_head_logits(pass, &head, hidden, 0, ROWS, logits, NULL));
    for (size_t r = 0; r < ROWS; r++)
        for (size_t v = 0; v < V; v++)
            s->log_prob[r][v] = (device ? (double)((float *)logits)[r * lead + v]
                                        : ((double *)logits)[r * lead + v]) -
                                sg_head_log_norm(pass, r);
    free(logits);
    sg_head_pass_free(pass);
    return s;
}

/* Tokens that agree. `exact` and `s` put a uniform between the same two boundaries, or one of the boundaries between the two
 * tokens was moved across it: by at most the mass below it, as far as its terms differ, and as much above it. */
static size_t agreeing(const layer *a, const seen *exact, const seen *s, double *distance)
{
    size_t same = 0;
    *distance = 0;
    for (size_t j = 0; j < DRAWS; j++) {
        const double *p = exact->log_prob[a->row[j]], *q = s->log_prob[a->row[j]];
        int32_t low = exact->tokens[j] < s->tokens[j] ? exact->tokens[j] : s->tokens[j],
                high = exact->tokens[j] < s->tokens[j] ? s->tokens[j] : exact->tokens[j];
        double below = 0, moved = 0, nearest = INFINITY, slack = 0;
        same += low == high;
        for (int32_t v = 0; v < high; v++) {
            below += exp(p[v]);
            moved += exp(q[v]);
            if (v >= low && fabs(a->uniform[j] - below) < nearest) {
                nearest = fabs(a->uniform[j] - below);
                slack = fabs(moved - below) + 4e-6; /* fp32 sums, as backend/cuda/head.h says */
            }
        }
        if (low == high)
            continue;
        ck_assert_msg(nearest <= slack,
                      "draw %zu: token %d, in fp64 %d, but %.3g from a boundary moved by %.3g", j,
                      (int)s->tokens[j], (int)exact->tokens[j], nearest, slack);
        *distance = fmax(*distance, nearest);
    }
    return same;
}

START_TEST(tokens_differ_at_moved_boundaries_only)
{
    static const struct {
        const char *name;
        sg_matmul matmul;
        double least; /* how often is not promised: a flat row of many tokens has many boundaries */
    } ways[] = {{"fp32", SG_MATMUL_SAME, 0.999},
                {"tf32", SG_MATMUL_TF32, 0.9},
                {"bf16", SG_MATMUL_BF16, 0.7}};
    sg_error error;
    sg_head_pass *pass = sg_head_pass_alloc(SG_BACKEND_CUDA);
    bool lacking = sg_head_pass_matmul(pass, ways[_i].matmul, &error) != SG_OK;
    sg_head_pass_free(pass);
    if (lacking) {
        printf("cuda_draws: %s not run: %s\n", ways[_i].name, error.message);
        return;
    }
    layer *a = layer_new();
    seen *exact = look(a, SG_BACKEND_CPU, SG_MATMUL_SAME),
         *s = look(a, SG_BACKEND_CUDA, ways[_i].matmul);
    double distance, share = (double)agreeing(a, exact, s, &distance) / DRAWS;
    printf(
        "cuda_draws: %s draws %.3f %% of %d tokens as fp64 does; the others are within %.1e of a "
        "boundary\n",
        ways[_i].name, 100 * share, DRAWS, distance);
    ck_assert_double_ge(share, ways[_i].least);
    free(a);
    free(exact);
    free(s);
}
END_TEST

Suite *cuda_draws_suite(void);
Suite *cuda_draws_suite(void)
{
    Suite *suite = suite_create("cuda_draws");
    TCase *tests = tcase_create("uniforms");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, tokens_differ_at_moved_boundaries_only, 0, 3);
    suite_add_tcase(suite, tests);
    return suite;
}
