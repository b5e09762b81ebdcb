/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What this machine's memory does: the measure of every workload that memory limits. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "cli/bench_case.h"

enum { LANES = 16, PARTS = 64, WORDS = 1 << 24 }; /* 64 MiB an array: beyond any cache of a desk */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), may_alias));

float *bench_floats(size_t n)
{
    void *block = NULL;
    size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
    if (posix_memalign(&block, 2 << 20, bytes) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(block, bytes, MADV_HUGEPAGE);
#endif
    float *x = block;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        x[i] = 0;
    return x;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* y = x + 1 (a plain copy would be turned into a library call with other kinds of stores). */
static void copy(size_t n, const float *x, float *y)
{
    const lanes *from = (const lanes *)(const void *)x;
    lanes *to = (lanes *)(void *)y;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n / LANES; i++)
        to[i] = from[i] + 1.0f;
}

static void in_place(size_t n, float *x)
{
    lanes *v = (lanes *)(void *)x;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n / LANES; i++)
        v[i] = v[i] + 1.0f;
}

static float read_all(size_t n, const float *x)
{
    typedef float four __attribute__((vector_size(4 * sizeof(float)), may_alias));
    const four *v = (const four *)(const void *)x;
    float sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (size_t part = 0; part < PARTS; part++) {
        four a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};
        size_t count = n / 4 / PARTS, first = part * count;
        for (size_t i = first; i < first + count; i += 8) {
            a += v[i];
            b += v[i + 1];
            c += v[i + 2];
            d += v[i + 3];
            e += v[i + 4];
            f += v[i + 5];
            g += v[i + 6];
            h += v[i + 7];
        }
        a += b + c + d + (e + f + g + h);
        sum += a[0] + a[1] + a[2] + a[3];
    }
    return sum;
}

double bench_machine(bench_traffic traffic)
{
    float *x = bench_floats(WORDS), *y = traffic == BENCH_COPY ? bench_floats(WORDS) : NULL;
    double best = 0;
    volatile float sink;
    for (int round = 0; x && (y || traffic != BENCH_COPY) && round < 8; round++) {
        double start = now();
        if (traffic == BENCH_COPY)
            copy(WORDS, x, y);
        else if (traffic == BENCH_IN_PLACE)
            in_place(WORDS, x);
        else
            sink = read_all(WORDS, x);
        double bytes = (traffic == BENCH_READ ? 1.0 : 2.0) * WORDS * sizeof(float);
        double rate = bytes / (now() - start) * 1e-9;
        best = round > 0 && rate > best ? rate : best; /* the first round warms up */
    }
    (void)sink;
    free(x);
    free(y);
    return best > 0 ? best : (double)NAN;
}
