/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CONFIG_H
#define SG_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"
#include "core/text.h"
#include "objective/advantage.h"
#include "objective/objective.h"
#include "policy/policy.h"
#include "policy/prior.h"

/* One experiment: what a YAML file says, with every default filled in. Plain data, copied freely.
 *
 * The file has the sections below, each with `key: value` lines; every key is optional. Numbers are
 * read strictly (a whole token, finite, in range; 1e3 is a thousand, 010 is ten). The same schema
 * reads the file, the overrides of the command line and its own printed form. `softgate simulate
 * FILE --print-config` prints every key with its meaning. */

typedef enum sg_policy_kind { SG_POLICY_TABULAR, SG_POLICY_TREE, SG_POLICY_NET } sg_policy_kind;
typedef enum sg_task_kind {
    SG_TASK_CORRECT_SET,
    SG_TASK_PATH,
    SG_TASK_MODULAR_SUM,
    SG_TASK_COPY,
    SG_TASK_REVERSE,
    SG_TASKS,
    SG_TASK_MIXED = SG_TASKS /* several of them in one run */
} sg_task_kind;

/* The families that the prompts of a mixed task take turns in; one may stand there twice. */
enum { SG_TASK_MIX = 16 };
typedef struct sg_task_mix {
    int64_t count;
    int64_t kind[SG_TASK_MIX]; /* sg_task_kind */
} sg_task_mix;

typedef enum sg_rate_kind { SG_RATE_CONSTANT, SG_RATE_LINEAR, SG_RATE_COSINE } sg_rate_kind;
typedef enum sg_reward_kind {
    SG_REWARD_ALL,     /* 1 when every token is right, else 0 */
    SG_REWARD_FRACTION /* share of right tokens */
} sg_reward_kind;

/* What of an arm's step is made equal to that of the reference, by one factor. */
typedef enum sg_match {
    SG_MATCH_NONE,
    SG_MATCH_L2,  /* the 2-norm of the step */
    SG_MATCH_KL,  /* the mean over visited states of the exact KL(after || before) */
    SG_MATCH_MASS /* the sum of |push| over tokens with a negative advantage; the factor is theirs */
} sg_match;

/* Which experts a mixture of experts uses while it learns from a rollout: see policy/routing.h. */
typedef enum sg_routing {
    SG_ROUTING_FREE,
    SG_ROUTING_R2, /* those of the trainer's policy at the rollout */
    SG_ROUTING_R3  /* those of the sampler */
} sg_routing;

/* Causal controls of an arm; choices like any other. */
enum { SG_CONTROL_INHERITED = -1 };
typedef struct sg_arm_controls {
    int64_t projection; /* sg_projection */
    int64_t match;      /* sg_match */
    int64_t routing;    /* sg_routing */
} sg_arm_controls;

enum { SG_CONFIG_ARMS = 64, SG_CONFIG_SOURCE = 256 };

