/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs the suites of the CUDA backend, on a device or on the emulator; see the makefile. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/device.h"
#include "run_suites.h"

#define SUITE(name) Suite *name##_suite(void);
#include <cuda_suites.inc>
#undef SUITE

sg_backend_kind backend_under_test(void)
{
    return SG_BACKEND_CUDA;
}

int main(void)
{
    sg_error error;
    sg_cuda_facts facts;
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
