/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Optimiser kernels of one precision: included by optimizer.simd.c with SG_REAL and SG_NAME
 * defined, hence no include guard. */

static void SG_NAME(sgd)(size_t n, const sg_rule_numbers *p, void *gradient)
{
    SG_REAL *restrict g = gradient;
    SG_NAME(sg_rule) rule = SG_NAME(sg_rule_of)(p);
    for (size_t i = 0; i < n; i++)
        g[i] *= rule.factor;
}

static void SG_NAME(momentum)(size_t n, const sg_rule_numbers *p, void *gradient, void *first)
{
    SG_REAL *restrict g = gradient, *restrict m = first;
    SG_NAME(sg_rule) rule = SG_NAME(sg_rule_of)(p);
    for (size_t i = 0; i < n; i++)
        g[i] = SG_NAME(sg_rule_momentum)(rule, g[i], &m[i]);
}

static void SG_NAME(adam)(size_t n, const sg_rule_numbers *p, void *gradient, void *first,
                          void *second, const void *parameters)
{
    SG_REAL *restrict g = gradient, *restrict m = first, *restrict v = second;
    const SG_REAL *restrict theta = parameters;
    SG_NAME(sg_rule) rule = SG_NAME(sg_rule_of)(p);
    for (size_t i = 0; i < n; i++)
        g[i] = SG_NAME(sg_rule_adam)(rule, g[i], &m[i], &v[i], theta[i]);
}

static void SG_NAME(coupled)(size_t rows, size_t columns, const sg_rule_numbers *p, void *gradient,
                             void *first, const void *roots)
{
    SG_REAL *restrict g = gradient, *restrict m = first;
    const SG_REAL *restrict root = roots;
    SG_NAME(sg_rule) rule = SG_NAME(sg_rule_of)(p);
    for (size_t r = 0; r < rows; r++, g += columns, m += columns)
        for (size_t i = 0; i < columns; i++)
            g[i] = SG_NAME(sg_rule_coupled)(rule, g[i], &m[i], root[i]);
}

static void SG_NAME(add)(size_t n, double factor, const void *delta, void *parameters)
{
    const SG_REAL *restrict d = delta;
    SG_REAL *restrict theta = parameters, scale = (SG_REAL)factor;
    for (size_t i = 0; i < n; i++)
        theta[i] += scale * d[i];
}

static double SG_NAME(norm2)(size_t n, const void *values)
{
    const SG_REAL *x = values;
    double lane[SG_RULE_LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + SG_RULE_LANES <= n; i += SG_RULE_LANES)
        for (size_t l = 0; l < SG_RULE_LANES; l++)
            lane[l] += (double)x[i + l] * (double)x[i + l];
    for (size_t l = 0; i < n; i++, l++)
        lane[l] += (double)x[i] * (double)x[i];
    for (size_t l = 0; l < SG_RULE_LANES; l++)
        sum += lane[l];
    return sum;
}

/* sums[k] += factor x of column k, or the square of that, row after row. */
static void SG_NAME(columns)(size_t rows, size_t columns, double factor, bool squares,
                             const void *values, double *restrict sums)
{
    const SG_REAL *restrict x = values;
    for (size_t row = 0; row < rows; row++, x += columns)
        for (size_t k = 0; k < columns; k++) {
            double y = factor * (double)x[k];
            sums[k] += squares ? y * y : y;
        }
}
