/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_THREADS_H
#define SG_CPU_THREADS_H

#include <stdbool.h>
#include <stddef.h>

/* Threads that this call may use: 1 inside a parallel region and without OpenMP. */
int sg_threads_free(void);

/* task(context, i) for i in 0..count-1, on all free threads when the work is worth it. `weight` is
 * the size of one task in tokens. Tasks must not depend on each other. */
void sg_for_each(size_t count, size_t weight, void (*task)(void *context, size_t i), void *context);

#endif
