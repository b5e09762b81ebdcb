/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What CPU and GPU share as source gives the same numbers on both. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/vec_math.h"
#include "cuda/device_maths.h"
#include "objective/objective.h"

enum { POINTS = 3001 };

static const char *const specs[] = {"unclipped", "reinforce",   "grpo:dual_clip=3", "sapo",
                                    "gate-erf",  "gate-arctan", "gate-softsign",    "gipo",
                                    "spo",       "cispo",       "ce-gppo",          "aspo",
                                    "topr",      "vespo",       "dppo-tv",          "dppo-kl",
                                    "gmpo"};

static double relative(double mine, double theirs)
{
    if (isnan(theirs) || isinf(theirs))
        return (isnan(mine) && isnan(theirs)) || mine == theirs ? 0 : INFINITY;
    return fabs(mine - theirs) / fmax(1, fabs(theirs));
}

/* Away from the edges of clips: there exp of host and device may fall on either side. */
START_TEST(gates_are_those_of_the_cpu)
{
    static double d[POINTS], a[POINTS], p[POINTS];
    static float df[POINTS], af[POINTS], pf[POINTS];
    static sg_gate_value value[POINTS];
    static sg_gate_value_f32 value_f32[POINTS];
    sg_objective objective;
    sg_error error;
    ck_assert_int_eq(sg_objective_parse(&objective, specs[_i], &error), SG_OK);
    for (int i = 0; i < POINTS; i++) {
        d[i] = i == 0 ? NAN : i == 1 ? INFINITY : 0.0031 * (i - POINTS / 2) + 1e-4;
        a[i] = i % 3 - 1;
        p[i] = -0.01 * (i % 700);
        df[i] = (float)d[i], af[i] = (float)a[i], pf[i] = (float)p[i];
    }
    ck_assert_msg(
        device_gates(objective.gate, &objective.parameter, POINTS, d, a, p, value, &error) == SG_OK,
        "%s", error.message);
    ck_assert_int_eq(device_gates_f32(objective.gate, &objective.parameter, POINTS, df, af, pf,
                                      value_f32, &error),
                     SG_OK);
    for (int i = 0; i < POINTS; i++) {
        sg_gate_value want = sg_gate_at(objective.gate, &objective.parameter,
                                        sg_gate_point_from_log(d[i], p[i]), a[i]);
        ck_assert_double_le(relative(value[i].surrogate, want.surrogate), 1e-13);
        ck_assert_double_le(relative(value[i].weight, want.weight), 1e-13);
        ck_assert_double_le(relative(value[i].coefficient, want.coefficient), 1e-13);
        ck_assert_double_le(relative(value[i].printed, want.printed), 1e-13);
        sg_gate_value_f32 single = sg_gate_at_f32(objective.gate, &objective.parameter,
                                                  sg_gate_point_from_log_f32(df[i], pf[i]), af[i]);
        bool in_steps = objective.gate == SG_GATE_VESPO || objective.gate == SG_GATE_DPPO_KL;
        double bound = in_steps ? 2e-5 : 2e-6; /* a series, a bisection */
        ck_assert_double_le(relative((double)value_f32[i].surrogate, (double)single.surrogate),
                            bound);
        ck_assert_double_le(relative((double)value_f32[i].coefficient, (double)single.coefficient),
                            bound);
    }
}
END_TEST

START_TEST(uniforms_are_those_of_the_cpu)
{
    static double u[POINTS];
    sg_address at = {0x123456789abcdefu, SG_STREAM_ROLLOUT, 7, 11, 13, 0};
    sg_error error;
    ck_assert_int_eq(device_uniforms(at, POINTS, u, &error), SG_OK);
    for (uint32_t i = 0; i < POINTS; i++) {
        at.token = i;
        ck_assert_double_eq(u[i], sg_rng_uniform(at));
    }
}
END_TEST

/* Without contraction every operation is one of IEEE 754: the same bits. */
START_TEST(exp_and_log_have_the_same_bits)
{
    enum { N = 40000 };
    float *x = malloc(3 * N * sizeof *x), *e = x + N, *l = e + N;
    double *y = malloc(3 * N * sizeof *y), *ye = y + N, *yl = ye + N;
    static const float awkward[] = {0.0f,   -0.0f, INFINITY, -INFINITY, NAN,
                                    1e-45f, -1.0f, 88.8f,    -104.0f};
    for (int i = 0; i < N; i++) {
        bool odd = i < (int)(sizeof awkward / sizeof *awkward);
        x[i] = odd ? awkward[i] : (float)(0.01 * (i - N / 2));
        y[i] = odd ? (double)awkward[i] : 0.05 * (i - N / 2) + 1e-3;
    }
    sg_error error;
    ck_assert_int_eq(device_exp_log(N, x, y, e, l, ye, yl, &error), SG_OK);
    for (int i = 0; i < N; i++) {
        float e1 = sg_expf(x[i]), l1 = sg_logf(x[i]);
        double e2 = sg_exp(y[i]), l2 = sg_log(y[i]);
        ck_assert(isnan(e1) ? isnan(e[i]) : e1 == e[i]);
        ck_assert(isnan(l1) ? isnan(l[i]) : l1 == l[i]);
        ck_assert(isnan(e2) ? isnan(ye[i]) : e2 == ye[i]);
        ck_assert(isnan(l2) ? isnan(yl[i]) : l2 == yl[i]);
    }
    free(x);
    free(y);
}
END_TEST

Suite *device_maths_suite(void);
Suite *device_maths_suite(void)
{
    Suite *suite = suite_create("device_maths");
    TCase *tests = tcase_create("shared headers");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, gates_are_those_of_the_cpu, 0, sizeof specs / sizeof *specs);
    tcase_add_test(tests, uniforms_are_those_of_the_cpu);
    tcase_add_test(tests, exp_and_log_have_the_same_bits);
    suite_add_tcase(suite, tests);
    return suite;
}
