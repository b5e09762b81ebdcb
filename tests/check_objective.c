/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The laws that every objective obeys: reference values, derivatives, limits, parsing. */
#include <check.h>
#include <gsl/gsl_deriv.h>
#include <gsl/gsl_sf_gamma.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "curve/curve.h"
#include "objective/methods.h"
#include "objective/objective.h"

static sg_objective parse(const char *spec)
{
    sg_objective objective;
    sg_error error;
    if (sg_objective_parse(&objective, spec, &error) != SG_OK)
        ck_abort_msg("%s: %s", spec, error.message);
    return objective;
}

static sg_gate_value eval(const char *spec, double ratio, double advantage, double logp_old)
{
    sg_objective objective = parse(spec);
    return sg_objective_eval(&objective, log(ratio), advantage, logp_old);
}

/* Printed with six significant digits, so half a unit of the sixth. */
static void assert_printed(double got, double want, const char *what, double ratio)
{
    ck_assert_msg(fabs(got - want) <= 6e-6 * fabs(want) + 1e-15, "%s at ratio %g: %.9g, not %.9g",
                  what, ratio, got, want);
}

static const double ratios[] = {0.1, 0.5, 0.9, 1, 1.1, 1.25, 2, 5};

typedef struct reference {
    const char *spec;
    double advantage;
    double value[8];
} reference;

/* Printed with six digits from independent computations; q = 0.3 for dppo. */
static const reference coefficients[] = {
#include "reference_coefficients.inc"
};

/* Printed with six digits from independent computations. */
static const reference surrogates[] = {
#include "reference_surrogates.inc"
};

static void check_reference(const reference *table, size_t count, bool coefficient)
{
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; i < 8; i++) {
            sg_gate_value v = eval(table[k].spec, ratios[i], table[k].advantage, log(0.3));
            assert_printed(coefficient ? v.coefficient : v.surrogate, table[k].value[i],
                           table[k].spec, ratios[i]);
        }
    }
}

START_TEST(coefficients_have_their_reference_values)
{
    check_reference(coefficients, sizeof coefficients / sizeof *coefficients, true);
}
END_TEST

START_TEST(surrogates_have_their_reference_values)
{
    check_reference(surrogates, sizeof surrogates / sizeof *surrogates, false);
}
END_TEST

START_TEST(sapo_has_its_reference_values)
{
    /* tau; f(0), f(1), f(2), f(5); w(0), w(0.5), w(2), w(3), w(5) */
    static const double rows[][10] = {
        {0.5, 3.02033, 4, 4.97967, 7.04638, 0.940015, 0.984536, 0.940015, 0.786448, 0.419974},
        {0.95, 1.17425, 2.10526, 3.03627, 4.11839, 0.804432, 0.945649, 0.804432, 0.452721,
         0.0856099},
        {1, 1.07577, 2, 2.92423, 3.92806, 0.786448, 0.940015, 0.786448, 0.419974, 0.0706508},
        {1.05, 0.987524, 1.90476, 2.822, 3.75324, 0.76811, 0.93414, 0.76811, 0.388779, 0.058223},
        {2, 0.238406, 1, 1.76159, 1.99933, 0.419974, 0.786448, 0.419974, 0.0706508, 0.00134095},
        {3, 0.0632345, 0.666667, 1.2701, 1.33333, 0.180707, 0.596586, 0.180707, 0.00986604,
         2.45765e-05},
        {5, 0.00535428, 0.4, 0.794646, 0.8, 0.0265922, 0.280415, 0.0265922, 0.000181583,
         8.24461e-09},
        {10, 1.81591e-05, 0.2, 0.399982, 0.4, 0.000181583, 0.0265922, 0.000181583, 8.24461e-09,
         1.69934e-17},
        {12, 2.04806e-06, 0.166667, 0.333331, 0.333333, 2.45765e-05, 0.00986604, 2.45765e-05,
         1.51005e-10, 5.70066e-21},
    };
    static const double f_at[] = {0, 1, 2, 5}, w_at[] = {0, 0.5, 2, 3, 5};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char spec[64];
        snprintf(spec, sizeof spec, "sapo:tau_pos=%g,tau_neg=%g", rows[k][0], rows[k][0]);
        for (int sign = -1; sign <= 1; sign += 2) {
            for (size_t i = 0; i < 4; i++)
                assert_printed(eval(spec, f_at[i], sign, 0).surrogate, rows[k][1 + i], spec,
                               f_at[i]);
            for (size_t i = 0; i < 5; i++)
                assert_printed(eval(spec, w_at[i], sign, 0).weight, rows[k][5 + i], spec,
                               w_at[i]);
        }
    }
}
END_TEST

