/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/config_keys.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "objective/advantage.h"

#define NAMES(function, ...)                                                                       \
    static const char *function(int64_t index)                                                     \
    {                                                                                              \
        static const char *const names[] = {__VA_ARGS__};                                          \
        return index < (int64_t)(sizeof names / sizeof *names) ? names[index] : NULL;              \
    }
NAMES(policy_kind, "tabular", "tree", "net")
NAMES(no_yes, "no", "yes")
NAMES(rows, "dense", "light")
NAMES(head_shape, "geometric", "zipf")
NAMES(tail_shape, "uniform", "zipf")
NAMES(precision, "fp32", "fp64")
NAMES(place, "head", "tail")
NAMES(backend, "auto", "cpu", "cuda")
NAMES(matmul, "same", "tf32", "bf16")
NAMES(reward, "all", "fraction")
NAMES(optimizer, "sgd", "momentum", "adam", "adamw", "coupled-adam")
NAMES(task_family, "correct-set", "path", "modular-sum", "copy", "reverse")
NAMES(task_kind, "correct-set", "path", "modular-sum", "copy", "reverse", "mixed")
NAMES(sampler_format, "same", "fp32", "bf16", "fp16")
NAMES(rollout_logp, "processed", "raw")
NAMES(schedule, "constant", "linear", "cosine")
NAMES(projection, "none", "p1", "p2", "p-head")
NAMES(match, "none", "l2", "kl", "mass")
NAMES(routing, "free", "r2", "r3")
NAMES(features, "learned", "frozen")
NAMES(net_bias, "none", "frozen", "trained")
NAMES(kl_kind, "k1", "abs", "k2", "k3", "k1+", "k3+")
#define SG_NAME_OF(id, name) name,
NAMES(aggregate, "natural", SG_AGGREGATE_LIST(SG_NAME_OF))
NAMES(advantage, SG_ADVANTAGE_LIST(SG_NAME_OF))
#undef SG_NAME_OF

#define AT(field) offsetof(sg_config, field)
#define WHOLE(section, name, fallback, low, high, meaning)                                         \
    {                                                                                              \
#section, #name, SG_KEY_INTEGER, AT(section.name), fallback, low, high, false, false,      \
            NULL, 0, meaning                                                                       \
    }
#define REAL(section, name, fallback, low, high, meaning)                                          \
    {                                                                                              \
#section, #name, SG_KEY_REAL, AT(section.name), fallback, low, high, false, false, NULL,   \
            0, meaning                                                                             \
    }
#define POSITIVE(section, name, fallback, meaning)                                                 \
    {                                                                                              \
#section, #name, SG_KEY_REAL, AT(section.name), fallback, 0, HUGE_VAL, true, true, NULL,   \
            0, meaning                                                                             \
    }
#define BELOW_1(section, name, fallback, meaning)                                                  \
    {                                                                                              \
#section, #name, SG_KEY_REAL, AT(section.name), fallback, 0, 1, false, true, NULL, 0,      \
            meaning                                                                                \
    }
#define CHOICE(section, name, fallback, names, first, meaning)                                     \
    {                                                                                              \
#section, #name, SG_KEY_CHOICE, AT(section.name), fallback, 0, 0, false, false, names,     \
            first, meaning                                                                         \
    }

