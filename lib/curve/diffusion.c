/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "curve/diffusion.h"

#include <math.h>

sg_status sg_diffusion_of(sg_diffusion *diffusion, size_t vocabulary, double pi_sampled,
                          sg_spread spread, double k, sg_error *error)
{
    if (vocabulary < 2 || !(pi_sampled > 0 && pi_sampled < 1) || !isfinite(k))
        return sg_fail(error, SG_EARGUMENT,
                       "logit diffusion needs a vocabulary of 2 or more (not %zu), a probability "
                       "between 0 and 1 "
                       "(not %g) and a finite coefficient (not %g)",
                       vocabulary, pi_sampled, k);
    double rest = 1 - pi_sampled, others = (double)(vocabulary - 1);
    double largest = 1 / others, squares = 1 / others; /* of the others, normalised to mass 1 */
    if (spread == SG_SPREAD_ZIPF) {
        double sum = 0, sum_squares = 0;
        for (size_t rank = vocabulary - 1; rank > 0; rank--) { /* small terms first */
            sum += 1 / (double)rank;
            sum_squares += 1 / ((double)rank * (double)rank);
        }
        largest = 1 / sum;
        squares = sum_squares / (sum * sum);
    }
    diffusion->push_sampled = k * rest;
    diffusion->push_unsampled_total = -k * rest;
    diffusion->push_unsampled_max = -k * rest * largest;
    diffusion->norm = fabs(k) * rest * sqrt(1 + squares);
    return SG_OK;
}

static sg_status add_columns(sg_table *table, sg_error *error)
{
    static const char *const reals[] = {"push_sampled", "push_unsampled_total",
                                        "push_unsampled_max", "norm"};
    sg_status status = sg_table_add_column(table, "tail", SG_COLUMN_TEXT, error);
    if (status == SG_OK)
        status = sg_table_add_column(table, "pi_sampled", SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = sg_table_add_column(table, "advantage", SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = sg_table_add_column(table, "vocabulary", SG_COLUMN_INTEGER, error);
    for (size_t c = 0; c < 4 && status == SG_OK; c++)
        status = sg_table_add_column(table, reals[c], SG_COLUMN_REAL, error);
    return status;
}

static sg_status add_row(sg_table *table, sg_spread spread, double pi, double advantage,
                         size_t vocabulary, sg_error *error)
{
    sg_diffusion d;
    sg_status status = sg_diffusion_of(&d, vocabulary, pi, spread, advantage, error);
    if (status == SG_OK)
        status = sg_table_add_rows(table, 1, error);
    if (status != SG_OK)
        return status;
    size_t row = sg_table_rows(table) - 1;
    const double reals[] = {d.push_sampled, d.push_unsampled_total, d.push_unsampled_max, d.norm};
    sg_table_set_real(table, 1, row, pi);
    sg_table_set_real(table, 2, row, advantage);
    sg_table_set_integer(table, 3, row, (int64_t)vocabulary);
    for (size_t c = 0; c < 4; c++)
        sg_table_set_real(table, 4 + c, row, reals[c]);
    return sg_table_set_text(table, 0, row, spread == SG_SPREAD_ZIPF ? "zipf" : "uniform", error);
}

sg_status sg_diffusion_sweep(sg_table *table, const size_t *vocabularies, size_t vocabulary_count,
                             const double *pi_sampled, size_t pi_count, const double *advantages,
                             size_t advantage_count, sg_error *error)
{
    sg_status status = add_columns(table, error);
    for (int spread = SG_SPREAD_EVEN; spread <= SG_SPREAD_ZIPF; spread++)
        for (size_t p = 0; p < pi_count; p++)
            for (size_t a = 0; a < advantage_count; a++)
                for (size_t v = 0; v < vocabulary_count && status == SG_OK; v++)
                    status = add_row(table, (sg_spread)spread, pi_sampled[p], advantages[a],
                                     vocabularies[v], error);
    return status;
}
