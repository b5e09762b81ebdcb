/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates on the device at the sizes where kernels change their ways: plain and fast ones beside the CPU. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gates.h"
#include "core/rng.h"

static const size_t sizes[] = {0,    1,    3,    4,    5,    127,  128, 129,
                               1023, 1024, 1025, 2047, 2049, 4097, 5003};
enum { SIZES = sizeof sizes / sizeof *sizes, MOST = 5003, OFFSETS = 5, PAD = 8 };
static const sg_cuda_kernels both[] = {SG_CUDA_PLAIN, SG_CUDA_FAST};

static sg_cuda_kernels chosen_before;

static void remember(void)
{
    chosen_before = sg_cuda_kernels_chosen();
}

static void restore(void)
{
    sg_cuda_kernels_choose(chosen_before);
}

static sg_objective objective_of(const char *spec)
{
    sg_objective objective;
    sg_error error;
    ck_assert_msg(sg_objective_parse(&objective, spec, &error) == SG_OK, "%s", error.message);
    return objective;
}

static void make_batch(size_t n, float *ratio, float *advantage)
{
    static const float awkward[] = {1.0f, 0.0f, INFINITY, NAN, 1e-40f, 0.8f, 1.28f, 1e30f};
    for (size_t i = 0; i < n; i++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){5, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)i}, pair);
        ratio[i] = i % 53 < 8 ? awkward[i % 53] : expf((float)(0.4 * pair[0]));
        advantage[i] = i % 11 == 0 ? 0.0f : i % 211 == 7 ? NAN : (float)pair[1];
    }
}

static bool same(float x, float y)
{
    return isnan(x) ? isnan(y) : x == y;
}

/* Arrays of the device, each with room for an offset and some cells that nobody may touch. */
typedef struct arrays {
    float *ratio, *advantage, *value, *slope;
} arrays;

enum { ROOM = MOST + OFFSETS + PAD };

static void load(float *block, arrays *at, const size_t offset[4], size_t n, const float *ratio,
                 const float *advantage)
{
    sg_error error;
    *at = (arrays){block + offset[0], block + ROOM + offset[1], block + 2 * ROOM + offset[2],
                   block + 3 * ROOM + offset[3]};
    ck_assert_int_eq(sg_cuda_zero(block, 4 * ROOM * sizeof *block, NULL, &error), SG_OK);
    if (n) {
        sg_cuda_to_device(at->ratio, ratio, n * sizeof *ratio, NULL, &error);
        sg_cuda_to_device(at->advantage, advantage, n * sizeof *advantage, NULL, &error);
    }
}

/* Pointers that share their place within 16 bytes, and pointers that do not; outputs together and alone. */
static const struct layout {
    size_t offset[4];
    bool value, slope;
} layouts[] = {{{0, 0, 0, 0}, true, true},  {{1, 1, 1, 1}, true, true},  {{3, 3, 3, 3}, true, true},
               {{2, 2, 2, 1}, true, false}, {{0, 0, 1, 0}, false, true}, {{0, 1, 2, 3}, true, true},
               {{1, 0, 0, 0}, true, true}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void check_tokens(const sg_objective *objective, const struct layout *layout, float *block,
                         const float *ratio, const float *advantage, const float *v, const float *s)
{
    static float value[ROOM], slope[ROOM];
    sg_error error;
    for (int k = 0; k < SIZES; k++) {
        size_t n = sizes[k], wrong = 0;
        arrays at;
        load(block, &at, layout->offset, n, ratio, advantage);
        ck_assert_int_eq(sg_cuda_gates_queue(objective, n, at.ratio, at.advantage,
                                             layout->value ? at.value : NULL,
                                             layout->slope ? at.slope : NULL, NULL, &error),
                         SG_OK);
        sg_cuda_from_device(value, block + 2 * ROOM, sizeof value, NULL, &error);
        sg_cuda_from_device(slope, block + 3 * ROOM, sizeof slope, NULL, &error);
        for (size_t i = 0; i < ROOM; i++) {
            size_t a = i - layout->offset[2], b = i - layout->offset[3]; /* wraps before 0 */
            wrong += !same(value[i], layout->value && a < n ? v[a] : 0);
            wrong += !same(slope[i], layout->slope && b < n ? s[b] : 0);
        }
        ck_assert_msg(wrong == 0, "%zu wrong results of %zu tokens", wrong, n);
    }
}

START_TEST(tokens_of_any_number_and_place)
{
    static const char *const specs[] = {"sapo", "grpo:dual_clip=3", "cispo"};
    static float ratio[MOST], advantage[MOST], v[MOST], s[MOST];
    void *block;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&block, 4 * ROOM * sizeof(float), "a test", &error), SG_OK);
    make_batch(MOST, ratio, advantage);
    sg_cuda_kernels_choose(both[_i % 2]);
    for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) {
        sg_objective objective = objective_of(specs[k]);
        sg_gates_apply(SG_BACKEND_CPU, &objective, MOST, ratio, advantage, v, s, NULL);
        check_tokens(&objective, &layouts[_i / 2], block, ratio, advantage, v, s);
    }
    sg_cuda_free(block);
}
END_TEST