const sg_config_key sg_config_keys[] = {
    CHOICE(policy, kind, "tabular", policy_kind, 0,
           "tabular: logits for each prompt and position; tree: for each prompt and prefix of head "
           "tokens; net: a network that reads prompt and prefix"),
    WHOLE(policy, vocabulary, "151936", 2, 2147483647, "tokens V"),
    WHOLE(policy, head, "20", 1, 1048576, "tokens of the head K"),
    CHOICE(policy, head_shape, "geometric", head_shape, 0, "shape of the head at the start"),
    {"policy", "head_ratio", SG_KEY_REAL, AT(policy.head_ratio), "0.6", 0, 1, true, false, NULL, 0,
     "ratio of neighbours in a geometric head"},
    REAL(policy, head_exponent, "1", 0, 20, "exponent of a zipf head"),
    BELOW_1(policy, tail_mass, "0.01", "probability of all tail tokens together at the start"),
    CHOICE(policy, tail, "uniform", tail_shape, 0, "shape of the tail at the start"),
    REAL(policy, tail_exponent, "1", 0, 10, "exponent of a zipf tail"),
    CHOICE(policy, precision, "fp32", precision, 0, "of logits and optimiser state"),
    CHOICE(policy, rows, "dense", rows, 0,
           "tabular with optimizer.kind sgd: light ones cost the same at any vocabulary, in fp64"),
    WHOLE(policy, merge, "0", 0, 4096,
          "tree: prefixes with equal sums of tokens modulo this share a state; 0: none do"),
    CHOICE(policy, shared_bias, "no", no_yes, 0, "tree: a bias that all states have in common"),
    WHOLE(policy, width, "32", 1, 8192, "net: hidden size d, columns of the output layer"),
    WHOLE(policy, window, "4", 0, 65536, "net: context, tokens of the response that it sees"),
    WHOLE(policy, blocks, "2", 0, 8, "net: residual blocks"),
    WHOLE(policy, hidden, "64", 1, 65536, "net: hidden size inside a block, or inside an expert"),
    WHOLE(policy, experts, "1", 1, 64, "net: experts of a block; 1: dense"),
    WHOLE(policy, top_k, "2", 1, 64, "net: experts that a token uses, where there are several"),
    CHOICE(policy, tied, "no", no_yes, 0, "net: tokens are embedded by the output layer's rows"),
    CHOICE(policy, bias, "trained", net_bias, 0,
           "net: of the output layer; it holds head_shape, tail_mass and tail at the start"),
    CHOICE(
        policy, features, "learned", features, 0,
        "net: frozen are random ones, which with 0 blocks leaves a linear output layer to learn"),
    REAL(policy, head_std, "0.5", 0, 100,
         "net: standard deviation over contexts of a head token's logit at the start"),
    REAL(policy, tail_std, "0.5", 0, 100, "net: the same of a tail token's logit"),

    CHOICE(task, kind, "correct-set", task_kind, 0, "what makes an answer right"),
    {"task", "families", SG_KEY_FAMILIES, AT(task.families), "path+modular-sum+copy+reverse", 0, 0,
     false, false, task_family, 0,
     "mixed: what prompts take turns in, joined by +; one named twice has twice the prompts"},
    WHOLE(task, prompts, "1", 1, 16777215, "prompts, all of them in every rollout"),
    WHOLE(task, heldout, "0", 0, 16777215,
          "prompts never trained on, for policies that read their prompt"),
    WHOLE(task, length, "1", 1, 65536, "tokens of a response"),
    REAL(
        task, overrun, "0", 0, 1e6,
        "a token ends answers, which go on by so many tokens in the mean behind where they should; "
        "0: there is none"),
    WHOLE(task, overrun_max, "16", 1, 65536, "most of these; longer answers are cut off"),
    WHOLE(task, correct_size, "1", 1, 1048576,
          "right tokens at a position, neighbours in the head: correct-set, path"),
    {"task", "correct_mass", SG_KEY_REAL, AT(task.correct_mass), "0.1", 0, 1, true, true, NULL, 0,
     "their probability at the start; the nearest possible set is taken"},
    REAL(task, difficulty_spread, "1", 1, 1e6,
         "correct_mass of the prompts runs from correct_mass/spread to correct_mass*spread"),
    CHOICE(task, correct_place, "head", place, 0,
           "of these; in the tail, which only correct-set in a table forgives, the likeliest"),
    CHOICE(task, reward, "all", reward, 0,
           "1 if all tokens are right, or the share that is (modular-sum: how near the sum is)"),
    WHOLE(task, classes, "4", 1, 4096,
          "modulus of modular-sum; tokens that occur in the texts of copy and reverse"),
    REAL(task, shared_prefix, "0.5", 0, 1,
         "path: share of a wrong path's prefixes that right paths have too; the nearest possible"),
    WHOLE(task, seed, "1", 0, 9e15, "of the prompts of modular-sum, copy and reverse"),
    BELOW_1(task, false_positive, "0", "rate at which the verifier accepts a wrong answer"),
    BELOW_1(task, false_negative, "0", "rate at which the verifier rejects a right answer"),

    WHOLE(rollout, group, "16", 1, 65536, "responses to a prompt G"),
    WHOLE(rollout, lag, "0", 0, 1024, "rollouts by which the sampler's parameters are behind"),
    REAL(rollout, temperature, "1", 0, 100, "of the sampler; 0 takes the likeliest token"),
    {"rollout", "top_p", SG_KEY_REAL, AT(rollout.top_p), "1", 0, 1, true, false, NULL, 0,
     "the sampler keeps the likeliest tokens up to this mass"},
    WHOLE(rollout, top_k, "0", 0, 2147483647,
          "before that it keeps so many of the likeliest tokens; 0: all"),
    REAL(rollout, noise, "0", 0, 100, "standard deviation of noise on the sampler's logits"),
    CHOICE(rollout, precision, "same", sampler_format, 0,
           "to which the sampler rounds its logits (a net: its parameters); same is the trainer's"),
    REAL(rollout, weight_noise, "0", 0, 1,
         "net: relative standard deviation of noise on the sampler's parameters"),
    CHOICE(
        rollout, logp, "processed", rollout_logp, 0,
        "the sampler's log-probabilities: of what it draws from, or before temperature, top_k and "
        "top_p"),

    {"update", "objectives", SG_KEY_OBJECTIVES, AT(update.objectives), "[sapo]", 0, 0, false, false,
     NULL, 0, "the arms, each NAME or NAME:key=value,... with parameters and controls"},
    CHOICE(update, advantage, "grpo", advantage, 0, "advantage estimator"),
    REAL(update, advantage_eps, "1e-6", 0, 1e300, "added to the standard deviation of rewards"),
    REAL(update, value_shift, "0", -1e6, 1e6, "asymre: added to the mean reward of the group"),
    CHOICE(update, aggregate, "natural", aggregate, -1,
           "how token losses are averaged; natural is each objective's own way"),
    WHOLE(update, minibatches, "4", 1, 65536, "gradient steps in one pass over a rollout"),
    WHOLE(update, epochs, "1", 1, 65536, "passes over a rollout"),
    REAL(update, mismatch_cap, "0", 0, 1e300,
         "tokens weigh min(pi_trainer / pi_sampler, this), as of the rollout; 0 turns it off"),
    REAL(update, kl_beta, "0", 0, 1e300, "weight of the KL to the policy at the start"),
    CHOICE(update, kl, "k3", kl_kind, 0, "its estimator"),

    {"control", "projection", SG_KEY_CHOICE, AT(control.all.projection), "none", 0, 0, false, false,
     projection, 0,
     "removes the diffuse push B of a state: p1 leaves unsampled logits alone, p2 recentres the "
     "pushes, p-head (net) is p1 for the output layer only; an arm of its own: NAME:projection=p1"},
    {"control", "match", SG_KEY_CHOICE, AT(control.all.match), "none", 0, 0, false, false, match, 0,
     "scales each step to the 2-norm or the KL of the reference's step, or the pushes with A < 0 "
     "to "
     "its mass of them; an arm of its own: NAME:match=l2"},
    {"control", "routing", SG_KEY_CHOICE, AT(control.all.routing), "free", 0, 0, false, false,
     routing, 0,
     "experts of a net while it learns from a rollout: its own choice, or those that the trainer "
     "(r2) or the sampler (r3) chose at the rollout; an arm of its own: NAME:routing=r2"},
    {"control", "reference", SG_KEY_OBJECTIVE, AT(control.reference), "sapo:tau_pos=1,tau_neg=1", 0,
     0, false, false, NULL, 0,
     "objective that is matched: same parameters and minibatch, an optimiser state of its own"},

    CHOICE(optimizer, kind, "adam", optimizer, 0, "update rule"),
    POSITIVE(optimizer, lr, "0.01", "learning rate"),
    BELOW_1(optimizer, beta1, "0.9", "decay of the mean: all but sgd"),
    BELOW_1(optimizer, beta2, "0.999", "decay of the mean square: the adams"),
    REAL(optimizer, eps, "1e-8", 0, 1e300, "added to the root of the mean square: the adams"),
    REAL(optimizer, weight_decay, "0.01", 0, 1e300,
         "adamw: each step takes lr times this times the parameter off it"),
    REAL(optimizer, clip_norm, "0", 0, 1e300, "largest 2-norm of the gradient; 0: no clip"),
    CHOICE(optimizer, schedule, "constant", schedule, 0, "of the learning rate after its warmup"),
    WHOLE(optimizer, warmup, "0", 0, 1000000000, "gradient steps in which it rises to lr"),
    REAL(optimizer, final_rate, "0", 0, 1, "share of lr at the last step: linear, cosine"),

    WHOLE(run, seed, "1", 0, 9e15, "first seed"),
    WHOLE(run, seeds, "1", 1, 1000000, "seeds, one run of every arm for each"),
    WHOLE(run, steps, "400", 1, 1000000000, "gradient steps of a run"),
    WHOLE(run, observe_every, "1", 1, 1000000000,
          "a row of the table every so many gradient steps"),
    CHOICE(run, detail, "no", no_yes, 0,
           "fill the columns that need every logit before and after a step; table and tree"),
    WHOLE(run, evaluate_every, "0", 0, 1000000000,
          "score greedy answers and 16 samples, in a row of the table, every so many of them; 0: "
          "never"),
    WHOLE(run, observe_samples, "16", 1, 65536,
          "net: responses to each prompt over which columns of the policy are averaged"),
    WHOLE(run, threads, "0", 0, 1024, "threads; 0 is one per core"),
    CHOICE(run, backend, "auto", backend, SG_BACKEND_AUTO, "where to compute; auto is the CPU"),
    CHOICE(run, matmul, "same", matmul, SG_MATMUL_SAME,
           "net on cuda: what products of the output layer round their inputs to; same: "
           "policy.precision"),

    BELOW_1(start, success, "0",
            "success rate to which right answers raise the policy before; 0: as it is"),
    WHOLE(start, steps, "1000", 1, 1000000000, "gradient steps that this may take"),
    WHOLE(start, group, "16", 1, 65536, "right answers to a prompt in each of them"),
    POSITIVE(start, lr, "0.01", "their learning rate; the rest is as in optimizer"),
};
const size_t sg_config_key_count = sizeof sg_config_keys / sizeof *sg_config_keys;
_Static_assert(sizeof sg_config_keys / sizeof *sg_config_keys <= SG_CONFIG_KEYS_MAX,
               "raise SG_CONFIG_KEYS_MAX");

