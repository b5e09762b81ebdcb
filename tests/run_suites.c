/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "run_suites.h"

#include <stdio.h>
#include <stdlib.h>

int run_suites(SRunner *runner)
{
    srunner_run_all(runner, CK_ENV);
    int run = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (run == 0) {
        fputs("no test ran: is CK_RUN_SUITE or CK_RUN_CASE misspelt?\n", stderr);
        return EXIT_FAILURE;
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
