/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory, streams and messages of the device, on a device and on the emulator. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"
#include "backend/cuda/machine.h"

START_TEST(a_device_says_what_it_is)
{
    sg_cuda_facts facts;
    sg_error error;
    ck_assert_msg(sg_cuda_describe(&facts, &error) == SG_OK, "%s", error.message);
    ck_assert(sg_cuda_built());
    ck_assert_uint_gt(strlen(facts.name), 0);
    ck_assert_int_ge(facts.index, 0);
    ck_assert_int_gt(facts.count, facts.index);
    ck_assert_int_ge(facts.major, 5);
    ck_assert_int_gt(facts.multiprocessors, 0);
    ck_assert_uint_ge(facts.memory, facts.free_memory);
    ck_assert_int_ge(facts.runtime_version, 12000);
}
END_TEST

START_TEST(bytes_go_there_and_back)
{
    enum { N = 100003 };
    unsigned char *here = malloc(N), *back = malloc(N);
    void *there;
    sg_cuda_stream *stream;
    sg_error error;
    for (int i = 0; i < N; i++)
        here[i] = (unsigned char)(i * 7);
    ck_assert_int_eq(sg_cuda_stream_alloc(&stream, &error), SG_OK);
    ck_assert_int_eq(sg_cuda_alloc(&there, N, "a test", &error), SG_OK);
    ck_assert_int_eq(sg_cuda_to_device(there, here, N, stream, &error), SG_OK);
    ck_assert_int_eq(sg_cuda_zero((char *)there + N / 2, 10, stream, &error), SG_OK);
    ck_assert_int_eq(sg_cuda_from_device(back, there, N, stream, &error), SG_OK);
    memset(here + N / 2, 0, 10);
    ck_assert_mem_eq(here, back, N);
    sg_cuda_free(there);
    sg_cuda_stream_free(stream);
    free(here);
    free(back);
}
END_TEST

START_TEST(nothing_is_a_size_too)
{
    void *there = &there;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&there, 0, "nothing", &error), SG_OK);
    ck_assert_ptr_null(there);
    ck_assert_int_eq(sg_cuda_to_device(NULL, NULL, 0, NULL, &error), SG_OK);
    ck_assert_int_eq(sg_cuda_from_device(NULL, NULL, 0, NULL, &error), SG_OK);
    ck_assert_int_eq(sg_cuda_zero(NULL, 0, NULL, &error), SG_OK);
    sg_cuda_free(NULL);
    sg_cuda_stream_free(NULL);
}
END_TEST

START_TEST(too_much_memory_says_how_much)
{
    void *there;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&there, (size_t)1 << 50, "the table", &error), SG_ENOMEM);
    ck_assert_ptr_null(there);
    ck_assert_ptr_nonnull(
        strstr(error.message, "the table needs 1125899906.8 MB of device memory"));
    ck_assert_ptr_nonnull(strstr(error.message, "choose a smaller size, or use --backend cpu"));
    ck_assert_int_eq(sg_cuda_alloc(&there, 1000, "a test", &error), SG_OK); /* and all is well */
    sg_cuda_free(there);
}
END_TEST

static sg_status zero_some(void *context, sg_error *error)
{
    return sg_cuda_zero(context, 1 << 20, NULL, error);
}

START_TEST(work_is_timed)
{
    void *there;
    double seconds = -1;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&there, 1 << 20, "a test", &error), SG_OK);
    ck_assert_int_eq(sg_cuda_time(NULL, zero_some, there, &seconds, &error), SG_OK);
    ck_assert_double_ge(seconds, 0);
    ck_assert_double_lt(seconds, 10);
    sg_cuda_free(there);
}
END_TEST

START_TEST(the_memory_has_a_rate)
{
    double rate = 0;
    sg_error error;
    ck_assert_msg(sg_cuda_machine_rate((sg_cuda_traffic)_i, &rate, &error) == SG_OK, "%s",
                  error.message);
    ck_assert_double_gt(rate, 0);
}
END_TEST

START_TEST(the_arithmetic_has_a_rate)
{
    double rate = 0;
    sg_error error;
    sg_status status = sg_cuda_machine_matmul((sg_matmul)_i, &rate, &error);
    if (status == SG_EUNSUPPORTED && _i != SG_MATMUL_SAME && strstr(error.message, "cuBLASLt"))
        return; /* a machine may lack it */
    ck_assert_msg(status == SG_OK, "%s", error.message);
    ck_assert_double_gt(rate, 0);
}
END_TEST

START_TEST(kernels_can_be_chosen)
{
    sg_cuda_kernels before = sg_cuda_kernels_chosen();
    const char *wanted = getenv("SOFTGATE_KERNELS");
    ck_assert_int_eq(before, wanted && strcmp(wanted, "fast") == 0 ? SG_CUDA_FAST : SG_CUDA_PLAIN);
    sg_cuda_kernels_choose(SG_CUDA_FAST);
    ck_assert_int_eq(sg_cuda_kernels_chosen(), SG_CUDA_FAST);
    sg_cuda_kernels_choose(before);
    ck_assert_int_eq(sg_cuda_kernels_chosen(), before);
}
END_TEST

Suite *device_suite(void);
Suite *device_suite(void)
{
    Suite *suite = suite_create("device");
    TCase *tests = tcase_create("device");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_device_says_what_it_is);
    tcase_add_test(tests, bytes_go_there_and_back);
    tcase_add_test(tests, nothing_is_a_size_too);
    tcase_add_test(tests, too_much_memory_says_how_much);
    tcase_add_test(tests, work_is_timed);
    tcase_add_test(tests, kernels_can_be_chosen);
    tcase_add_loop_test(tests, the_arithmetic_has_a_rate, SG_MATMUL_SAME, SG_MATMUL_BF16 + 1);
    tcase_add_loop_test(tests, the_memory_has_a_rate, SG_CUDA_COPY, SG_CUDA_READ + 1);
    suite_add_tcase(suite, tests);
    return suite;
}