/* Specs that exercise every method with its defaults and some with other parameters. */
static const char *const specs[] = {
    "sapo", "sapo:tau_pos=0.3,tau_neg=7", "grpo", "dapo", "dual-clip", "two-sided", "dr-grpo",
    "gspo", "gspo-token", "luspo", "cispo", "cispo:low=0.8,high=1.28", "gmpo", "vespo",
    "vespo:k_pos=1,lambda_pos=1,k_neg=5.5,lambda_neg=0.7", "topr", "topr-token", "aspo",
    "aspo:cap=1.5,dual_clip=2", "ce-gppo", "ce-gppo:beta_low=0.5,eps_low=0.3", "gate-erf",
    "gate-erf:tau_pos=1,tau_neg=2", "gate-arctan", "gate-arctan:tau_pos=1,tau_neg=2",
    "gate-softsign", "gate-softsign:tau_pos=1,tau_neg=2", "gipo", "gipo:sigma=0.2", "dppo-tv",
    "dppo-tv:delta_low=0.05,delta_high=0.1,cap=2", "dppo-kl",
    "dppo-kl:kl_low=0.4,kl_high=0.2,cap=2", "spo", "spo:eps=1.5", "unclipped", "reinforce", "clip-cov",
    "bapo", "dro", "dro:beta=2", "kl-cov", "kl-cov:beta=0.3",
};
/* The last ones charge a penalty, which gates by themselves know nothing of. */
enum { SPECS = sizeof specs / sizeof *specs, GATED = SPECS - 4 };

typedef struct slice {
    sg_objective objective;
    double advantage;
} slice;

static double surrogate_at(double ratio, void *context)
{
    const slice *s = context;
    return sg_objective_eval(&s->objective, log(ratio), s->advantage, log(0.3)).surrogate;
}

/* Away from the kinks: the weight is the same a little to the left and to the right. */
static bool smooth_at(const slice *s, double ratio, double step)
{
    double left = sg_objective_eval(&s->objective, log(ratio - step), s->advantage, log(0.3)).weight;
    double here = sg_objective_eval(&s->objective, log(ratio), s->advantage, log(0.3)).weight;
    double right =
        sg_objective_eval(&s->objective, log(ratio + step), s->advantage, log(0.3)).weight;
    return fabs(left + right - 2 * here) <= 1e-3 * (1 + fabs(here));
}

START_TEST(weight_is_the_derivative_of_the_surrogate)
{
    slice s = {parse(specs[_i / 2]), _i % 2 == 0 ? 1.5 : -0.7};
    gsl_function f = {surrogate_at, &s};
    size_t compared = 0;
    for (int k = -80; k <= 80; k++) {
        double ratio = exp(0.05 * k + 0.0123), step = 1e-3 * ratio, derivative, spread;
        if (!smooth_at(&s, ratio, step))
            continue;
        ck_assert_int_eq(gsl_deriv_central(&f, ratio, step, &derivative, &spread), 0);
        sg_gate_value v = sg_objective_eval(&s.objective, log(ratio), s.advantage, log(0.3));
        ck_assert_msg(fabs(derivative - v.weight) <= 1e-7 * (1 + fabs(v.weight)),
                      "%s, A %g, ratio %g: df/dr %.12g, w %.12g", specs[_i / 2], s.advantage, ratio,
                      derivative, v.weight);
        ck_assert_msg(fabs(v.coefficient - ratio * v.weight) <= 1e-12 * (1 + fabs(v.coefficient)),
                      "%s: c is not r w at %g", specs[_i / 2], ratio);
        compared++;
    }
    ck_assert_uint_ge(compared, 120);
}
END_TEST