/* ---- Statistics ---- */

static void check_statistics(size_t count, const sg_objective *objective, size_t n,
                             const float *ratio, const float *advantage, const arrays *at)
{
    sg_gate_statistics cpu[8], device[8];
    sg_error error;
    void *room;
    memset(cpu, 0, sizeof cpu);
    memset(device, 0, sizeof device);
    ck_assert_int_eq(
        sg_gates_statistics(SG_BACKEND_CPU, count, objective, n, ratio, advantage, cpu, &error),
        SG_OK);
    ck_assert_int_eq(
        sg_cuda_alloc(&room, sg_cuda_gates_statistics_bytes(count, n), "a test", &error), SG_OK);
    ck_assert_int_eq(sg_cuda_gates_prepare_statistics(count, objective, n, room, NULL, &error),
                     SG_OK);
    ck_assert_int_eq(sg_cuda_gates_queue_statistics(count, objective, n, at->ratio, at->advantage,
                                                    room, NULL, &error),
                     SG_OK);
    ck_assert_int_eq(sg_cuda_gates_fetch_statistics(count, n, room, device, NULL, &error), SG_OK);
    for (size_t k = 0; k < count; k++) {
        double mine = device[k].effective_update_ratio, want = cpu[k].effective_update_ratio;
        ck_assert(isnan(want) ? isnan(mine)
                              : mine == want || fabs(mine - want) <= 1e-12 * fabs(want));
        device[k].effective_update_ratio = cpu[k].effective_update_ratio = 0;
        ck_assert_mem_eq(&device[k], &cpu[k], sizeof cpu[k]);
    }
    sg_cuda_free(room);
}

/* One objective; several of one gate; several gates in turn. With NaN among the ratios, and without. */
START_TEST(statistics_of_any_number_and_place)
{
    sg_objective objective[] = {objective_of("sapo:tau_pos=2,tau_neg=3"),
                                objective_of("sapo"),
                                objective_of("grpo"),
                                objective_of("gipo"),
                                objective_of("gate-softsign"),
                                objective_of("sapo")};
    static float ratio[MOST], advantage[MOST];
    void *block;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&block, 4 * ROOM * sizeof(float), "a test", &error), SG_OK);
    sg_cuda_kernels_choose(both[_i % 2]);
    make_batch(MOST, ratio, advantage);
    for (size_t i = 0; i < MOST && _i / 2 > 1; i++)
        ratio[i] = isfinite(ratio[i]) ? ratio[i] : 1.5f;
    const size_t offset[2][4] = {{0, 0, 0, 0}, {1, 3, 0, 0}};
    static const size_t few[] = {0, 1, 129, 2049, 4097};
    for (int k = 0; k < 5; k++) {
        arrays at;
        load(block, &at, offset[_i / 2 % 2], few[k], ratio, advantage);
        check_statistics(1, &objective[k], few[k], ratio, advantage, &at);
        check_statistics(k < 3 ? 3 : 6, objective + (k < 3), few[k], ratio, advantage, &at);
    }
    sg_cuda_free(block);
}
END_TEST

/* So many tokens that the blocks of one objective come back for more. */
START_TEST(statistics_of_many_tokens)
{
    enum { MANY = 1100003 };
    sg_objective objective = objective_of("grpo");
    float *ratio = malloc(2 * (size_t)MANY * sizeof *ratio), *advantage = ratio + MANY;
    for (size_t i = 0; i < MANY; i++) {
        ratio[i] = (float)(i % 1000) * 2e-3f;
        advantage[i] = (float)(i % 7) - 3;
    }
    void *block;
    sg_error error;
    ck_assert_int_eq(sg_cuda_alloc(&block, 2 * (size_t)MANY * sizeof *ratio, "a test", &error),
                     SG_OK);
    sg_cuda_to_device(block, ratio, 2 * (size_t)MANY * sizeof *ratio, NULL, &error);
    arrays at = {block, (float *)block + MANY, NULL, NULL};
    sg_cuda_kernels_choose(SG_CUDA_FAST);
    check_statistics(1, &objective, MANY, ratio, advantage, &at);
    sg_cuda_free(block);
    free(ratio);
}
END_TEST

