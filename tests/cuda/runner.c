/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs the suites of the CUDA backend, on a device or on the emulator; see the makefile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"
#include "run_suites.h"

#define SUITE(name) Suite *name##_suite(void);
#include <cuda_suites.inc>
#undef SUITE

sg_backend_kind backend_under_test(void)
{
    return SG_BACKEND_CUDA;
}

/* --list: names for CK_RUN_SUITE, for those who give each suite a process of its own: what a fault of the device does to
 * one of them then stays there. */
int main(int argc, char **argv)
{
    sg_error error;
    sg_cuda_facts facts;
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
#define SUITE(name) puts(#name);
#include <cuda_suites.inc>
#undef SUITE
        return EXIT_SUCCESS;
    }
    if (sg_cuda_describe(&facts, &error) != SG_OK) {
        fprintf(stderr, "check-cuda: %s\n", error.message);
        return EXIT_FAILURE;
    }
    printf("CUDA tests on %s\n", facts.name);
    SRunner *runner = srunner_create(NULL);
#define SUITE(name) srunner_add_suite(runner, name##_suite());
#include <cuda_suites.inc>
#undef SUITE
    return run_suites(runner);
}
