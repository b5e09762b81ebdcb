/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Harness of the benchmarks: which workloads, how often, and the table. */
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cuda/machine.h"
#include "cli/bench_case.h"
#include "cli/bench_w3.h"
#include "core/text.h"

const char *const bench_names[] = {"W1",
                                   "W1g",
                                   "W1s",
                                   "W1s.row",
                                   "W1.stats",
                                   "W1.taus",
                                   "W2.update",
                                   "W2.step",
                                   "W2.inner",
                                   "W2.draw",
                                   "W2.observe",
                                   "W2.light",
                                   "W2.light.1e5",
                                   "W2.light.1e6",
                                   "W2a",
                                   "W2a.inner",
                                   "W3.forward",
                                   "W3.forward.tf32",
                                   "W3.forward.bf16",
                                   "W3.fwdbwd",
                                   "W3.fwdbwd.tf32",
                                   "W3.fwdbwd.bf16",
                                   "W3.grouped",
                                   "W3.large",
                                   "W3.large.tf32",
                                   "W3.large.bf16",
                                   "W3.step",
                                   "W4",
                                   NULL};

enum { LEAST_REPETITIONS = 7, USUAL_REPETITIONS = 15, MOST_REPETITIONS = 1000 };

typedef struct timing {
    double median, best, cpu;
} timing;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static timing summary(double *wall, int repetitions, double cpu, double per)
{
    qsort(wall, (size_t)repetitions, sizeof *wall, by_size);
    return (timing){wall[repetitions / 2] / per, wall[0] / per, cpu / per};
}

static timing measure(const bench_case *work, int repetitions)
{
    double wall[MOST_REPETITIONS], cpu = INFINITY;
    work->run(work->data); /* warms caches, pages and threads */
    for (int i = 0; i < repetitions; i++) {
        double cpu_start = seconds(CLOCK_PROCESS_CPUTIME_ID), start = seconds(CLOCK_MONOTONIC);
        work->run(work->data);
        wall[i] = seconds(CLOCK_MONOTONIC) - start;
        cpu = fmin(cpu, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start);
    }
    return summary(wall, repetitions, cpu, work->per ? work->per : 1);
}

/* Launches in a row, enough of them for LEAST_SECONDS of the device's clock. */
typedef struct launches {
    const bench_case *work;
    int count;
} launches;

static sg_status launch_all(void *context, sg_error *error)
{
    const launches *all = context;
    sg_status status = SG_OK;
    for (int i = 0; i < all->count && status == SG_OK; i++)
        status = all->work->queue(all->work->data, error);
    return status;
}

static sg_status measure_device(const bench_case *work, int repetitions, timing *time,
                                sg_error *error)
{
    const double least_seconds = 1e-3;
    double wall[MOST_REPETITIONS], once = 0;
    launches all = {work, 2};
    sg_status status = sg_cuda_time(work->stream, launch_all, &all, &once, error); /* warms up */
    if (status == SG_OK)
        status = sg_cuda_time(work->stream, launch_all, &all, &once, error);
    all.count = once > 0 ? (int)fmin(fmax(ceil(least_seconds / (once / 2)), 1), 100) : 100;
    for (int i = 0; i < repetitions && status == SG_OK; i++)
        status = sg_cuda_time(work->stream, launch_all, &all, &wall[i], error);
    if (status == SG_OK)
        *time = summary(wall, repetitions, (double)NAN,
                        (work->per ? work->per : 1) * (double)all.count);
    return status;
}

static int threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

static const struct {
    const char *name;
    sg_column_type type;
} columns[] = {
    {"workload", SG_COLUMN_TEXT},
    {"backend", SG_COLUMN_TEXT},
    {"threads", SG_COLUMN_INTEGER},
    {"shape", SG_COLUMN_TEXT},
    {"median_s", SG_COLUMN_REAL},
    {"best_s", SG_COLUMN_REAL},
    {"cpu_s", SG_COLUMN_REAL},
    {"repetitions", SG_COLUMN_INTEGER},
    {"bytes", SG_COLUMN_REAL},
    {"gb_per_s", SG_COLUMN_REAL},
    {"machine_gb_per_s", SG_COLUMN_REAL},
    {"fraction", SG_COLUMN_REAL},
    {"error_vs_fp64", SG_COLUMN_REAL},
    {"flop", SG_COLUMN_REAL},
    {"gflops", SG_COLUMN_REAL},
    {"machine_gflops", SG_COLUMN_REAL},
};

