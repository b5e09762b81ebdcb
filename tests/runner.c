/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs every suite: tests/check_NAME.c defines `Suite *NAME_suite(void)`, and the makefile writes the
 * list. One program, so that the output closes with one summary line of Check. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define SUITE(name) Suite *name##_suite(void);
#include "suites.inc"
#undef SUITE

int main(void)
{
    SRunner *runner = srunner_create(NULL);
#define SUITE(name) srunner_add_suite(runner, name##_suite());
#include "suites.inc"
#undef SUITE
    srunner_run_all(runner, CK_ENV);
    int run = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (run == 0) {
        fputs("no test ran: is CK_RUN_SUITE or CK_RUN_CASE misspelt?\n", stderr);
        return EXIT_FAILURE;
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
