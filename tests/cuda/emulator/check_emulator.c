/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The emulator finds what it says it finds. Mistakes are made in a child, since AddressSanitizer ends the process
 * at some of them. */
#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/cuda/device.h"
#include "broken_kernels.h"
#include "broken_orders.h"
#include "emulator.h"

static int of_next_thread(int i)
{
    return 10 * (i / KERNEL_THREADS) + (i % KERNEL_THREADS + 1) % KERNEL_THREADS;
}

static int of_next_block(int i)
{
    return 10 * ((i / KERNEL_THREADS + 1) % KERNEL_BLOCKS) + i % KERNEL_THREADS;
}

static int of_mirror(int i)
{
    int t = i % KERNEL_THREADS, first = t / 32 * 32;
    int size = KERNEL_THREADS - first < 32 ? KERNEL_THREADS - first : 32;
    return first + size - 1 - (t - first);
}

/* 0: the mistake went unnoticed. */
static int make_mistake(int mistake)
{
    int out[KERNEL_N];
    bool mirror = mistake == MISSING_SYNCWARP || mistake == SHUFFLE_OF_SOME;
    int (*right)(int) = mirror                          ? of_mirror
                        : mistake >= NO_CLUSTER_MISTAKE ? of_next_block
                                                        : of_next_thread;
    if (run_kernel((kernel_mistake)mistake, out, NULL) != SG_OK)
        return 1;
    for (int i = 0; i < KERNEL_N; i++)
        if (out[i] != right(i))
            return 2;
    return 0;
}

START_TEST(right_kernels_are_right_in_every_order)
{
    uint64_t usual = sg_emulator_seed();
    for (uint64_t seed = 0; seed < 6; seed++) {
        sg_emulator_set_seed(seed);
        ck_assert_int_eq(make_mistake(NO_MISTAKE), 0);
        ck_assert_int_eq(make_mistake(NO_CLUSTER_MISTAKE), 0);
        ck_assert_str_eq(compare_warp_functions(), "");
    }
    sg_emulator_set_seed(usual);
}
END_TEST

/* In a child with this seed. */
static bool is_noticed(int (*run)(int mistake), int mistake, uint64_t seed)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        sg_emulator_set_seed(seed);
        _exit(run(mistake));
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status != 0;
}

START_TEST(mistakes_are_noticed_in_every_order)
{
    bool right = _i == NO_MISTAKE || _i == NO_CLUSTER_MISTAKE;
    for (uint64_t seed = 0; seed < 4; seed++)
        ck_assert_msg(is_noticed(make_mistake, _i, seed) == !right, "mistake %d with seed %d", _i,
                      (int)seed);
}
END_TEST

/* Never when all is done at once, always when it is as late as it can be, and by some other seed. */
START_TEST(missing_waits_are_noticed_when_the_device_is_late)
{
    bool mistake = _i >= ORDER_MISTAKES, at_random = false;
    ck_assert(!is_noticed(run_order, _i, 0));
    ck_assert(is_noticed(run_order, _i, 1) == mistake);
    for (uint64_t seed = 2; seed < 18 && !at_random; seed++)
        at_random = is_noticed(run_order, _i, seed);
    ck_assert(at_random == mistake);
}
END_TEST

START_TEST(a_lost_device_is_noticed_late)
{
    uint64_t usual = sg_emulator_seed();
    sg_cuda_stream *stream;
    void *there;
    int number = 1, back = 2;
    sg_emulator_set_seed(1);
    ck_assert(!sg_cuda_alloc(&there, sizeof number, "a number", NULL));
    ck_assert(!sg_cuda_stream_alloc(&stream, NULL));
    ck_assert(!sg_cuda_to_device(there, &number, sizeof number, stream, NULL));
    ck_assert(!sg_cuda_stream_wait(stream, NULL));
    sg_emulator_break(214);
    ck_assert(!sg_cuda_zero(there, sizeof number, stream, NULL));
    ck_assert_int_eq(sg_cuda_stream_wait(stream, NULL), SG_ETOOL);
    ck_assert_int_eq(sg_cuda_zero(there, sizeof number, stream, NULL), SG_ETOOL);
    sg_emulator_break(0);
    ck_assert(!sg_cuda_from_device(&back, there, sizeof number, stream, NULL));
    ck_assert_int_eq(back, number);
    sg_cuda_stream_free(stream);
    sg_cuda_free(there);
    sg_emulator_set_seed(usual);
}
END_TEST