/* What the machine does at best; the lesser of two looks would count a neighbour's noise. */
typedef struct limits {
    double gb_per_s, gflops;
} limits;

static sg_status look(const bench_case *work, limits *seen, sg_error *error)
{
    static const sg_cuda_traffic traffic[] = {SG_CUDA_COPY, SG_CUDA_IN_PLACE, SG_CUDA_READ};
    if (work->queue) {
        seen->gflops = (double)NAN;
        sg_status status = sg_cuda_machine_rate(traffic[work->traffic], &seen->gb_per_s, error);
        if (status == SG_OK && work->flop > 0)
            status = sg_cuda_machine_matmul(work->matmul, &seen->gflops, error);
        return status;
    }
    seen->gb_per_s = bench_machine(work->traffic);
    seen->gflops = work->flop > 0 ? bench_w3_machine() : (double)NAN;
    return SG_OK;
}

/* "cpu/avx2", "cuda/NVIDIA H200". */
static void name_backend(const bench_case *work, char *name, size_t size)
{
    sg_cuda_facts facts;
    if (!work->queue)
        snprintf(name, size, "%s%s", strchr(work->backend, '/') ? "" : "cpu/", work->backend);
    else if (sg_cuda_describe(&facts, NULL) == SG_OK)
        snprintf(name, size, "cuda/%s%s", facts.name,
                 sg_cuda_kernels_chosen() == SG_CUDA_FAST ? " (fast kernels)" : "");
    else
        snprintf(name, size, "cuda");
}

static sg_status add_row(sg_table *table, const char *name, const bench_case *work, timing time,
                         int repetitions, limits machine, sg_error *error)
{
    size_t row = sg_table_rows(table), c = 0;
    sg_status status = sg_table_add_rows(table, 1, error);
    char backend[300];
    name_backend(work, backend, sizeof backend);
    if (status == SG_OK)
        status = sg_table_set_text(table, c++, row, name, error);
    if (status == SG_OK)
        status = sg_table_set_text(table, c++, row, backend, error);
    if (status == SG_OK)
        sg_table_set_integer(table, c++, row, work->queue ? 0 : threads());
    if (status == SG_OK)
        status = sg_table_set_text(table, c++, row, work->shape, error);
    if (status != SG_OK)
        return status;
    double rate = work->bytes / time.best * 1e-9;
    sg_table_set_real(table, c++, row, time.median);
    sg_table_set_real(table, c++, row, time.best);
    sg_table_set_real(table, c++, row, time.cpu);
    sg_table_set_integer(table, c++, row, repetitions);
    sg_table_set_real(table, c++, row, work->bytes);
    sg_table_set_real(table, c++, row, rate);
    bool arithmetic = work->flop > 0;
    double gflops = work->flop / time.best * 1e-9;
    sg_table_set_real(table, c++, row, machine.gb_per_s);
    sg_table_set_real(table, c++, row,
                      arithmetic ? gflops / machine.gflops : rate / machine.gb_per_s);
    sg_table_set_real(table, c++, row, work->error);
    sg_table_set_real(table, c++, row, arithmetic ? work->flop : (double)NAN);
    sg_table_set_real(table, c++, row, arithmetic ? gflops : (double)NAN);
    sg_table_set_real(table, c++, row, arithmetic ? machine.gflops : (double)NAN);
    return SG_OK;
}

static bool is_on(sg_backend_kind backend, const char *name)
{
    return backend == SG_BACKEND_CUDA || bench_w3_matmul(name) == SG_MATMUL_SAME;
}

static sg_status prepare(const char *name, size_t cut, sg_backend_kind backend, bench_case *made,
                         sg_error *error)
{
    if (strncmp(name, "W1", 2) == 0)
        return (backend == SG_BACKEND_CUDA ? bench_gates_cuda_prepare
                                           : bench_gates_prepare)(name, cut, made, error);
    if (strncmp(name, "W2.light", 8) == 0)
        return bench_light_prepare(name, cut, backend, made, error);
    if (strcmp(name, "W3.step") == 0)
        return bench_step_prepare(cut, backend, made, error);
    if (strncmp(name, "W3", 2) == 0)
        return bench_w3_prepare(name, cut, backend, made, error);
    if (strcmp(name, "W4") == 0)
        return bench_w4_prepare(cut, backend, made, error);
    return bench_rows_prepare(name, cut, backend, made, error);
}