/* ---- Sequences ---- */

typedef struct rows {
    size_t count, *start;
    float *d, *advantage, *value, *row, *slope; /* on the host; d and slope [tokens] */
} rows;

static rows make_rows(size_t count, const size_t *length)
{
    rows r = {.count = count, .start = malloc((count + 1) * sizeof *r.start)};
    r.start[0] = 5;
    for (size_t i = 0; i < count; i++)
        r.start[i + 1] = r.start[i] + length[i];
    size_t tokens = r.start[count];
    r.d = malloc((2 * tokens + 3 * count) * sizeof *r.d);
    r.slope = r.d + tokens;
    r.advantage = r.slope + tokens;
    r.value = r.advantage + count;
    r.row = r.value + count;
    for (size_t i = 0; i < tokens; i++) {
        double pair[2];
        sg_rng_normal_pair((sg_address){6, SG_STREAM_SYNTHETIC, 0, 0, 0, (uint32_t)i}, pair);
        r.d[i] = (float)(1e-3 * pair[0]);
        r.slope[i] = 7;
    }
    for (size_t i = 0; i < count; i++)
        r.advantage[i] = i % 3 == 0 ? -1.5f : i % 3 == 1 ? 0.5f : 0.0f;
    return r;
}

static rows copy_of(const rows *r)
{
    size_t tokens = r->start[r->count];
    rows c = {.count = r->count, .start = r->start};
    c.d = malloc((2 * tokens + 3 * r->count) * sizeof *c.d);
    memcpy(c.d, r->d, (2 * tokens + 3 * r->count) * sizeof *c.d);
    c.slope = c.d + tokens;
    c.advantage = c.slope + tokens;
    c.value = c.advantage + r->count;
    c.row = c.value + r->count;
    return c;
}

static void apply_rows(sg_backend_kind backend, const sg_objective *objective, rows *r)
{
    sg_error error;
    ck_assert_msg(sg_gates_apply_sequences(backend, objective, r->count, r->start, r->d,
                                           r->advantage, r->value, r->row, r->slope,
                                           &error) == SG_OK,
                  "%s", error.message);
}

static bool near(float mine, float want)
{
    return isnan(want) ? isnan(mine)
                       : mine == want || fabsf(mine - want) <= 2e-7f * (1 + fabsf(want));
}

static void check_near(float mine, float want)
{
    ck_assert_msg(near(mine, want), "%.9g is not %.9g", (double)mine, (double)want);
}

/* Near the CPU; and where a sequence is not cut, the fast kernels give the bits of the plain ones. */
static void check_rows(const sg_objective *objective, rows *r)
{
    rows cpu = copy_of(r), plain = copy_of(r), fast = copy_of(r);
    apply_rows(SG_BACKEND_CPU, objective, &cpu);
    sg_cuda_kernels_choose(SG_CUDA_PLAIN);
    apply_rows(SG_BACKEND_CUDA, objective, &plain);
    sg_cuda_kernels_choose(SG_CUDA_FAST);
    apply_rows(SG_BACKEND_CUDA, objective, &fast);
    for (size_t t = 0; t < r->start[0]; t++)
        ck_assert_float_eq(fast.slope[t], 7);
    size_t far = 0, differ = 0, unequal = 0; /* Check is slow where it asserts often */
    for (size_t i = 0; i < r->count; i++) {
        bool whole = r->start[i + 1] - r->start[i] <= SG_CUDA_LONG_SEQUENCE;
        far += !near(plain.value[i], cpu.value[i]) || !near(plain.row[i], cpu.row[i]);
        far += !near(fast.value[i], cpu.value[i]) || !near(fast.row[i], cpu.row[i]);
        differ += whole && !same(plain.value[i], fast.value[i]);
        differ += whole && !same(plain.row[i], fast.row[i]);
        for (size_t t = r->start[i]; t < r->start[i + 1]; t++)
            unequal += !same(plain.slope[t], plain.row[i]) || !same(fast.slope[t], fast.row[i]);
    }
    ck_assert_uint_eq(far, 0);
    ck_assert_uint_eq(differ, 0);
    ck_assert_uint_eq(unequal, 0);
    free(cpu.d);
    free(plain.d);
    free(fast.d);
}

static const char *const sequence_level[] = {"gspo", "sapo:level=sequence", "luspo",
                                             "gate-erf:level=sequence", "unclipped:level=sequence"};