typedef struct sg_config {
    struct {
        int64_t kind; /* sg_policy_kind; choices are stored as int64_t like every integer */
        int64_t vocabulary, head;
        int64_t head_shape; /* sg_head_shape */
        double head_ratio, head_exponent;
        double tail_mass;
        int64_t tail; /* sg_tail_shape */
        double tail_exponent;
        int64_t precision;   /* sg_precision */
        int64_t rows;        /* table: 0 dense, 1 light */
        int64_t merge;       /* tree: prefixes of equal sum modulo this share a state; 0: none do */
        int64_t shared_bias; /* tree: bool */
        /* net: see sg_net_config */
        int64_t width, window, blocks, hidden, experts, top_k;
        int64_t tied, features, bias; /* bool; 1: frozen; sg_net_bias */
        double head_std, tail_std;
    } policy;
    struct {
        int64_t kind;         /* sg_task_kind */
        sg_task_mix families; /* mixed */
        int64_t prompts, heldout;
        int64_t length; /* tokens of a response */
        double overrun; /* mean number of tokens behind its end; 0: there is no end token */
        int64_t overrun_max;
        int64_t correct_size; /* tokens that are right at a position */
        double correct_mass;  /* their probability at the start, about (see task.h) */
        double
            difficulty_spread; /* factor between the easiest prompt's correct_mass and the mean's */
        int64_t correct_place; /* bool: the likeliest of the tail instead */
        int64_t reward;        /* sg_reward_kind */
        int64_t classes;       /* modular-sum, copy, reverse */
        double shared_prefix;  /* path */
        int64_t seed;          /* of the prompts */
        double false_positive, false_negative; /* error rates of the verifier */
    } task;
    struct {
        int64_t group; /* responses to a prompt */
        int64_t lag;   /* rollouts by which the sampler's parameters are behind */
        double temperature, top_p, noise;
        int64_t top_k;       /* 0: all tokens */
        int64_t precision;   /* sg_sampler_format */
        int64_t logp;        /* 0: of the sampler's distribution; 1: raw */
        double weight_noise; /* net: relative, on the sampler's parameters */
    } rollout;
    struct {
        sg_objective objectives[SG_CONFIG_ARMS];  /* each is one arm */
        sg_arm_controls controls[SG_CONFIG_ARMS]; /* of each arm; inherited: as in `control` */
        size_t objective_count;
        int64_t advantage; /* sg_advantage_kind */
        double advantage_eps, value_shift;
        int64_t aggregate; /* sg_aggregate_mode, or -1: natural, the objective's own */
        int64_t minibatches, epochs;
        double mismatch_cap; /* 0: no mismatch weight */
        double kl_beta;      /* 0: no KL term */
        int64_t kl;          /* sg_kl_kind */
    } update;
    struct {
        sg_arm_controls all; /* of arms that do not say */
        sg_objective reference;
    } control;
    struct {
        int64_t kind; /* sg_optimizer_kind */
        double lr, beta1, beta2, eps, weight_decay;
        double clip_norm;  /* 0: none */
        int64_t schedule;  /* sg_rate_kind */
        int64_t warmup;    /* steps */
        double final_rate; /* share of lr at the last step */
    } optimizer;
    struct {
        int64_t seed, seeds; /* first seed and how many */
        int64_t steps;       /* gradient steps of a run */
        int64_t observe_every;
        int64_t detail;          /* bool: look at every logit before and after a step */
        int64_t evaluate_every;  /* 0: never */
        int64_t threads;         /* 0: one per core */
        int64_t observe_samples; /* net: responses to a prompt that are looked at */
        int64_t backend;         /* sg_backend_kind */
        int64_t matmul;          /* net: sg_matmul */
    } run;
    struct {
        double success; /* 0: no warm start */
        int64_t steps, group;
        double lr;
    } start;
    char source[SG_CONFIG_SOURCE]; /* name of the file, for messages; "" when there is none */
} sg_config;

/* Every key at its default. */
void sg_config_init(sg_config *config);

/* sg_config_init, then what the file says; "-" is standard input. SG_EIO when it cannot be read, otherwise SG_EARGUMENT
 * with file, line, what is wrong and what to do: syntax, an unknown or repeated key, a wrong type,
 * a value out of range. An empty file is refused. Keys are checked one by one here, together by
 * sg_config_check. */
sg_status sg_config_read(sg_config *config, const char *path, sg_error *error);

/* The same for text in memory; `name` stands for the file in messages. */
sg_status sg_config_parse(sg_config *config, const char *name, const char *text, size_t length,
                          sg_error *error);

/* One override "section.key=value", e.g. "run.seeds=4" or
 * "update.objectives=[sapo:tau_pos=1,tau_neg=1.05,grpo]". */
sg_status sg_config_set(sg_config *config, const char *assignment, sg_error *error);

/* Do the values fit each other, and does the policy fit into this machine's memory? (The sentence
 * then says how many GiB are needed and there.) Called by sg_simulate. */
sg_status sg_config_check(const sg_config *config, sg_error *error);

/* The whole configuration as YAML with a comment on every key; reads back to an equal one. */
void sg_config_print(const sg_config *config, sg_text *yaml);

/* Visit every key with its value as text, in the order of the file ("policy.vocabulary", "151936").
 */
void sg_config_visit(const sg_config *config,
                     void (*visit)(void *context, const char *key, const char *value),
                     void *context);

/* What holds for an arm, nothing inherited any more. */
sg_arm_controls sg_config_arm_controls(const sg_config *config, size_t arm);

/* Parameters of the objective, then the controls of the arm, "tau_pos=1,tau_neg=1.05,projection=p1":
 * those that it names itself, or, `resolved`, all that are in force. */
void sg_config_arm_parameters(const sg_config *config, size_t arm, bool resolved, char *buffer,
                              size_t size);

sg_prior sg_config_prior(const sg_config *config);

#endif
