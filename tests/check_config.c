/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/rng.h"
#include "sim/config_keys.h"
#include "sim/simulate.h"

static const char *const example = "# a comment\n"
                                   "policy:\n"
                                   "  vocabulary: 1e3\n"
                                   "  tail: zipf\n"
                                   "  precision: 'fp64'\n"
                                   "task: {prompts: 3, length: 010}\n"
                                   "update:\n"
                                   "  objectives:\n"
                                   "    - \"sapo:tau_pos=1,tau_neg=1.05\"\n"
                                   "    - grpo\n"
                                   "  aggregate: token-mean\n"
                                   "optimizer:\n"
                                   "  lr: 5e-3\n";

static sg_status parse(sg_config *config, const char *text, sg_error *error)
{
    return sg_config_parse(config, "x.yaml", text, strlen(text), error);
}

static void assert_same(const sg_config *a, const sg_config *b)
{
    sg_text left = {0}, right = {0};
    sg_config_print(a, &left);
    sg_config_print(b, &right);
    ck_assert_str_eq(left.data, right.data);
    sg_text_free(&left);
    sg_text_free(&right);
}

START_TEST(every_default_is_valid)
{
    static sg_config config;
    sg_error error;
    sg_config_init(&config);
    ck_assert_int_eq(sg_config_check(&config, &error), SG_OK);
    ck_assert_int_eq(config.policy.vocabulary, 151936);
    ck_assert_double_eq(config.policy.tail_mass, 0.01);
    ck_assert_int_eq(config.policy.precision, SG_FP32);
    ck_assert_int_eq(config.optimizer.kind, SG_ADAM);
    ck_assert_double_eq(config.optimizer.eps, 1e-8);
    ck_assert_int_eq(config.update.aggregate, -1);
    ck_assert_uint_eq(config.update.objective_count, 1);
    ck_assert_str_eq(config.update.objectives[0].method->name, "sapo");
    ck_assert_double_eq(config.update.objectives[0].parameter.tau_neg, 1.05);
}
END_TEST

START_TEST(a_file_sets_what_it_names)
{
    static sg_config config;
    sg_error error = {0};
    ck_assert_msg(parse(&config, example, &error) == SG_OK, "%s", error.message);
    ck_assert_int_eq(config.policy.vocabulary, 1000);
    ck_assert_int_eq(config.policy.tail, SG_TAIL_ZIPF);
    ck_assert_int_eq(config.policy.precision, SG_FP64);
    ck_assert_int_eq(config.task.prompts, 3);
    ck_assert_int_eq(config.task.length, 10); /* not octal */
    ck_assert_int_eq(config.update.aggregate, SG_TOKEN_MEAN);
    ck_assert_double_eq(config.optimizer.lr, 5e-3);
    ck_assert_uint_eq(config.update.objective_count, 2);
    ck_assert_str_eq(config.update.objectives[1].method->name, "grpo");
    ck_assert_int_eq(config.run.steps, 400);
}
END_TEST

START_TEST(an_override_sets_one_key)
{
    static sg_config config;
    sg_error error = {0};
    sg_config_init(&config);
    ck_assert_int_eq(sg_config_set(&config, "run.seeds=4", &error), SG_OK);
    ck_assert_int_eq(config.run.seeds, 4);
    ck_assert_int_eq(sg_config_set(&config, "optimizer.kind=sgd", &error), SG_OK);
    ck_assert_int_eq(config.optimizer.kind, SG_SGD);
    ck_assert_int_eq(sg_config_set(&config,
                                   "update.objectives=[sapo:tau_pos=1,tau_neg=2, grpo, "
                                   "\"gspo:eps_low=1e-3,eps_high=2e-3\"]",
                                   &error),
                     SG_OK);
    ck_assert_uint_eq(config.update.objective_count, 3);
    ck_assert_double_eq(config.update.objectives[0].parameter.tau_neg, 2);
    ck_assert_double_eq(config.update.objectives[2].parameter.eps_high, 2e-3);
    ck_assert_int_eq(sg_config_set(&config, "update.objectives=cispo", &error), SG_OK);
    ck_assert_uint_eq(config.update.objective_count, 1);
}
END_TEST

