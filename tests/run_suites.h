/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RUN_SUITES_H
#define SG_RUN_SUITES_H

#include <check.h>

#include "backend/backend.h"

/* The backend that this test program is about: suites that hold on every backend ask. */
sg_backend_kind backend_under_test(void);

/* Run, print Check's summary, free. Gives the exit status. */
int run_suites(SRunner *runner);

#endif