/* Few sequences, one of them very long, and all lengths where loads, warps and pieces end. */
START_TEST(sequences_of_any_length)
{
    static const size_t length[] = {0,    1,    3,    31,   32,   33,   0,     511, 512, 513,
                                    4095, 4096, 4097, 8191, 8192, 8193, 70001, 2,   0};
    sg_objective objective = objective_of(sequence_level[_i]);
    rows r = make_rows(sizeof length / sizeof *length, length);
    r.d[r.start[3] + 7] = INFINITY;
    r.d[r.start[8] + 100] = NAN;
    r.d[r.start[13] + 5000] = -INFINITY;
    check_rows(&objective, &r);
    free(r.d);
    free(r.start);
}
END_TEST

/* So many that a warp takes several; the last warp gets fewer. */
START_TEST(many_short_sequences)
{
    enum { MANY = 3001 };
    static size_t length[MANY];
    for (size_t i = 0; i < MANY; i++)
        length[i] = i % 97 == 0 ? 70 : i * i % 6;
    sg_objective objective = objective_of(_i ? "sapo:level=sequence" : "gspo");
    rows r = make_rows(MANY, length);
    check_rows(&objective, &r);
    free(r.d);
    free(r.start);
}
END_TEST

/* Each output may be missing, and on the device a sequence may stay whole. */
START_TEST(outputs_alone_and_whole_sequences)
{
    static const size_t length[] = {10, 5000, 0, 9000};
    sg_objective objective = objective_of("gspo");
    rows r = make_rows(4, length), cpu = copy_of(&r);
    size_t tokens = r.start[4], zeroed[5];
    sg_error error;
    sg_cuda_kernels_choose(SG_CUDA_FAST);
    for (int i = 0; i <= 4; i++)
        zeroed[i] = r.start[i] - r.start[0];
    apply_rows(SG_BACKEND_CPU, &objective, &cpu);
    ck_assert_int_eq(sg_gates_apply_sequences(SG_BACKEND_CUDA, &objective, 4, r.start, r.d,
                                              r.advantage, r.value, NULL, NULL, &error),
                     SG_OK);
    for (int i = 0; i < 4; i++)
        check_near(r.value[i], cpu.value[i]);
    void *start, *floats;
    ck_assert_int_eq(sg_cuda_alloc(&start, sizeof zeroed, "a test", &error), SG_OK);
    ck_assert_int_eq(sg_cuda_alloc(&floats, (2 * tokens + 12) * sizeof(float), "a test", &error),
                     SG_OK);
    float *d = floats, *slope = d + tokens, *a = slope + tokens, *value = a + 4;
    sg_cuda_to_device(start, zeroed, sizeof zeroed, NULL, &error);
    sg_cuda_to_device(d, r.d + r.start[0], (tokens - r.start[0]) * sizeof *d, NULL, &error);
    sg_cuda_to_device(a, r.advantage, 4 * sizeof *a, NULL, &error);
    ck_assert_int_eq(sg_cuda_gates_queue_sequences(&objective, 4, start, d, a, value, NULL, slope,
                                                   NULL, NULL, &error),
                     SG_OK);
    sg_cuda_from_device(r.value, value, 4 * sizeof *value, NULL, &error);
    sg_cuda_from_device(r.slope + r.start[0], slope, (tokens - r.start[0]) * sizeof *slope, NULL,
                        &error);
    for (int i = 0; i < 4; i++)
        check_near(r.value[i], cpu.value[i]);
    size_t far = 0;
    for (size_t t = r.start[0]; t < tokens; t++)
        far += !near(r.slope[t], cpu.slope[t]);
    ck_assert_uint_eq(far, 0);
    sg_cuda_free(start);
    sg_cuda_free(floats);
    free(cpu.d);
    free(r.d);
    free(r.start);
}
END_TEST

Suite *cuda_gates_sizes_suite(void);
Suite *cuda_gates_sizes_suite(void)
{
    Suite *suite = suite_create("cuda_gates_sizes");
    TCase *tests = tcase_create("plain and fast beside the CPU");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, remember, restore);
    tcase_add_loop_test(tests, tokens_of_any_number_and_place, 0, 2 * LAYOUTS);
    tcase_add_loop_test(tests, statistics_of_any_number_and_place, 0, 8);
    tcase_add_test(tests, statistics_of_many_tokens);
    tcase_add_loop_test(tests, sequences_of_any_length, 0,
                        sizeof sequence_level / sizeof *sequence_level);
    tcase_add_loop_test(tests, many_short_sequences, 0, 2);
    tcase_add_test(tests, outputs_alone_and_whole_sequences);
    suite_add_tcase(suite, tests);
    return suite;
}
