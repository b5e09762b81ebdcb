/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cpu/threads.h"

#ifdef _OPENMP
#include <omp.h>
#endif

int sg_threads_free(void)
{
#ifdef _OPENMP
    return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

void sg_for_each(size_t count, size_t weight, void (*task)(void *context, size_t i), void *context)
{
    const size_t worth = 16384; /* tokens: below this, waking threads costs more than it saves */
    if (count == 1 || count * weight < worth || sg_threads_free() == 1) {
        for (size_t i = 0; i < count; i++)
            task(context, i);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        task(context, i);
}