static const struct {
    const char *assignment, *sentence;
} wrong_overrides[] = {
    {"run.seeds", "not an assignment"},
    {"run.sedes=4", "is \"seeds\" meant?"},
    {"runn.seeds=4", "no section is called \"runn\"; is \"run\" meant?"},
    {"seeds=4", "is run.seeds meant?"},
    {"=4", "no section is called \"\""},
    {"run.seeds=", "run.seeds has no value"},
    {"run.seeds=four", "whole number from 1 to 1000000"},
    {"run.seeds=0", "run.seeds is \"0\""},
    {"run.seeds=1.5", "run.seeds is \"1.5\""},
    {"run.steps=99999999999999999999", "run.steps"},
    {"optimizer.lr=0.5x", "it must be a number above 0"},
    {"optimizer.lr=nan", "it must be a number above 0"},
    {"optimizer.lr=inf", "it must be a number above 0"},
    {"optimizer.lr=0", "it must be a number above 0"},
    {"optimizer.beta1=1", "from 0 to below 1"},
    {"rollout.top_p=0", "rollout.top_p is \"0\""},
    {"rollout.top_k=-1", "rollout.top_k is \"-1\""},
    {"rollout.precision=fp8", "is \"fp32\" meant?"},
    {"policy.kind=treee", "is \"tree\" meant?"},
    {"start.success=1", "from 0 to below 1"},
    {"policy.shared_bias=maybe", "one of no, yes"},
    {"optimizer.kind=adm", "is \"adam\" meant?"},
    {"task.families=coppy+reverse", "task.families is \"coppy\"; is \"copy\" meant?"},
    {"task.families=copy+", "task.families is \"\"; it must be one of correct-set, path"},
    {"task.families=mixed", "one of correct-set, path, modular-sum, copy, reverse"},
    {"task.families=[copy, reverse]", "join families by +, such as path+modular-sum"},
    {"task.families=copy+copy+copy+copy+copy+copy+copy+copy+copy+copy+copy+copy+copy+copy+copy+"
     "copy+"
     "copy",
     "names more than 16 families"},
    {"optimizer.kind=lion-with-a-long-name", "one of sgd, momentum, adam"},
    {"update.objectives=[]", "update.objectives is empty"},
    {"update.objectives=[sapo", "in brackets"},
    {"update.objectives=[sapo,,grpo]", "update.objectives"},
    {"update.objectives=[sapoo]", "sapo"},
    {"update.objectives=[sapo:tau_neg=-1]", "tau_neg"},
};

START_TEST(a_wrong_override_is_explained)
{
    static sg_config config, before;
    sg_error error = {0};
    sg_config_init(&config);
    sg_config_init(&before);
    ck_assert_int_eq(sg_config_set(&config, wrong_overrides[_i].assignment, &error), SG_EARGUMENT);
    ck_assert_msg(strstr(error.message, wrong_overrides[_i].sentence) != NULL, "%s: %s",
                  wrong_overrides[_i].assignment, error.message);
    assert_same(&config, &before);
}
END_TEST