char sg_config_plain(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

static bool same_name(const char *a, const char *b)
{
    while (*a != '\0' && sg_config_plain(*a) == sg_config_plain(*b))
        a++, b++;
    return *a == '\0' && *b == '\0';
}

const sg_config_key *sg_config_find_key(const char *section, const char *name)
{
    for (size_t i = 0; i < sg_config_key_count; i++) {
        const sg_config_key *key = &sg_config_keys[i];
        if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

sg_status sg_config_unknown_key(const char *section, const char *name, const char *place,
                                sg_error *error)
{
    const char *names[sizeof sg_config_keys / sizeof *sg_config_keys + 1];
    size_t count = 0;
    bool known = false; /* the section */
    for (size_t i = 0; i < sg_config_key_count; i++) {
        const sg_config_key *key = &sg_config_keys[i];
        if (section != NULL && strcmp(key->section, section) == 0) {
            names[count++] = key->name;
            known = true;
        } else if (section == NULL && (i == 0 || strcmp(key->section, key[-1].section) != 0)) {
            names[count++] = key->section;
        }
    }
    if (section != NULL && !known)
        return sg_config_unknown_key(NULL, section, place, error);
    names[count] = NULL;
    if (section == NULL) { /* perhaps a key that lost its section */
        for (size_t i = 0; i < sg_config_key_count; i++)
            if (same_name(sg_config_keys[i].name, name))
                return sg_fail(error, SG_EARGUMENT,
                               "%sno section is called \"%.60s\"; is %s.%s meant?", place, name,
                               sg_config_keys[i].section, sg_config_keys[i].name);
    }
    const char *meant = sg_config_synonym(section, name), *nearest = sg_nearest_name(name, names);
    if (meant != NULL) {
        size_t length = strlen(meant) - (meant[strlen(meant) - 1] == '.');
        return sg_fail(error, SG_EARGUMENT, "%s%s%s is called \"%.60s\"; is %.*s meant?", place,
                       section != NULL ? "no key of " : "no section",
                       section != NULL ? section : "", name, (int)length, meant);
    }
    if (nearest != NULL)
        return sg_fail(error, SG_EARGUMENT, "%s%s%s is called \"%.60s\"; is \"%s\" meant?", place,
                       section != NULL ? "no key of " : "no section",
                       section != NULL ? section : "", name, nearest);
    char list[256];
    int length = 0;
    list[0] = '\0';
    for (size_t i = 0; i < count && length < (int)sizeof list; i++)
        length += snprintf(list + length, sizeof list - (size_t)length, "%s%s", i > 0 ? ", " : "",
                           names[i]);
    return sg_fail(error, SG_EARGUMENT, "%s%s%s is called \"%.60s\"; there are %s", place,
                   section != NULL ? "no key of " : "no section", section != NULL ? section : "",
                   name, list);
}

static sg_status bad_number(const sg_config_key *key, const char *text, const char *place,
                            sg_error *error)
{
    char low[32], high[32];
    sg_format_real(key->low, low);
    sg_format_real(key->high, high);
    if (key->type == SG_KEY_INTEGER) { /* bounds of integers are exact in doubles */
        snprintf(low, sizeof low, "%.0f", key->low);
        snprintf(high, sizeof high, "%.0f", key->high);
    }
    const char *noun = key->type == SG_KEY_INTEGER ? "a whole number" : "a number";
    if (key->type == SG_KEY_REAL && key->high > 1e299)
        return sg_fail(error, SG_EARGUMENT, "%s%s.%s is \"%.60s\"; it must be %s %s %s", place,
                       key->section, key->name, text, noun, key->open_low ? "above" : "of at least",
                       low);
    return sg_fail(error, SG_EARGUMENT, "%s%s.%s is \"%.60s\"; it must be %s from %s%s to %s%s",
                   place, key->section, key->name, text, noun, key->open_low ? "above " : "", low,
                   key->open_high ? "below " : "", high);
}

static bool in_range(const sg_config_key *key, double x)
{
    bool above = key->open_low ? x > key->low : x >= key->low;
    bool below = key->open_high ? x < key->high : x <= key->high;
    return above && below; /* false for NaN */
}

sg_status sg_config_set_choice(int64_t *value, const sg_config_key *key, const char *text,
                               const char *place, sg_error *error)
{
    enum { MOST = 32 };
    const char *names[MOST + 1] = {NULL};
    char list[320] = "";
    int length = 0;
    for (int64_t i = 0; i < MOST && key->choice(i) != NULL; i++) {
        names[i] = key->choice(i);
        if (same_name(names[i], text)) {
            *value = key->first + i;
            return SG_OK;
        }
        if (length < (int)sizeof list)
            length += snprintf(list + length, sizeof list - (size_t)length, "%s%s",
                               i > 0 ? ", " : "", names[i]);
    }
    const char *nearest = sg_nearest_name(text, names);
    return sg_fail(error, SG_EARGUMENT, "%s%s.%s is \"%.60s\"; %s%s%s", place, key->section,
                   key->name, text, nearest != NULL ? "is \"" : "it must be one of ",
                   nearest != NULL ? nearest : list, nearest != NULL ? "\" meant?" : "");
}

/* Without the blanks and the pair of quotes around it. */
static size_t trim(const char **text, size_t length)
{
    while (length > 0 && isspace((unsigned char)**text))
        ++*text, length--;
    while (length > 0 && isspace((unsigned char)(*text)[length - 1]))
        length--;
    if (length >= 2 && (**text == '"' || **text == '\'') && (*text)[length - 1] == **text)
        ++*text, length -= 2;
    return length;
}

/* The next comma that no quotes surround, or end. */
static const char *item_end(const char *text, const char *end)
{
    for (char quote = '\0'; text < end && (quote != '\0' || *text != ','); text++) {
        if (quote == '\0' && (*text == '"' || *text == '\''))
            quote = *text;
        else if (*text == quote)
            quote = '\0';
    }
    return text;
}

enum { SPEC_SIZE = 512, PIECES = 16 * SG_CONFIG_ARMS };

/* "[a, b]" or "a, b" -> pieces at the commas, in `store`. */
static sg_status set_objective_list(sg_config *config, const char *text, const char *place,
                                    sg_error *error)
{
    size_t length = trim(&text, strlen(text));
    bool open = length > 0 && *text == '[', close = length > 0 && text[length - 1] == ']';
    if (open != close || (open && length < 2))
        return sg_fail(error, SG_EARGUMENT,
                       "%supdate.objectives is \"%.60s\"; write a list in brackets, such as "
                       "[sapo,grpo]",
                       place, text);
    if (open)
        text++, length -= 2;
    char store[4096];
    const char *pieces[PIECES];
    size_t count = 0, used = 0;
    for (const char *end = text + length; text <= end && length > 0;) {
        const char *stop = item_end(text, end), *piece = text;
        size_t size = trim(&piece, (size_t)(stop - text));
        if (count == PIECES || used + size + 1 > sizeof store)
            return sg_fail(error, SG_EARGUMENT, "%supdate.objectives is too long; at most %d arms",
                           place, SG_CONFIG_ARMS);
        memcpy(store + used, piece, size);
        store[used + size] = '\0';
        pieces[count++] = store + used;
        used += size + 1;
        text = stop + 1;
    }
    return sg_config_set_objectives(config, pieces, count, place, error);
}

sg_status sg_config_set_objectives(sg_config *config, const char *const *items, size_t count,
                                   const char *place, sg_error *error)
{
    if (count == 0)
        return sg_fail(error, SG_EARGUMENT,
                       "%supdate.objectives is empty; name at least one, such as [sapo]", place);
    sg_objective parsed[SG_CONFIG_ARMS];
    sg_arm_controls controls[SG_CONFIG_ARMS];
    size_t arms = 0;
    for (size_t i = 0; i < count;) {
        char spec[SPEC_SIZE];
        int length = snprintf(spec, sizeof spec, "%s", items[i++]);
        while (i < count && length < SPEC_SIZE && strchr(items[i], '=') != NULL &&
               strchr(items[i], ':') == NULL)
            length += snprintf(spec + length, sizeof spec - (size_t)length, ",%s", items[i++]);
        if (arms == SG_CONFIG_ARMS || length >= SPEC_SIZE)
            return sg_fail(error, SG_EARGUMENT, "%supdate.objectives is too long; at most %d arms",
                           place, SG_CONFIG_ARMS);
        sg_status status = sg_config_parse_arm(spec, &parsed[arms], &controls[arms], place, error);
        if (status != SG_OK)
            return status;
        arms++;
    }
    memcpy(config->update.objectives, parsed, arms * sizeof *parsed);
    memcpy(config->update.controls, controls, arms * sizeof *controls);
    config->update.objective_count = arms;
    return SG_OK;
}

static sg_status set_objective(sg_objective *objective, const sg_config_key *key, const char *text,
                               const char *place, sg_error *error)
{
    sg_error why;
    if (sg_objective_parse(objective, text, &why) != SG_OK)
        return sg_fail(error, SG_EARGUMENT, "%s%s.%s: %s", place, key->section, key->name,
                       why.message);
    return SG_OK;
}

/* "copy + reverse" -> the families in order. */
static sg_status set_families(sg_task_mix *mix, const sg_config_key *key, const char *text,
                              const char *place, sg_error *error)
{
    sg_task_mix read = {0};
    if (strpbrk(text, ",[]") != NULL)
        return sg_fail(error, SG_EARGUMENT, "%s%s.%s is \"%.60s\"; join families by +, such as %s",
                       place, key->section, key->name, text, key->fallback);
    for (const char *end; text != NULL; text = *end == '+' ? end + 1 : NULL) {
        char name[64];
        const char *piece = text;
        end = text + strcspn(text, "+");
        size_t length = trim(&piece, (size_t)(end - text));
        snprintf(name, sizeof name, "%.*s", length < 63 ? (int)length : 63, piece);
        if (read.count == SG_TASK_MIX)
            return sg_fail(error, SG_EARGUMENT, "%s%s.%s names more than %d families", place,
                           key->section, key->name, SG_TASK_MIX);
        sg_status status = sg_config_set_choice(&read.kind[read.count++], key, name, place, error);
        if (status != SG_OK)
            return status;
    }
    *mix = read;
    return SG_OK;
}

sg_status sg_config_set_key(sg_config *config, const sg_config_key *key, const char *text,
                            const char *place, sg_error *error)
{
    char *value = (char *)config + key->offset;
    if (*text == '\0')
        return sg_fail(error, SG_EARGUMENT, "%s%s.%s has no value; its default is %s", place,
                       key->section, key->name, key->fallback);
    if (key->type == SG_KEY_OBJECTIVES)
        return set_objective_list(config, text, place, error);
    if (key->type == SG_KEY_OBJECTIVE)
        return set_objective((sg_objective *)(void *)value, key, text, place, error);
    if (key->type == SG_KEY_FAMILIES)
        return set_families((sg_task_mix *)(void *)value, key, text, place, error);
    if (key->type == SG_KEY_CHOICE)
        return sg_config_set_choice((int64_t *)(void *)value, key, text, place, error);
    if (key->type == SG_KEY_INTEGER) {
        int64_t number;
        if (!sg_parse_integer(text, &number) || !in_range(key, (double)number))
            return bad_number(key, text, place, error);
        memcpy(value, &number, sizeof number);
        return SG_OK;
    }
    double number;
    if (!sg_parse_real(text, &number) || !in_range(key, number))
        return bad_number(key, text, place, error);
    memcpy(value, &number, sizeof number);
    return SG_OK;
}
