/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A simulation that is killed, or whose checkpoint is damaged, ends with the same table or says why
 * it cannot. */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "files.h"
#include "sim/simulate.h"

static void set(sg_config *config, const char *assignment)
{
    sg_error error = {0};
    ck_assert_msg(sg_config_set(config, assignment, &error) == SG_OK, "%s", error.message);
}

/* Each with something that must survive: moments, older selves, a rollout in use, a shared bias,
 * experts that are replayed, responses of different lengths. */
static const char *const variants[][8] = {
    {"optimizer.kind=adam", "update.objectives=[sapo,grpo:match=l2]", "run.seeds=2",
     "rollout.lag=3"},
    {"optimizer.kind=momentum", "update.epochs=3", "update.kl_beta=0.1", "run.observe_every=7"},
    {"policy.kind=tree", "policy.head=3", "policy.shared_bias=yes", "task.kind=path",
     "rollout.noise=0.1", "update.mismatch_cap=2", "run.seeds=3"},
    {"optimizer.kind=coupled-adam", "optimizer.lr=0.001", "run.seeds=2"},
    {"optimizer.kind=sgd", "optimizer.lr=2", "policy.rows=light", "policy.vocabulary=5000",
     "rollout.group=64", "rollout.lag=2", "update.objectives=[sapo,grpo:match=l2]"},
    {"policy.kind=net", "policy.experts=4", "task.kind=reverse", "update.minibatches=2",
     "update.epochs=3", "update.objectives=[grpo:routing=r3,grpo:match=l2]",
     "rollout.weight_noise=0.01", "rollout.lag=1"},
    {"policy.kind=tree", "policy.head=6", "task.kind=mixed", "task.families=copy+path",
     "task.overrun=3", "run.evaluate_every=5", "run.seeds=2"},
};
enum { VARIANTS = COUNT(variants) };

static void configure(sg_config *config, int variant)
{
    sg_config_init(config);
    set(config, "policy.vocabulary=300");
    set(config, "task.prompts=2");
    set(config, "task.length=2");
    set(config, "rollout.group=8");
    set(config, "run.steps=40");
    set(config, "run.threads=1");
    for (size_t i = 0; i < COUNT(variants[0]) && variants[variant][i] != NULL; i++)
        set(config, variants[variant][i]);
}

struct stop {
    double at;
    volatile sig_atomic_t now;
};

static void stop_there(void *context, double fraction)
{
    struct stop *stop = context;
    if (fraction >= stop->at)
        stop->now = 1;
}

/* statistics may be NULL. */
static sg_status measure(const sg_config *config, bool resume, double until, sg_table **table,
                         sg_table **statistics, sg_error *error)
{
    struct stop stop = {until, 0};
    sg_simulate_callbacks callbacks = {stop_there, &stop, &stop.now};
    sg_checkpoint_options options = {test_path, 1e6, resume, "test"};
    return statistics != NULL
               ? sg_simulate_measured(config, &callbacks, &options, table, statistics, error)
               : sg_simulate_checkpointed(config, &callbacks, &options, table, error);
}

static sg_status simulate(const sg_config *config, bool resume, double until, sg_table **table,
                          sg_error *error)
{
    return measure(config, resume, until, table, NULL, error);
}

/* Leaves a checkpoint at test_path. */
static void interrupt(const sg_config *config, bool resume, double until)
{
    sg_table *table;
    sg_error error;
    ck_assert_int_eq(simulate(config, resume, until, &table, &error), SG_EINTERRUPTED);
    sg_table_free(table);
}

START_TEST(interrupted_twice_and_resumed_is_not_interrupted)
{
    static sg_config config;
    sg_error error = {0};
    sg_table *whole, *pieces;
    configure(&config, _i % VARIANTS);
    ck_assert_int_eq(sg_simulate(&config, NULL, &whole, &error), SG_OK);
    static const char *const threads[][2] = {{"run.threads=1", "run.threads=1"},
                                             {"run.threads=3", "run.threads=2"}};
    interrupt(&config, false, 0.2);
    set(&config, threads[_i / VARIANTS][0]);
    interrupt(&config, true, 0.6);
    set(&config, threads[_i / VARIANTS][1]);
    ck_assert_msg(simulate(&config, true, 2, &pieces, &error) == SG_OK, "%s", error.message);
    assert_equal_tables(whole, pieces);
    sg_table_free(pieces);
    /* The file holds the whole now: nothing is left to compute. */
    ck_assert_int_eq(simulate(&config, true, 0, &pieces, &error), SG_OK);
    assert_equal_tables(whole, pieces);
    sg_table_free(pieces);
    sg_table_free(whole);
}
END_TEST

