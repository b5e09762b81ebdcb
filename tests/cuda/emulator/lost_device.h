/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEST_LOST_DEVICE_H
#define SG_TEST_LOST_DEVICE_H

#include <string.h>

#include "emulator.h"
#include "experiment.h"

/* What the suites of a device that is too small, or lost in the middle, have in common. */

enum { ECC_UNCORRECTABLE = 214 }; /* of cudaError */

static inline void lose_device(void)
{
    sg_emulator_break(ECC_UNCORRECTABLE);
}

static inline void bring_device_back(void)
{
    sg_emulator_break(0);
}

/* Only so many bytes more than are in use. */
static inline void leave_memory(size_t bytes)
{
    sg_emulator_set_memory(sg_emulator_bytes_in_use() + bytes);
}

static inline void leave_much_memory(void)
{
    sg_emulator_set_memory((size_t)8 << 30);
}

static inline void assert_says(const sg_error *error, const char *text)
{
    ck_assert_msg(strstr(error->message, text) != NULL, "'%s' is not in: %s", text, error->message);
}

static inline void lose_device_at_half(void *context, double done)
{
    bool *lost = context;
    if (done >= 0.5 && !*lost) {
        lose_device();
        *lost = true;
    }
}

/* An experiment on one thread whose device is lost at half: runs that were finished before are in the table. */
static inline void assert_keeps_finished_runs(sg_config *config)
{
    sg_table *table;
    sg_error error;
    bool lost = false;
    sg_simulate_callbacks callbacks = {.progress = lose_device_at_half, .context = &lost};
    set(config, "run.backend=cuda");
    set(config, "run.threads=1");
    ck_assert_int_eq(sg_simulate(config, &callbacks, &table, &error), SG_ETOOL);
    bring_device_back();
    assert_says(&error, "was lost while");
    ck_assert_ptr_nonnull(table);
    ck_assert_uint_gt(sg_table_rows(table), 0);
    sg_table_free(table);
}

#endif
