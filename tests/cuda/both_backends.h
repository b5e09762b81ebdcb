/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEST_BOTH_BACKENDS_H
#define SG_TEST_BOTH_BACKENDS_H

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "experiment.h"

/* What the suites that hold the device against the CPU have in common: inputs by address, and whole experiments. */

static inline double uniform(uint32_t step, uint32_t sample)
{
    return sg_rng_uniform((sg_address){21, SG_STREAM_SYNTHETIC, step, 0, sample, 0});
}

static inline double normal(uint32_t step, uint32_t sample)
{
    double pair[2];
    sg_rng_normal_pair((sg_address){22, SG_STREAM_SYNTHETIC, step, 0, sample, 0}, pair);
    return pair[0];
}

/* The same bits, or with a tolerance |cpu - device| <= tolerance (1 + |cpu|); NaN beside NaN. */
static inline bool near_on_both(double cpu, double device, double tolerance)
{
    if (isnan(cpu) || isnan(device))
        return isnan(cpu) && isnan(device);
    return tolerance > 0 ? fabs(cpu - device) <= tolerance * (1 + fabs(cpu))
                         : memcmp(&cpu, &device, sizeof cpu) == 0;
}

/* Run an experiment on the CPU and on the device, whose name must begin so: every number of every arm, J, entropies,
 * ratios, divergences. */
static inline void assert_same_on_both(sg_config *config, const char *name, double tolerance)
{
    set(config, "run.backend=cpu");
    sg_table *cpu = simulate(config);
    set(config, "run.backend=cuda");
    sg_table *device = simulate(config);
    ck_assert_uint_gt(sg_table_rows(cpu), 0);
    ck_assert_uint_eq(sg_table_rows(cpu), sg_table_rows(device));
    ck_assert_uint_eq(sg_table_columns(cpu), sg_table_columns(device));
    ck_assert_int_eq(strncmp(sg_table_meta(device, "backend"), name, strlen(name)), 0);
    for (size_t c = 0; c < sg_table_columns(cpu); c++)
        for (size_t r = 0; r < sg_table_rows(cpu); r++) {
            double a = sg_table_get_number(cpu, c, r), b = sg_table_get_number(device, c, r);
            ck_assert_msg(near_on_both(a, b, tolerance),
                          "%s in row %zu: %.17g on the CPU, %.17g on the device",
                          sg_table_column_name(cpu, c), r, a, b);
        }
    sg_table_free(cpu);
    sg_table_free(device);
}

#endif
