/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs every suite: tests/check_NAME.c defines `Suite *NAME_suite(void)`, and the makefile writes the
 * list. One program, so that the output closes with one summary line of Check. */
#include "run_suites.h"

#define SUITE(name) Suite *name##_suite(void);
#include "suites.inc"
#undef SUITE

sg_backend_kind backend_under_test(void)
{
    return SG_BACKEND_CPU;
}

int main(void)
{
    SRunner *runner = srunner_create(NULL);
#define SUITE(name) srunner_add_suite(runner, name##_suite());
#include "suites.inc"
#undef SUITE
    return run_suites(runner);
}
