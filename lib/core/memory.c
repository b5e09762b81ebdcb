/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

double sg_memory_limit(const char *path)
{
    FILE *file = fopen(path, "r");
    double bytes = INFINITY;
    if (file == NULL)
        return bytes;
    if (fscanf(file, "%lf", &bytes) != 1 || !(bytes > 0))
        bytes = INFINITY;
    fclose(file);
    return bytes;
}

double sg_memory_there(void)
{
    double pages = (double)sysconf(_SC_PHYS_PAGES), size = (double)sysconf(_SC_PAGESIZE);
    double machine = pages > 0 && size > 0 ? pages * size : INFINITY;
    double second = sg_memory_limit("/sys/fs/cgroup/memory.max");
    double first = sg_memory_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    double least = fmin(machine, fmin(first, second));
    return isfinite(least) ? least : 0;
}