static const struct {
    const char *text, *sentence;
} wrong_files[] = {
    {"", "x.yaml is empty"},
    {"\n# only a comment\n", "x.yaml is empty"},
    {"---\n", "x.yaml is empty"},
    {"run:\n  seeds: 2\n  sedes: 4\n",
     "x.yaml:3: no key of run is called \"sedes\"; is \"seeds\" meant?"},
    {"run:\n  seeds: 2\n\nrnu:\n  seeds: 1\n",
     "x.yaml:4: no section is called \"rnu\"; is \"run\" meant?"},
    {"run:\n  seeds: 2\nlr: 3\n", "x.yaml:3: no section is called \"lr\"; is optimizer.lr meant?"},
    {"run:\n  seeds: 2\n  steps: 9\n  seeds: 3\n",
     "x.yaml:4: run.seeds is given a second time (first in line 2)"},
    {"run:\n  seeds: 2\ntask:\n  length: 2\nrun:\n  steps: 3\n",
     "x.yaml:5: this section is given a second"},
    {"run:\n  seeds: [1, 2]\n", "x.yaml:2: run.seeds must be a single value"},
    {"run:\n  seeds:\n    a: 1\n", "x.yaml:2: run.seeds must be a single value"},
    {"run: 3\n", "x.yaml:1: this section must have indented"},
    {"run:\n", "this section must have indented"},
    {"run:\n  seeds:\n", "x.yaml:2: run.seeds has no value"},
    {"update:\n  objectives: sapo\n", "x.yaml:2: update.objectives must be a list"},
    {"update:\n  objectives: [[sapo]]\n", "x.yaml:2: an objective must be a text"},
    {"update:\n  objectives: []\n", "x.yaml:2: update.objectives is empty"},
    {"update:\n  objectives: [grop]\n", "x.yaml:2: update.objectives: "},
    {"optimizer:\n  kind: adam\n  lr: 0.5x\n", "x.yaml:3: optimizer.lr is \"0.5x\""},
    {"optimizer:\n  lr: .nan\n", "x.yaml:2: optimizer.lr is \".nan\""},
    {"optimizer:\n  lr: 1e400\n", "x.yaml:2: optimizer.lr"},
    {"- a\n- b\n", "x.yaml:1: an experiment is made of sections"},
    {"seeds\n", "x.yaml:1: an experiment is made of sections"},
    {"run: {seeds: 2\n", "this is not YAML"},
    {"run:\n\tseeds: 2\n", "x.yaml:2: this is not YAML"},
    {"run: &a\n  seeds: 2\n", NULL},
    {"run:\n  seeds: &a 2\n  steps: *a\n", "x.yaml:2: anchors and aliases"},
    {"run:\n  seeds: 2\n---\nrun:\n  seeds: 3\n", "a second document"},
    {"run:\n  seeds: \"4\\0x\"\n", "x.yaml:2: run.seeds must be a single value"},
    {"run:\n  [1]: 2\n", "x.yaml:2: a key of this section must be a plain name"},
};

START_TEST(a_wrong_file_is_explained_with_its_line)
{
    static sg_config config;
    sg_error error = {0};
    sg_status status = parse(&config, wrong_files[_i].text, &error);
    if (wrong_files[_i].sentence == NULL)
        return; /* only must not crash */
    ck_assert_int_eq(status, SG_EARGUMENT);
    ck_assert_msg(strstr(error.message, wrong_files[_i].sentence) != NULL, "%s -> %s",
                  wrong_files[_i].text, error.message);
}
END_TEST