/* What --statistics counts is in the checkpoint too: of runs that are over, and of one that is under way. */
START_TEST(counts_survive_an_interruption)
{
    static sg_config config;
    sg_error error = {0};
    sg_table *whole, *counted, *pieces, *resumed;
    configure(&config, _i);
    set(&config, "run.seeds=3");
    ck_assert_int_eq(sg_simulate_measured(&config, NULL, NULL, &whole, &counted, &error), SG_OK);
    for (int cut = 0; cut < 2; cut++) {
        ck_assert_int_eq(measure(&config, cut > 0, 0.35 + 0.25 * cut, &pieces, &resumed, &error),
                         SG_EINTERRUPTED);
        sg_table_free(pieces);
        sg_table_free(resumed);
        set(&config, cut == 0 ? "run.threads=3" : "run.threads=1");
    }
    ck_assert_int_eq(simulate(&config, true, 2, &pieces, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "statistics is wanted there and not wanted here"));
    ck_assert_msg(measure(&config, true, 2, &pieces, &resumed, &error) == SG_OK, "%s",
                  error.message);
    assert_equal_tables(whole, pieces);
    assert_equal_tables(counted, resumed);
    sg_table_free(pieces);
    sg_table_free(resumed);
    sg_table_free(whole);
    sg_table_free(counted);
}
END_TEST

START_TEST(a_killed_process_loses_nothing_that_matters)
{
    sg_text command = {0};
    const char *tool = getenv("SOFTGATE");
    ck_assert_ptr_nonnull(tool);
    static const char *const experiments[] = {
        "--set policy.vocabulary=20000 --set run.steps=120 --set run.seeds=3 --set rollout.lag=1 "
        "--set task.length=3 --set update.objectives=[sapo,gspo] -q",
        "--set policy.kind=net --set policy.vocabulary=2000 --set policy.experts=8 "
        "--set task.kind=copy --set task.prompts=4 --set task.length=3 --set run.steps=40 "
        "--set run.seeds=2 --set rollout.precision=bf16 --set rollout.lag=1 "
        "--set update.objectives=[grpo:routing=r2,sapo:routing=r3] -q"};
    const char *options = experiments[_i];
    sg_text_printf(
        &command,
        "cd '%s' && : > e.yaml && echo 'run: {seed: 3}' > e.yaml && '%s' simulate e.yaml "
        "%s -o whole.csv",
        test_folder, tool, options);
    ck_assert_int_eq(system(command.data), 0);
    int code = -1, kills = 0, attempts = 0;
    for (; code != 0; attempts++) {
        ck_assert_int_lt(attempts, 400);
        sg_text_clear(&command);
        sg_text_printf(&command,
                       "cd '%s' && exec '%s' simulate e.yaml %s -o whole.csv --checkpoint state "
                       "--checkpoint-every 0 --threads %d $(test -e state && echo --resume)",
                       test_folder, tool, options, 1 + attempts % 2);
        sg_address at = {.seed = 11, .stream = SG_STREAM_SYNTHETIC, .step = (uint32_t)attempts};
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            execl("/bin/sh", "sh", "-c", command.data, (char *)NULL);
            _exit(127);
        }
        /* later and later, so that it ends on a slow machine too */
        usleep((useconds_t)(2000 + (60000 + 15000 * attempts) * sg_rng_uniform(at)));
        kill(child, SIGKILL);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        kills += WIFSIGNALED(status);
        code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        ck_assert_msg(!WIFEXITED(status) || code == 0, "exit code %d", code);
        if (code != 0) { /* whole.csv is the old one until the last attempt */
            sg_text_clear(&command);
            sg_text_printf(&command,
                           "cd '%s' && test -s whole.csv && mv -n whole.csv kept.csv; "
                           "true",
                           test_folder);
            ck_assert_int_eq(system(command.data), 0);
        }
    }
    ck_assert_int_ge(kills, 2);
    sg_text_clear(&command);
    sg_text_printf(
        &command,
        "cd '%s' && cmp whole.csv kept.csv && test ! -e state && rm -f whole.csv kept.csv "
        "e.yaml .softgate-*",
        test_folder);
    ck_assert_int_eq(system(command.data), 0);
    sg_text_free(&command);
}
END_TEST