static sg_status run_one(const char *name, const bench_options *options, sg_table *table,
                         sg_error *error)
{
    int repetitions = options->repetitions ? options->repetitions : USUAL_REPETITIONS;
    repetitions = repetitions < LEAST_REPETITIONS  ? LEAST_REPETITIONS
                  : repetitions > MOST_REPETITIONS ? MOST_REPETITIONS
                                                   : repetitions;
    bench_case work = {0};
    size_t cut = options->small ? 16 : 1;
    timing time;
    limits before, after;
    sg_status status = prepare(name, cut, options->backend, &work, error);
    if (status == SG_OK)
        status = look(&work, &before, error);
    if (status == SG_OK && work.queue)
        status = measure_device(&work, repetitions, &time, error);
    else if (status == SG_OK)
        time = measure(&work, repetitions);
    if (status == SG_OK)
        status = look(&work, &after, error);
    if (status == SG_OK) {
        after.gb_per_s = fmax(before.gb_per_s, after.gb_per_s);
        after.gflops = fmax(before.gflops, after.gflops);
        status = add_row(table, name, &work, time, repetitions, after, error);
    }
    if (work.free)
        work.free(work.data);
    return status;
}

/* "W2" wants W2.update, W2.step, ...; "W1" only W1 itself, as its parts have names of their own. */
static bool wants(const char *wanted, const char *name)
{
    size_t length = strlen(wanted);
    return strcmp(wanted, name) == 0 ||
           (strcmp(wanted, "W1") != 0 && strncmp(wanted, name, length) == 0 && name[length] == '.');
}

static sg_status check_names(const char *const *workloads, size_t count, sg_backend_kind backend,
                             sg_error *error)
{
    for (size_t w = 0; w < count; w++) {
        bool known = false, there = false;
        for (size_t k = 0; bench_names[k]; k++) {
            bool wanted = wants(workloads[w], bench_names[k]);
            known = known || wanted;
            there = there || (wanted && is_on(backend, bench_names[k]));
        }
        if (there)
            continue;
        if (known)
            return backend == SG_BACKEND_CUDA
                       ? sg_fail(error, SG_EUNSUPPORTED,
                                 "the CUDA backend does not have workload %s; leave it out, or use "
                                 "--backend cpu",
                                 workloads[w])
                       : sg_fail(error, SG_EUNSUPPORTED,
                                 "workload %s runs on tensor cores; leave it out, or use --backend "
                                 "cuda",
                                 workloads[w]);
        const char *near = sg_nearest_name(workloads[w], bench_names);
        return sg_fail(error, SG_EARGUMENT, "there is no workload %s%s%s%s", workloads[w],
                       near ? "; did you mean "
                            : "; they are W1, W1g, W1s, W1.stats, W1.taus, W2, W2a, W3, W4",
                       near ? near : "", near ? "?" : "");
    }
    return SG_OK;
}

sg_status bench_run(const char *const *workloads, size_t count, const bench_options *options,
                    sg_table **table, sg_error *error)
{
    *table = NULL;
    sg_status status = check_names(workloads, count, options->backend, error);
    sg_table *made = status == SG_OK ? sg_table_alloc() : NULL;
    if (status == SG_OK && !made)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    for (size_t c = 0; c < sizeof columns / sizeof *columns && status == SG_OK; c++)
        status = sg_table_add_column(made, columns[c].name, columns[c].type, error);
    for (size_t k = 0; bench_names[k] && status == SG_OK; k++) {
        bool wanted = count == 0, by_name = false;
        for (size_t w = 0; w < count; w++) {
            wanted = wanted || wants(workloads[w], bench_names[k]);
            by_name = by_name || strcmp(workloads[w], bench_names[k]) == 0;
        }
        if (!wanted || !is_on(options->backend, bench_names[k]))
            continue;
        sg_error why = {0};
        status = run_one(bench_names[k], options, made, &why);
        bool optional = !by_name && bench_w3_matmul(bench_names[k]) != SG_MATMUL_SAME;
        if (status == SG_EUNSUPPORTED && optional) /* a machine may lack cuBLASLt */
            status = sg_table_set_meta(made, "not_run", why.message, error);
        else if (status != SG_OK)
            status = sg_fail(error, status, "%s", why.message);
    }
    if (status != SG_OK) {
        sg_table_free(made);
        return status;
    }
    *table = made;
    return SG_OK;
}