static const struct {
    const char *assignment[4], *sentence;
    sg_status status;
} misfits[] = {
    {{"policy.head=20", "policy.vocabulary=10"}, "head is 20", SG_EARGUMENT},
    {{"policy.tail_mass=0"}, "tail_mass is 0", SG_EARGUMENT},
    {{"update.minibatches=5"}, "does not divide rollout.group 16", SG_EARGUMENT},
    {{"task.correct_size=21"}, "the head has only 20", SG_EARGUMENT},
    {{"task.difficulty_spread=20"}, "not below 1", SG_EARGUMENT},
    {{"update.advantage=remax"}, "greedy", SG_EARGUMENT},
    {{"update.advantage=grpo_passk", "rollout.group=1", "update.minibatches=1"},
     "compares two responses",
     SG_EARGUMENT},
    {{"task.prompts=16777215", "task.length=65536"}, "2^31 states", SG_EARGUMENT},
    {{"task.prompts=1000000"}, "GiB", SG_ENOMEM},
    {{"policy.kind=tree", "task.length=8"}, "policy.head", SG_ENOMEM},
    {{"policy.kind=tree", "task.length=300"}, "GiB", SG_ENOMEM},
    {{"rollout.lag=1000", "policy.vocabulary=1e8"}, "GiB", SG_ENOMEM},
    {{"policy.merge=3"}, "policy.merge belongs to trees", SG_EARGUMENT},
    {{"policy.shared_bias=yes"}, "policy.shared_bias belongs to trees", SG_EARGUMENT},
    {{"task.kind=copy", "task.classes=21"}, "the head has only 20", SG_EARGUMENT},
    {{"task.kind=path", "task.correct_size=21"}, "the head has only 20", SG_EARGUMENT},
    {{"task.kind=mixed", "task.prompts=6"}, "the 4 task.families cannot share", SG_EARGUMENT},
    {{"task.kind=mixed", "task.prompts=4", "task.classes=21"},
     "the head has only 20",
     SG_EARGUMENT},
    {{"task.correct_place=tail", "policy.kind=tree"}, "does not fail", SG_EARGUMENT},
    {{"task.correct_place=tail", "task.kind=path"}, "does not fail", SG_EARGUMENT},
    {{"task.correct_place=tail", "policy.vocabulary=24", "task.correct_size=5"},
     "the tail has only 4 tokens",
     SG_EARGUMENT},
    {{"task.overrun=3"}, "those of a table always have task.length tokens", SG_EARGUMENT},
    {{"policy.kind=tree", "task.overrun=3", "policy.head=1"}, "there is no other", SG_EARGUMENT},
    {{"policy.kind=tree", "task.overrun=3", "task.kind=copy", "task.classes=20"},
     "only 19 tokens beside the end token",
     SG_EARGUMENT},
    {{"task.kind=copy", "task.reward=fraction", "task.length=5000"}, "up to 4095", SG_EARGUMENT},
    {{"task.heldout=5"}, "in a table every prompt", SG_EARGUMENT},
    {{"policy.vocabulary=2147483647", "task.length=1000"}, "GiB", SG_ENOMEM},
    {{"policy.kind=net", "policy.experts=8", "policy.top_k=9"},
     "policy.top_k is 9 but there are only 8 experts",
     SG_EARGUMENT},
    {{"policy.kind=net", "policy.features=frozen"}, "set policy.blocks to 0", SG_EARGUMENT},
    {{"policy.kind=net", "policy.vocabulary=2147483647"},
     "policy: vocabulary of the net is 2147483647",
     SG_EARGUMENT},
    {{"policy.kind=net", "policy.vocabulary=1e8", "policy.width=8192"},
     "policy.width, policy.hidden, policy.experts",
     SG_ENOMEM},
    {{"policy.kind=net", "task.length=5000", "task.kind=copy"},
     "reads prompts of up to 4095 tokens",
     SG_EARGUMENT},
    {{"policy.kind=net", "run.detail=yes"}, "run.detail knows tables and trees", SG_EARGUMENT},
    {{"policy.kind=net", "policy.merge=3"}, "policy.merge belongs to trees", SG_EARGUMENT},
    {{"policy.kind=tree", "policy.experts=8"}, "policy.experts belongs to nets", SG_EARGUMENT},
    {{"policy.tail_std=0"}, "policy.tail_std belongs to nets", SG_EARGUMENT},
    {{"rollout.weight_noise=0.01"}, "rollout.weight_noise belongs to nets", SG_EARGUMENT},
    {{"run.observe_samples=1"}, "run.observe_samples belongs to nets", SG_EARGUMENT},
    {{"run.matmul=tf32"}, "run.matmul belongs to nets", SG_EARGUMENT},
    {{"policy.kind=net", "task.heldout=5"},
     "which only those of copy and reverse are",
     SG_EARGUMENT},
    {{"control.projection=p-head"}, "in a table that is p1", SG_EARGUMENT},
    {{"update.objectives=[grpo:projection=p-head]", "policy.kind=tree"},
     "in a tree that is p1",
     SG_EARGUMENT},
    {{"control.routing=r2"}, "control.routing r2 replays the experts of a net", SG_EARGUMENT},
    {{"policy.kind=net", "update.objectives=[sapo,grpo:routing=r3]"},
     "control.routing r3 replays the experts of a net",
     SG_EARGUMENT},
    {{"policy.kind=net", "control.routing=r2", "policy.experts=4"}, NULL, SG_OK},
    {{"run.steps=1e9", "run.seeds=1e6"}, "GiB", SG_ENOMEM},
};