/* Every byte of the header and of the sizes, and a sample of the others. */
START_TEST(no_damage_goes_unseen)
{
    static sg_config config;
    sg_table *table;
    sg_error error;
    configure(&config, 2);
    interrupt(&config, false, 0.5);
    sg_text good = get_file();
    ck_assert_uint_gt(good.length, 4000);
    for (size_t trial = 0; trial < 700; trial++) {
        sg_address at = {.seed = 5, .stream = SG_STREAM_SYNTHETIC, .step = (uint32_t)trial};
        size_t place = trial < 300 ? trial : (size_t)(sg_rng_uniform(at) * (double)good.length);
        at.token = 1;
        char flip = (char)(1 << (int)(sg_rng_uniform(at) * 8));
        good.data[place] ^= flip;
        put_file(good.data, good.length);
        good.data[place] ^= flip;
        sg_status status = simulate(&config, true, 2, &table, &error);
        ck_assert_msg(status == SG_EDATA && table == NULL, "byte %zu: %d", place, status);
        ck_assert_ptr_nonnull(strstr(error.message, test_path));
    }
    for (size_t length = 0; length < good.length; length += length < 200 ? 1 : 997) {
        put_file(good.data, length);
        ck_assert_int_eq(simulate(&config, true, 2, &table, &error), SG_EDATA);
    }
    put_file(good.data, good.length);
    ck_assert_int_eq(simulate(&config, true, 2, &table, &error), SG_OK);
    sg_table_free(table);
    sg_text_free(&good);
}
END_TEST

START_TEST(another_experiment_version_or_file_is_refused)
{
    static sg_config config;
    sg_table *table;
    sg_error error;
    configure(&config, 0);
    ck_assert_int_eq(simulate(&config, true, 2, &table, &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "No such file"));
    interrupt(&config, false, 0.5);
    ck_assert_int_eq(simulate(&config, false, 2, &table, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "continue it with --resume"));
    set(&config, "optimizer.lr=0.5");
    ck_assert_int_eq(simulate(&config, true, 2, &table, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "optimizer.lr is 0.01 there and 0.5 here"));
    set(&config, "optimizer.lr=0.01");
    sg_checkpoint_options options = {test_path, 5, true, "9.9"};
    ck_assert_int_eq(sg_simulate_checkpointed(&config, NULL, &options, &table, &error), SG_EDATA);
    ck_assert_ptr_nonnull(strstr(error.message, "written by softgate test and this is 9.9"));
    options = (sg_checkpoint_options){"/nowhere/at/all", 5, false, "test"};
    ck_assert_int_eq(sg_simulate_checkpointed(&config, NULL, &options, &table, &error), SG_EIO);
    ck_assert_int_eq(simulate(&config, true, 2, &table, &error), SG_OK);
    sg_table_free(table);
}
END_TEST

Suite *checkpoint_suite(void);
Suite *checkpoint_suite(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tests = add_file_case(suite, "checkpoint");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, interrupted_twice_and_resumed_is_not_interrupted, 0, 2 * VARIANTS);
    tcase_add_loop_test(tests, counts_survive_an_interruption, 0, VARIANTS);
    tcase_add_loop_test(tests, a_killed_process_loses_nothing_that_matters, 0, 2);
    tcase_add_test(tests, no_damage_goes_unseen);
    tcase_add_test(tests, another_experiment_version_or_file_is_refused);
    return suite;
}