START_TEST(on_policy_weight_and_coefficient_are_one)
{
    sg_gate_value pos = eval(specs[_i], 1, 1, log(0.3)), neg = eval(specs[_i], 1, -1, log(0.3));
    ck_assert_double_eq_tol(pos.weight, 1, 1e-15);
    ck_assert_double_eq_tol(neg.weight, 1, 1e-15);
    ck_assert_double_eq_tol(pos.coefficient, 1, 1e-15);
    ck_assert_double_eq_tol(neg.coefficient, 1, 1e-15);
}
END_TEST

START_TEST(coefficients_have_their_limits)
{
    /* r -> infinity for A > 0, A < 0; r -> 0 for A > 0, A < 0. */
    static const struct {
        const char *spec;
        double limit[4];
    } limits[] = {
        {"unclipped", {INFINITY, INFINITY, 0, 0}},
        {"grpo", {0, INFINITY, 0, 0}},
        {"dual-clip", {0, 0, 0, 0}},
        {"sapo", {0, 0, 0, 0}},
        {"gate-erf", {0, 0, 0, 0}},
        {"gate-arctan", {0, 0, 0, 0}},
        {"gate-softsign", {0, 0, 0, 0}},
        {"gipo", {0, 0, 0, 0}},
        {"vespo", {0, 0, 0, 0}},
        {"cispo", {5, 5, 0, 0}},
        {"cispo:low=0.8,high=1.28", {1.28, 1.28, 0.8, 0.8}},
        {"ce-gppo", {1.2, INFINITY, 0, 0.6}},
        {"aspo", {0, INFINITY, 3, 0}},
        {"topr", {1, 1, 1, 0}},
        {"reinforce", {1, 1, 1, 1}},
        {"spo", {-INFINITY, INFINITY, 0, 0}},
        {"dppo-tv", {0, 20, 0, 0}},
        {"dppo-kl", {0, 20, 0, 0}},
    };
    static const double far[] = {50, 709, 800, 1e6, HUGE_VAL};
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
        sg_objective objective = parse(limits[k].spec);
        for (int corner = 0; corner < 4; corner++) {
            double want = limits[k].limit[corner], advantage = corner % 2 == 0 ? 1 : -1;
            for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
                /* dppo-tv never cuts A < 0 on the low side while the old probability is small */
                double d = corner < 2 ? far[i] : -fmin(far[i], 1e6);
                double got = sg_objective_eval(&objective, d, advantage, log(0.1)).coefficient;
                sg_gate_value_f32 single =
                    sg_gate_at_f32(objective.gate, &objective.parameter,
                                   sg_gate_point_from_log_f32((float)d, logf(0.1F)),
                                   (float)advantage);
                if (isinf(want))
                    ck_assert_msg(got * copysign(1, want) > 1e20, "%s corner %d d %g: c %g",
                                  limits[k].spec, corner, d, got);
                else
                    ck_assert_msg(fabs(got - want) < 1e-9, "%s corner %d d %g: c %g, not %g",
                                  limits[k].spec, corner, d, got, want);
                ck_assert_msg(!isnan(single.coefficient), "%s corner %d d %g: NaN in float",
                              limits[k].spec, corner, d);
                if (!isinf(want))
                    ck_assert_msg(fabsf(single.coefficient - (float)want) < 1e-6F,
                                  "%s corner %d d %g: float c %g", limits[k].spec, corner, d,
                                  (double)single.coefficient);
            }
        }
    }
}
END_TEST