/* What does not fit, and the parameters that it must hold at least: reals of `size` bytes. */
static const struct {
    const char *assignment[5];
    double least; /* bytes */
} too_large[] = {
    {{"task.prompts=1e6", "policy.precision=fp64"}, 1e6 * 151936 * 8 * 3},
    {{"task.prompts=1e6", "optimizer.kind=adamw"}, 1e6 * 151936 * 4 * 3},
    {{"task.prompts=1e6", "optimizer.kind=coupled-adam"}, 1e6 * 151936 * 4 * 2},
    {{"task.prompts=1e6", "optimizer.kind=sgd"}, 1e6 * 151936 * 4},
    {{"task.prompts=1e6", "optimizer.kind=sgd", "policy.rows=light"}, 1e6 * 151936 * 8},
    {{"policy.kind=tree", "task.length=6"}, 3368426.0 * 151936 * 4 * 3},
    {{"policy.kind=tree", "task.length=6", "optimizer.kind=coupled-adam"}, 3368426.0 * 151936 * 8},
    {{"policy.kind=tree", "task.length=60000", "policy.merge=1000", "optimizer.kind=sgd"},
     6e7 * 151936 * 4},
    {{"policy.kind=net", "policy.width=8192", "policy.vocabulary=1e8"}, 8192e8 * 4 * 3},
    {{"policy.kind=net", "policy.width=8192", "policy.vocabulary=1e8", "optimizer.kind=sgd"},
     8192e8 * 4},
    {{"rollout.lag=1000", "policy.vocabulary=1e7", "optimizer.kind=momentum"}, 1e10 * 8},
};

/* The sentence names what is needed and what there is, and nothing has been allocated. */
/* Names of trainers point to keys that exist, first in the section where they stand. */
START_TEST(other_names_point_to_the_key)
{
    static const struct {
        const char *section, *name, *key;
    } names[] = {
        {"optimizer", "learning_rate", "optimizer.lr"},
        {"optimizer", "Learning-Rate", "optimizer.lr"},
        {"run", "learning_rate", "optimizer.lr"},
        {"optimizer", "max_grad_norm", "optimizer.clip_norm"},
        {"policy", "vocab_size", "policy.vocabulary"},
        {"rollout", "num_generations", "rollout.group"},
        {"update", "loss_agg_mode", "update.aggregate"},
        {"update", "beta", "update.kl_beta"},
        {"run", "total_training_steps", "run.steps"},
        {"task", "max_new_tokens", "task.length"},
        {"optimizer", "algorithm", "optimizer.kind"},
        {NULL, "algorithm", "update."},
        {NULL, "learning_rate", "optimizer.lr"},
        {"update", "sft", NULL}, /* a section only */
        {"update", "", NULL},
        {"update", ",", NULL},
        {"policy", "nonsense", NULL},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *got = sg_config_synonym(names[i].section, names[i].name);
        ck_assert_msg((got == NULL) == (names[i].key == NULL), "%s", names[i].name);
        if (got != NULL)
            ck_assert_str_eq(got, names[i].key);
    }
    const char *key;
    for (size_t i = 0; (key = sg_config_synonym_at(i)) != NULL; i++) {
        char section[64];
        size_t length = strcspn(key, ".");
        snprintf(section, sizeof section, "%.*s", (int)length, key);
        bool exists = key[length + 1] != '\0' && sg_config_find_key(section, key + length + 1);
        for (size_t k = 0; k < sg_config_key_count && key[length + 1] == '\0'; k++)
            exists = exists || strcmp(sg_config_keys[k].section, section) == 0;
        ck_assert_msg(exists, "there is no %s", key);
    }
}
END_TEST

