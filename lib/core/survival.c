/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdlib.h>

#include "core/stats.h"

struct run {
    double time;
    bool censored;
};

static int compare(const void *a, const void *b)
{
    double x = ((const struct run *)a)->time, y = ((const struct run *)b)->time;
    return (x > y) - (x < y);
}

enum { TIME, AT_RISK, EVENTS, CENSORED, SURVIVAL, LOW, HIGH, COLUMNS };

static sg_status add_columns(sg_table *curve, sg_error *error)
{
    static const struct {
        const char *name;
        sg_column_type type;
    } columns[COLUMNS] = {
        {"time", SG_COLUMN_REAL},      {"at_risk", SG_COLUMN_INTEGER},
        {"events", SG_COLUMN_INTEGER}, {"censored", SG_COLUMN_INTEGER},
        {"survival", SG_COLUMN_REAL},  {"low", SG_COLUMN_REAL},
        {"high", SG_COLUMN_REAL},
    };
    sg_status status = SG_OK;
    for (size_t i = 0; i < COLUMNS && status == SG_OK; i++)
        status = sg_table_add_column(curve, columns[i].name, columns[i].type, error);
    return status;
}

/* State of the product over the event times. */
struct estimate {
    double survival;
    double greenwood; /* sum of d / (n (n - d)): the variance of log survival */
};

static sg_status add_row(sg_table *curve, double time, size_t at_risk, size_t events,
                         size_t censored, const struct estimate *now, double z, sg_error *error)
{
    size_t row = sg_table_rows(curve);
    sg_status status = sg_table_add_rows(curve, 1, error);
    if (status != SG_OK)
        return status;
    double s = now->survival, low = NAN, high = NAN;
    if (s == 1) {
        low = high = 1;
    } else if (s > 0) {
        double width = z * sqrt(now->greenwood) / fabs(log(s));
        low = pow(s, exp(width));
        high = pow(s, exp(-width));
    }
    sg_table_set_real(curve, TIME, row, time);
    sg_table_set_integer(curve, AT_RISK, row, (int64_t)at_risk);
    sg_table_set_integer(curve, EVENTS, row, (int64_t)events);
    sg_table_set_integer(curve, CENSORED, row, (int64_t)censored);
    sg_table_set_real(curve, SURVIVAL, row, s);
    sg_table_set_real(curve, LOW, row, low);
    sg_table_set_real(curve, HIGH, row, high);
    return SG_OK;
}

static sg_status fill(sg_table *curve, const struct run *runs, size_t count, double z,
                      sg_error *error)
{
    struct estimate now = {.survival = 1};
    sg_status status = add_columns(curve, error);
    if (status == SG_OK)
        status = add_row(curve, 0, count, 0, 0, &now, z, error);
    for (size_t i = 0; i < count && status == SG_OK;) {
        size_t at_risk = count - i, events = 0, censored = 0;
        double time = runs[i].time;
        for (; i < count && runs[i].time == time; i++) {
            events += !runs[i].censored;
            censored += runs[i].censored;
        }
        double n = (double)at_risk, d = (double)events;
        now.survival *= (n - d) / n;
        now.greenwood += events > 0 ? d / (n * (n - d)) : 0;
        status = add_row(curve, time, at_risk, events, censored, &now, z, error);
    }
    return status;
}

sg_status sg_stats_survival(const double *times, const bool *censored, size_t count, double level,
                            sg_table **curve, size_t *left_out, sg_error *error)
{
    if (!(level > 0 && level < 1))
        return sg_fail(
            error, SG_EARGUMENT,
            "the level of the survival curve's interval is %g; choose one between 0 and 1", level);
    sg_table *result = sg_table_alloc();
    struct run *runs = malloc((count + 1) * sizeof *runs);
    sg_status status;
    if (result == NULL || runs == NULL) {
        status = sg_fail(error, SG_ENOMEM, "not enough memory for the survival of %zu runs", count);
    } else {
        size_t used = 0;
        for (size_t i = 0; i < count; i++) {
            if (!isnan(times[i]))
                runs[used++] = (struct run){times[i], censored[i]};
        }
        if (left_out != NULL)
            *left_out = count - used;
        qsort(runs, used, sizeof *runs, compare);
        status = fill(result, runs, used, gsl_cdf_ugaussian_Pinv(0.5 + level / 2), error);
    }
    free(runs);
    if (status == SG_OK)
        *curve = result;
    else
        sg_table_free(result);
    return status;
}