START_TEST(single_precision_follows_double)
{
    sg_objective objective = parse(specs[_i]);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int k = -60; k <= 60; k++) {
            float d = 0.0503F * (float)k;
            sg_gate_value want = sg_objective_eval(&objective, d, sign, log(0.3));
            sg_gate_value_f32 got =
                sg_gate_at_f32(objective.gate, &objective.parameter,
                               sg_gate_point_from_log_f32(d, logf(0.3F)), (float)sign);
            ck_assert_double_eq_tol(got.coefficient, want.coefficient,
                                    1e-4 * fmax(1, fabs(want.coefficient)));
            ck_assert_double_eq_tol(got.weight, want.weight, 1e-4 * fmax(1, fabs(want.weight)));
        }
    }
}
END_TEST

START_TEST(nan_stays_nan)
{
    sg_gate_value v = eval(specs[_i], NAN, 1, 0);
    ck_assert_double_nan(v.coefficient);
    ck_assert_double_nan(v.surrogate);
    sg_objective objective = parse(specs[_i]);
    ck_assert_double_nan(sg_objective_eval(&objective, 0, NAN, 0).weight);
}
END_TEST

START_TEST(limits_in_the_parameters)
{
    for (double r = 0.05; r < 6; r += 0.37) {
        for (int sign = -1; sign <= 1; sign += 2) {
            sg_gate_value cold = eval("sapo:tau_pos=1e-4,tau_neg=1e-4", r, sign, 0);
            ck_assert_double_eq_tol(cold.surrogate - 2 / 1e-4, r - 1, 1e-6); /* tau^2 x^3 / 12 */
            ck_assert_double_eq_tol(cold.weight, 1, 1e-7);
            sg_gate_value hot = eval("sapo:tau_pos=1e4,tau_neg=1e4", r, sign, 0);
            ck_assert_double_eq_tol(hot.weight, 0, 1e-12);
            sg_gate_value wide = eval("grpo:eps_low=0.9999999,eps_high=1e6", r, sign, 0);
            ck_assert_double_eq(wide.surrogate, exp(log(r)));
            ck_assert_double_eq(wide.weight, 1);
        }
    }
    ck_assert_double_eq_tol(eval("sapo", 3.762450, 1, 0).surrogate, 3.762450, 2e-6);
}
END_TEST

START_TEST(facts_about_widths_and_maxima)
{
    static const struct {
        const char *spec;
        double half_width, best, best_at;
    } facts[] = {
        {"sapo:tau_pos=1", 1.762747, 1.574675, 2.0601},
        {"gate-erf:tau_pos=1", 1.177410, 1.336733, 1.6180},
        {"gate-arctan:tau_pos=1", 1, 1.207107, 1.4142},
        {"gate-softsign:tau_pos=1", 0.766421, 1.142987, 1.2808},
        {"gipo:sigma=1", NAN, 1.648721, 2.718282},
        {"vespo", NAN, 1.208125, 0.666667},
    };
    for (size_t k = 0; k < sizeof facts / sizeof *facts; k++) {
        if (!isnan(facts[k].half_width))
            ck_assert_double_eq_tol(eval(facts[k].spec, 1 + facts[k].half_width, 1, 0).weight, 0.5,
                                    1e-6);
        double best = 0, best_at = 0;
        for (double r = 0.2; r < 5; r += 1e-4) {
            double c = eval(facts[k].spec, r, 1, 0).coefficient;
            if (c > best) {
                best = c;
                best_at = r;
            }
        }
        ck_assert_double_eq_tol(best, facts[k].best, 2e-6);
        ck_assert_double_eq_tol(best_at, facts[k].best_at, 2e-3);
    }
}
END_TEST

START_TEST(incomplete_gamma_agrees_with_gsl)
{
    for (double k = 1; k < 8; k += 0.5) {
        for (double x = 0.01; x < 200; x *= 1.7) {
            double want = gsl_sf_gamma_inc_P(k, x) * gsl_sf_gamma(k);
            ck_assert_double_eq_tol(sg_gate_lower_gamma(k, x), want, 1e-9 * fmax(1, want));
        }
    }
}
END_TEST