START_TEST(what_does_not_fit_is_told_before_it_is_allocated)
{
    static sg_config config;
    sg_error error = {0};
    sg_table *table;
    double need, there;
    sg_config_init(&config);
    for (int i = 0; i < 5 && too_large[_i].assignment[i] != NULL; i++)
        ck_assert_msg(sg_config_set(&config, too_large[_i].assignment[i], &error) == SG_OK, "%s",
                      error.message);
    ck_assert_msg(sg_config_check(&config, &error) == SG_ENOMEM, "%s", error.message);
    const char *numbers = strstr(error.message, "this needs ");
    ck_assert_msg(
        numbers != NULL &&
            sscanf(numbers, "this needs %lf GiB of memory and there are %lf", &need, &there) == 2,
        "%s", error.message);
    ck_assert_double_ge(need * 1.001, too_large[_i].least / 0x1p30);
    ck_assert_double_lt(need, 1e3 * too_large[_i].least / 0x1p30);
    ck_assert_double_eq_tol(there, sg_memory_there() / 0x1p30, 0.06);
    ck_assert_double_gt(need, there);
    ck_assert_int_eq(sg_simulate(&config, NULL, &table, &error), SG_ENOMEM);
    ck_assert_ptr_null(table);
}
END_TEST

START_TEST(a_container_may_allow_less_than_the_machine_has)
{
    char path[] = "/tmp/softgate-limit-XXXXXX";
    static const struct {
        const char *text;
        double limit;
    } files[] = {{"1073741824\n", 0x1p30}, {"max\n", INFINITY}, {"", INFINITY}, {"0\n", INFINITY}};
    int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *out = fopen(path, "w");
        fputs(files[i].text, out);
        fclose(out);
        ck_assert(sg_memory_limit(path) == files[i].limit);
    }
    close(file);
    unlink(path);
    ck_assert(sg_memory_limit(path) == INFINITY);
    ck_assert_double_gt(sg_memory_there(), 0x1p24);
}
END_TEST

START_TEST(keys_that_do_not_fit_each_other_are_refused)
{
    static sg_config config;
    sg_error error = {0};
    sg_config_init(&config);
    for (int i = 0; i < 4 && misfits[_i].assignment[i] != NULL; i++)
        ck_assert_msg(sg_config_set(&config, misfits[_i].assignment[i], &error) == SG_OK, "%s",
                      error.message);
    ck_assert_int_eq(sg_config_check(&config, &error), misfits[_i].status);
    ck_assert_msg(misfits[_i].sentence == NULL ||
                      strstr(error.message, misfits[_i].sentence) != NULL,
                  "%s", error.message);
}
END_TEST

/* A value for any key that its range admits, from a random number. */
static void random_assignment(char *text, size_t size, uint64_t seed, uint32_t n)
{
    static const char *const choices[] = {
        "policy.kind=net",
        "policy.features=frozen",
        "policy.tied=yes",
        "control.routing=r3",
        "control.projection=p-head",
        "optimizer.kind=coupled-adam",
        "policy.kind=tree",
        "policy.shared_bias=yes",
        "task.kind=modular-sum",
        "task.kind=mixed",
        "task.families= copy +reverse+ copy",
        "task.overrun=2.5",
        "task.correct_place=tail",
        "rollout.precision=bf16",
        "rollout.logp=raw",
        "update.kl=k1+",
        "optimizer.schedule=cosine",
        "policy.head_shape=zipf",
        "policy.tail=zipf",
        "policy.precision=fp64",
        "task.reward=fraction",
        "update.advantage=rloo",
        "update.advantage=opo",
        "update.aggregate=token_sum",
        "optimizer.kind=sgd",
        "optimizer.kind=momentum",
        "update.objectives=[sapo:tau_neg=1.7, gspo, cispo:low=0.5]",
        "update.objectives=[gmpo, topr, vespo, sapo:level=sequence, dual-clip:dual_clip=off]",
    };
    static const char *const whole[] = {"policy.vocabulary", "task.prompts", "run.steps",
                                        "run.seed"};
    static const char *const real[] = {"optimizer.lr", "policy.head_ratio", "policy.tail_mass",
                                       "optimizer.beta2", "update.advantage_eps"};
    sg_address at = {.seed = seed, .sample = n};
    double u = sg_rng_uniform(at);
    at.token = 1;
    double x = sg_rng_uniform(at);
    if (u < 0.4)
        snprintf(text, size, "%s", choices[(size_t)(x * (sizeof choices / sizeof *choices))]);
    else if (u < 0.6)
        snprintf(text, size, "%s=%.0f", whole[(size_t)(u * 20) % 4], 2 + x * 1e6);
    else
        snprintf(text, size, "%s=%.17g", real[(size_t)(u * 50) % 5], x);
}