START_TEST(waits_are_counted_when_something_was_asked)
{
    int numbers[4] = {1, 2, 3, 4};
    void *there;
    sg_cuda_stream *stream;
    ck_assert(!sg_cuda_alloc(&there, sizeof numbers, "numbers", NULL));
    ck_assert(!sg_cuda_stream_alloc(&stream, NULL));
    size_t before = sg_emulator_waits();
    ck_assert(!sg_cuda_to_device(there, numbers, sizeof numbers, stream, NULL));
    ck_assert(!sg_cuda_zero(there, sizeof *numbers, stream, NULL));
    ck_assert_uint_eq(sg_emulator_waits(), before);
    ck_assert(!sg_cuda_stream_wait(stream, NULL));
    ck_assert_uint_eq(sg_emulator_waits(), before + 1);
    ck_assert(!sg_cuda_stream_wait(stream, NULL));
    ck_assert_uint_eq(sg_emulator_waits(), before + 1);
    ck_assert(!sg_cuda_from_device(numbers, there, sizeof numbers, stream, NULL));
    ck_assert_uint_eq(sg_emulator_waits(), before + 2);
    ck_assert_int_eq(numbers[0], 0);
    ck_assert_int_eq(numbers[3], 4);
    sg_cuda_stream_free(stream);
    sg_cuda_free(there);
}
END_TEST

START_TEST(what_was_sent_may_change_on_any_device)
{
    uint64_t usual = sg_emulator_seed();
    for (int pageable = 0; pageable < 2; pageable++) {
        int number = 1;
        void *there;
        sg_cuda_stream *stream;
        sg_emulator_set_seed(1); /* late */
        sg_emulator_set_pageable(pageable);
        ck_assert(!sg_cuda_alloc(&there, sizeof number, "a number", NULL));
        ck_assert(!sg_cuda_stream_alloc(&stream, NULL));
        size_t before = sg_emulator_waits();
        ck_assert(!sg_cuda_to_device(there, &number, sizeof number, stream, NULL));
        ck_assert_uint_eq(sg_emulator_waits(), before + (size_t)pageable);
        number = 2;
        ck_assert(!sg_cuda_from_device(&number, there, sizeof number, stream, NULL));
        ck_assert_int_eq(number, 1);
        sg_cuda_stream_free(stream);
        sg_cuda_free(there);
    }
    sg_emulator_set_pageable(false);
    sg_emulator_set_seed(usual);
}
END_TEST

START_TEST(faults_of_a_device_become_sentences)
{
    static const struct {
        int code;
        sg_status status;
        const char *words;
    } faults[] = {{214, SG_ETOOL, "was lost while taking device memory"},
                  {209, SG_EUNSUPPORTED,
                   "device code for this machine's, and none that this device of "
                   "compute capability 9.0 can run: build with CUDA_ARCH=sm_90"},
                  {46, SG_ETOOL, "is another process holding it?"},
                  {700, SG_EINTERNAL, "a bug in softgate"},
                  {999, SG_ETOOL, "nvidia-smi"}};
    sg_error error;
    void *there;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        ck_assert_int_eq(sg_cuda_use(&error), SG_OK);
        sg_emulator_break(faults[i].code);
        ck_assert_int_eq(sg_cuda_alloc(&there, 8, "a test", &error), faults[i].status);
        sg_emulator_break(0);
    }
    for (int devices = -1; devices < 1; devices++) {
        sg_cuda_facts facts;
        sg_emulator_set_devices(devices);
        ck_assert_int_ne(sg_cuda_describe(&facts, &error), SG_OK);
        sg_emulator_set_devices(1);
        sg_emulator_break(0);
    }
    ck_assert_int_eq(sg_cuda_use(&error), SG_OK);
}
END_TEST

/* Last, and in every suite that fails half way: tests that leave device memory behind. */
START_TEST(all_memory_was_given_back)
{
    ck_assert_uint_eq(sg_emulator_bytes_in_use(), 0);
    ck_assert_str_eq(sg_emulator_complaint(), "");
}
END_TEST

Suite *emulator_suite(void);
Suite *emulator_suite(void)
{
    Suite *suite = suite_create("emulator");
    TCase *tests = tcase_create("emulator");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, right_kernels_are_right_in_every_order);
    tcase_add_loop_test(tests, mistakes_are_noticed_in_every_order, NO_MISTAKE, MISTAKES);
    tcase_add_loop_test(tests, missing_waits_are_noticed_when_the_device_is_late, IN_ORDER,
                        ORDER_PROGRAMS);
    tcase_add_test(tests, a_lost_device_is_noticed_late);
    tcase_add_test(tests, faults_of_a_device_become_sentences);
    tcase_add_test(tests, waits_are_counted_when_something_was_asked);
    tcase_add_test(tests, what_was_sent_may_change_on_any_device);
    tcase_add_test(tests, all_memory_was_given_back);
    suite_add_tcase(suite, tests);
    return suite;
}