START_TEST(specs_are_parsed_with_trainers_names)
{
    sg_objective o = parse("sapo:sapo_temperature_pos=2,sapo-temperature-neg=3");
    ck_assert_double_eq(o.parameter.tau_pos, 2);
    ck_assert_double_eq(o.parameter.tau_neg, 3);
    o = parse("PPO:clip_ratio_high=0.3,clip_ratio_c=4");
    ck_assert_double_eq(o.parameter.eps_low, 0.2);
    ck_assert_double_eq(o.parameter.eps_high, 0.3);
    ck_assert_double_eq(o.parameter.dual_clip, 4);
    o = parse("grpo:epsilon=0.1,epsilon_high=0.4");
    ck_assert_double_eq(o.parameter.eps_low, 0.1);
    ck_assert_double_eq(o.parameter.eps_high, 0.4);
    o = parse("sapo:tau=3");
    ck_assert_double_eq(o.parameter.tau_pos, 3);
    ck_assert_double_eq(o.parameter.tau_neg, 3);
    o = parse("gate-erf:tau=2,tau_neg=4");
    ck_assert_double_eq(o.parameter.tau_pos, 2);
    ck_assert_double_eq(o.parameter.tau_neg, 4);
    o = parse("cispo:bounds=relative,eps_low=0.2,eps_high=0.28");
    ck_assert_double_eq(o.parameter.low, 0.8);
    ck_assert_double_eq(o.parameter.high, 1.28);
    ck_assert_int_eq(parse("sapo:level=sequence").level, SG_LEVEL_SEQUENCE);
    ck_assert_double_infinite(parse("dual-clip:dual_clip=off").parameter.dual_clip);
}
END_TEST

START_TEST(parameters_print_and_parse_back)
{
    sg_objective first = parse(specs[_i]), again;
    char params[512], spec[640], label[256];
    sg_objective_parameters(&first, params, sizeof params);
    snprintf(spec, sizeof spec, "%s%s%s", first.method->name, params[0] ? ":" : "", params);
    again = parse(spec);
    ck_assert_mem_eq(&first.parameter, &again.parameter, sizeof first.parameter);
    ck_assert_int_eq(first.level, again.level);
    ck_assert_int_gt(sg_objective_label(&first, label, sizeof label), 0);
}
END_TEST