START_TEST(a_printed_configuration_reads_back_equal)
{
    static sg_config config, again;
    for (uint32_t round = 0; round < 300; round++) {
        sg_error error = {0};
        sg_config_init(&config);
        for (uint32_t n = 0; n < 6; n++) {
            char text[256];
            random_assignment(text, sizeof text, 77, round * 6 + n);
            ck_assert_msg(sg_config_set(&config, text, &error) == SG_OK, "%s", error.message);
        }
        sg_text yaml = {0};
        sg_config_print(&config, &yaml);
        ck_assert(!yaml.failed);
        ck_assert_msg(sg_config_parse(&again, "printed", yaml.data, yaml.length, &error) == SG_OK,
                      "%s", error.message);
        assert_same(&config, &again);
        sg_text_free(&yaml);
    }
}
END_TEST

/* Cut, flip, repeat and splice the example: whatever comes out, the reader answers with a status
 * and a sentence. */
START_TEST(damaged_files_never_harm)
{
    static sg_config config;
    size_t length = strlen(example), refused = 0, rounds = 4000;
    for (uint32_t round = 0; round < rounds; round++) {
        char text[1024];
        memcpy(text, example, length + 1);
        size_t now = length;
        uint32_t words[4];
        sg_rng_words((sg_address){.seed = 5, .sample = round}, words);
        size_t place = words[0] % length, other = words[1] % length;
        switch (words[2] % 4) {
        case 0:
            text[place] = (char)words[3];
            break;
        case 1:
            now = place;
            break;
        case 2:
            memmove(text + place, text + other, length - (place > other ? place : other));
            break;
        default:
            memcpy(text + length, example + place, length - place);
            now = length + (length - place);
            text[other] = "{}[]:,#&*!|>'\"%@`\n\t -?"[words[3] % 23];
            break;
        }
        sg_error error = {0};
        sg_status status = sg_config_parse(&config, "x", text, now, &error);
        refused += status != SG_OK;
        if (status != SG_OK)
            ck_assert_msg(strlen(error.message) > 10, "no sentence for status %d", status);
        else
            ck_assert_uint_ge(config.update.objective_count, 1);
    }
    ck_assert_uint_gt(refused, rounds / 4);
    ck_assert_uint_lt(refused, rounds);
}
END_TEST

START_TEST(files_that_cannot_be_read_are_named)
{
    static sg_config config;
    sg_error error = {0};
    ck_assert_int_eq(sg_config_read(&config, "/nonexistent/R4.yaml", &error), SG_EIO);
    ck_assert_ptr_nonnull(strstr(error.message, "/nonexistent/R4.yaml"));
    ck_assert_int_eq(sg_config_read(&config, "/", &error), SG_EIO);
    char path[] = "/tmp/softgate-config-XXXXXX";
    int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    FILE *file = fdopen(descriptor, "w");
    for (int i = 0; i < (1 << 20) + 1; i++)
        fputc('#', file);
    fclose(file);
    ck_assert_int_eq(sg_config_read(&config, path, &error), SG_EARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "1 MiB"));
    file = fopen(path, "w");
    fputs(example, file);
    fclose(file);
    ck_assert_int_eq(sg_config_read(&config, path, &error), SG_OK);
    ck_assert_int_eq(config.policy.vocabulary, 1000);
    remove(path);
}
END_TEST