START_TEST(bad_specs_get_one_helpful_sentence)
{
    static const struct {
        const char *spec, *says;
    } bad[] = {
        {"sapoo", "did you mean sapo?"},
        {"", "is not an objective"},
        {"sapo:tau_pso=1", "did you mean tau_pos?"},
        {"sapo:tau_pos=0", "must be > 0"},
        {"sapo:tau_pos=-1", "must be > 0"},
        {"sapo:tau=0", "must be > 0"},
        {"grpo:tau=1", "no parameter"},
        {"sapo:tau_pos=nan", "must be > 0"},
        {"sapo:tau_pos=inf", "must be > 0"},
        {"sapo:tau_pos=1x", "is not a number"},
        {"sapo:tau_pos=", "is not a number"},
        {"sapo:tau_pos", "expected key=value"},
        {"sapo:=1", "expected key=value"},
        {"sapo:tau_pos=1,tau_pos=2", "twice"},
        {"grpo:eps_low=1", ">= 0 and < 1"},
        {"grpo:eps_low=-0.1", ">= 0 and < 1"},
        {"dual-clip:dual_clip=1", "> 1"},
        {"grpo:eps_high=0.5,delta=1.4", "larger than 1 + eps_high"},
        {"cispo:eps_high=0.28", "bounds=relative"},
        {"cispo:bounds=absolute,eps_high=0.28", "bounds=relative"},
        {"cispo:high=0.5", ">= 1"},
        {"cispo:bounds=both", "neither relative"},
        {"gipo:sigma=0", "> 0"},
        {"gspo:level=product", "must be one of"},
        {"dcpo", "not implemented"},
        {"vespo:k_pos=0.5", ">= 1"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        sg_objective objective;
        sg_error error = {0};
        ck_assert_msg(sg_objective_parse(&objective, bad[k].spec, &error) == SG_EARGUMENT,
                      "\"%s\" was accepted", bad[k].spec);
        ck_assert_msg(strstr(error.message, bad[k].says) != NULL, "\"%s\" gives \"%s\"",
                      bad[k].spec, error.message);
    }
}
END_TEST

START_TEST(methods_are_described)
{
    ck_assert_uint_ge(sg_method_count(), 20);
    for (size_t i = 0; i < sg_method_count(); i++) {
        const sg_method *method = sg_method_at(i);
        ck_assert_ptr_nonnull(method->formula);
        ck_assert_ptr_nonnull(method->paper);
        ck_assert_ptr_eq(sg_method_find(method->name), method);
        parse(method->name);
    }
    ck_assert_ptr_null(sg_method_at(sg_method_count()));
    ck_assert_ptr_nonnull(sg_parameter_find("sapo_temperature_neg"));
    ck_assert_ptr_null(sg_parameter_find("nothing"));
}
END_TEST

START_TEST(curve_is_a_table_of_the_gate)
{
    sg_objective objectives[] = {parse("sapo"), parse("grpo")};
    const double advantages[] = {1, -1};
    sg_grid grid;
    sg_error error;
    ck_assert_int_eq(sg_grid_parse(&grid, "0:5:11", false, &error), SG_OK);
    sg_table *table;
    ck_assert_int_eq(sg_curve(&table, objectives, 2, advantages, 2, grid, 0, &error), SG_OK);
    ck_assert_uint_eq(sg_table_rows(table), 44);
    ck_assert_str_eq(sg_table_get_text(table, 0, 22), "grpo");
    ck_assert_double_eq(sg_table_get_real(table, 3, 4), 2);
    ck_assert_double_eq_tol(sg_table_get_real(table, 5, 4), 2.924234, 1e-6);
    ck_assert_double_eq(sg_table_get_real(table, 5, 0), eval("sapo", 0, 1, 0).surrogate);
    sg_table_free(table);
    static const char *const bad[] = {"0:5", "0:5:1001:2", "5:0:3", "-1:5:3", "0:5:0", "a:5:3",
                                      "0:inf:3", "", "0:5:1.5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(sg_grid_parse(&grid, bad[i], false, &error), SG_EARGUMENT);
    ck_assert_int_eq(sg_grid_parse(&grid, "-4:4:81", true, &error), SG_OK);
}
END_TEST

Suite *objective_suite(void);
Suite *objective_suite(void)
{
    Suite *suite = suite_create("objective");
    TCase *values = tcase_create("values");
    tcase_add_test(values, coefficients_have_their_reference_values);
    tcase_add_test(values, surrogates_have_their_reference_values);
    tcase_add_test(values, sapo_has_its_reference_values);
    tcase_add_test(values, facts_about_widths_and_maxima);
    tcase_add_test(values, incomplete_gamma_agrees_with_gsl);
    tcase_add_test(values, curve_is_a_table_of_the_gate);
    suite_add_tcase(suite, values);
    TCase *laws = tcase_create("laws");
    tcase_add_loop_test(laws, weight_is_the_derivative_of_the_surrogate, 0, 2 * SPECS);
    tcase_add_loop_test(laws, on_policy_weight_and_coefficient_are_one, 0, SPECS);
    tcase_add_loop_test(laws, single_precision_follows_double, 0, GATED);
    tcase_add_loop_test(laws, nan_stays_nan, 0, SPECS);
    tcase_add_test(laws, coefficients_have_their_limits);
    tcase_add_test(laws, limits_in_the_parameters);
    suite_add_tcase(suite, laws);
    TCase *names = tcase_create("names");
    tcase_add_test(names, specs_are_parsed_with_trainers_names);
    tcase_add_loop_test(names, parameters_print_and_parse_back, 0, SPECS);
    tcase_add_test(names, bad_specs_get_one_helpful_sentence);
    tcase_add_test(names, methods_are_described);
    suite_add_tcase(suite, names);
    return suite;
}