/* The experiments behind the figures: they read, fit a small machine, and are at the settings of
 * the paper. */
START_TEST(experiments_of_the_figures_are_valid)
{
    static const char *const names[] = {"R4", "R5"};
    static const char *const arms[][3] = {
        {"sapo:tau_pos=1,tau_neg=1.05", "gspo:eps_low=3e-4,eps_high=4e-4",
         "grpo:eps_low=0.2,eps_high=0.27"},
        {"sapo:tau_pos=1,tau_neg=1.05", "sapo:tau_pos=1,tau_neg=1", "sapo:tau_pos=1,tau_neg=0.95"}};
    static sg_config config[2];
    sg_error error = {0};
    for (int i = 0; i < 2; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/../notebooks-data/experiments/%s.yaml", getenv("TEST_DATA"),
                 names[i]);
        ck_assert_msg(sg_config_read(&config[i], path, &error) == SG_OK, "%s", error.message);
        ck_assert_msg(sg_config_check(&config[i], &error) == SG_OK, "%s", error.message);
        ck_assert_int_ge(config[i].policy.vocabulary, 10000);
        ck_assert_int_gt(config[i].policy.experts, config[i].policy.top_k);
        ck_assert_int_eq(config[i].update.minibatches, 4);
        ck_assert_int_ge(config[i].run.seeds, 16);
        ck_assert_uint_eq(config[i].update.objective_count, 3);
        for (int k = 0; k < 3; k++) {
            sg_objective arm;
            ck_assert_int_eq(sg_objective_parse(&arm, arms[i][k], NULL), SG_OK);
            ck_assert_ptr_eq(config[i].update.objectives[k].method, arm.method);
            ck_assert_int_eq(memcmp(&config[i].update.objectives[k].parameter, &arm.parameter,
                                    sizeof arm.parameter),
                             0);
        }
    }
    ck_assert_double_eq(config[0].optimizer.lr, config[1].optimizer.lr); /* one rule for both */
    ck_assert_int_eq(memcmp(&config[0].policy, &config[1].policy, sizeof config[0].policy), 0);
    ck_assert_int_eq(sg_config_arm_controls(&config[0], 2).routing, SG_ROUTING_R2);
    ck_assert_int_eq(sg_config_arm_controls(&config[0], 0).routing, SG_ROUTING_FREE);
}
END_TEST

Suite *config_suite(void);
Suite *config_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("configuration");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, every_default_is_valid);
    tcase_add_test(tests, a_file_sets_what_it_names);
    tcase_add_test(tests, an_override_sets_one_key);
    tcase_add_loop_test(tests, a_wrong_override_is_explained, 0,
                        sizeof wrong_overrides / sizeof *wrong_overrides);
    tcase_add_loop_test(tests, a_wrong_file_is_explained_with_its_line, 0,
                        sizeof wrong_files / sizeof *wrong_files);
    tcase_add_loop_test(tests, keys_that_do_not_fit_each_other_are_refused, 0,
                        sizeof misfits / sizeof *misfits);
    tcase_add_loop_test(tests, what_does_not_fit_is_told_before_it_is_allocated, 0,
                        sizeof too_large / sizeof *too_large);
    tcase_add_test(tests, a_container_may_allow_less_than_the_machine_has);
    tcase_add_test(tests, a_printed_configuration_reads_back_equal);
    tcase_add_test(tests, other_names_point_to_the_key);
    tcase_add_test(tests, damaged_files_never_harm);
    tcase_add_test(tests, files_that_cannot_be_read_are_named);
    tcase_add_test(tests, experiments_of_the_figures_are_valid);
    suite_add_tcase(suite, tests);
    return suite;
}
