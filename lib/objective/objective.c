/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/objective.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "objective/methods.h"
#include "objective/rule.h"

enum { WORD_SIZE = 64, NAMES_MAX = 96 };

static const struct {
    const char *name;
    sg_level level;
} levels[] = {
    {"token", SG_LEVEL_TOKEN},
    {"sequence", SG_LEVEL_SEQUENCE},
    {"sequence-token", SG_LEVEL_SEQUENCE_TOKEN},
    {"product", SG_LEVEL_PRODUCT},
};

const char *sg_level_name(sg_level level)
{
    return levels[level].name;
}

static double *field(sg_objective *objective, const sg_parameter_range *range)
{
    return (double *)(void *)((char *)objective + range->offset);
}

static double value_of(const sg_objective *objective, const sg_parameter_range *range)
{
    double value;
    memcpy(&value, (const char *)objective + range->offset, sizeof value);
    return value;
}

/* A typo hint " (did you mean ...?)" into buffer, or "". */
static const char *hint(const char *word, const char *const *names, char *buffer, size_t size)
{
    const char *nearest = sg_nearest_name(word, names);
    buffer[0] = '\0';
    if (nearest != NULL)
        snprintf(buffer, size, " (did you mean %s?)", nearest);
    return buffer;
}

static sg_status unknown_method(const char *name, sg_error *error)
{
    for (size_t i = 0; sg_methods_reserved[i].name != NULL; i++) {
        if (sg_name_in_list(name, sg_methods_reserved[i].name)) {
            const char *why = sg_methods_reserved[i].why;
            return sg_fail(error, SG_EARGUMENT,
                           "objective %s is known but not implemented: %s (`softgate objectives` "
                           "lists those that are)",
                           name, why != NULL ? why : "its exact form is not confirmed");
        }
    }
    char first[WORD_SIZE];
    size_t length = strcspn(name, " ,=");
    snprintf(first, sizeof first, "%.*s", (int)length, name);
    if (name[length] != '\0' && sg_method_find(first) != NULL)
        return sg_fail(error, SG_EARGUMENT, "\"%.60s\" is not one objective; %s", name,
                       name[length] == ','
                           ? "give several one by one"
                           : "parameters follow a colon, as in sapo:tau_pos=1,tau_neg=1.05");
    const char *names[NAMES_MAX] = {0};
    for (size_t i = 0; i < sg_methods_count && i + 1 < NAMES_MAX; i++)
        names[i] = sg_methods[i].name;
    char text[WORD_SIZE * 2];
    return sg_fail(error, SG_EARGUMENT,
                   "unknown objective \"%.60s\"%s; `softgate objectives` lists them all", name,
                   hint(name, names, text, sizeof text));
}

static sg_status unknown_parameter(const sg_method *method, const char *key, sg_error *error)
{
    const char *names[NAMES_MAX] = {0};
    size_t count = 0;
    for (size_t i = 0; i < sg_parameters_count; i++) {
        if (sg_name_in_list(sg_parameters[i].info.name, method->parameters))
            names[count++] = sg_parameters[i].info.name;
    }
    names[count++] = "level";
    char text[WORD_SIZE * 2];
    return sg_fail(error, SG_EARGUMENT,
                   "objective %s has no parameter \"%.60s\"%s; its parameters are: %s%slevel",
                   method->name, key, hint(key, names, text, sizeof text), method->parameters,
                   method->parameters[0] == '\0' ? "" : ",");
}

static sg_status fail_range(const sg_objective *objective, const sg_parameter_info *info,
                            const char *text, bool infinite, sg_error *error)
{
    char aliases[160] = "";
    size_t length = 0;
    for (const char *c = info->aliases; *c != '\0' && length + 3 < sizeof aliases; c++) {
        aliases[length++] = *c;
        if (*c == ',')
            aliases[length++] = ' ';
    }
    return sg_fail(error, SG_EARGUMENT,
                   "%s: %s=%.60s is out of range; it must be %s%s (trainers "
                   "call it %s)",
                   objective->method->name, info->name, text, info->range,
                   infinite ? " and finite" : "", aliases);
}

static sg_status set_parameter(sg_objective *objective, const sg_parameter_range *range,
                               const char *text, sg_error *error)
{
    double value;
    if (range->may_be_off && (strcmp(text, "off") == 0 || strcmp(text, "none") == 0)) {
        *field(objective, range) = HUGE_VAL;
        return SG_OK;
    }
    if (!sg_parse_real(text, &value))
        return sg_fail(error, SG_EARGUMENT, "%s: %s=%.60s is not a number; give a value %s",
                       objective->method->name, range->info.name, text, range->info.range);
    bool low_ok = range->low_open ? value > range->low : value >= range->low;
    bool high_ok = range->high_open ? value < range->high : value <= range->high;
    bool infinite = isinf(value) && !range->may_be_off;
    if (!low_ok || !high_ok || infinite)
        return fail_range(objective, &range->info, text, infinite, error);
    *field(objective, range) = value;
    return SG_OK;
}

/* Reads "key=value" up to the next comma into two words; *text moves behind it. */
static sg_status next_pair(const char **text, char key[WORD_SIZE], char value[WORD_SIZE],
                           const char *spec, sg_error *error)
{
    size_t length = strcspn(*text, ",");
    const char *equals = memchr(*text, '=', length);
    size_t key_length = equals == NULL ? 0 : (size_t)(equals - *text);
    if (key_length == 0 || key_length >= WORD_SIZE || length - key_length > WORD_SIZE)
        return sg_fail(error, SG_EARGUMENT,
                       "objective \"%.80s\": expected key=value at \"%.40s\", for example "
                       "sapo:tau_pos=1,tau_neg=1.05",
                       spec, *text);
    memcpy(key, *text, key_length);
    key[key_length] = '\0';
    size_t value_length = length - key_length - 1;
    memcpy(value, equals + 1, value_length);
    value[value_length] = '\0';
    *text += length;
    *text += **text == ',';
    return SG_OK;
}

static sg_status set_level(sg_objective *objective, const char *value, sg_error *error)
{
    const sg_method *method = objective->method;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (sg_name_in_list(value, levels[i].name) &&
            sg_name_in_list(levels[i].name, method->levels)) {
            objective->level = levels[i].level;
            return SG_OK;
        }
    }
    return sg_fail(error, SG_EARGUMENT, "%s: level=%.60s is not possible; it must be one of %s",
                   method->name, value, method->levels);
}

/* CISPO bounds: trainers give eps_low and eps_high either relative to 1 or as the bounds themselves. */
typedef struct cispo_bounds {
    bool relative, absolute;
    double eps_low, eps_high; /* NaN when not given */
} cispo_bounds;

static sg_status read_cispo(cispo_bounds *bounds, const char *key, const char *value, bool *used,
                            sg_error *error)
{
    double *target = NULL;
    *used = true;
    if (sg_name_in_list(key, "bounds")) {
        bounds->relative = strcmp(value, "relative") == 0;
        bounds->absolute = strcmp(value, "absolute") == 0;
        if (bounds->relative || bounds->absolute)
            return SG_OK;
        return sg_fail(error, SG_EARGUMENT,
                       "cispo: bounds=%.60s is neither relative (verl, SkyRL, slime, NeMo-RL, "
                       "ROLL) nor absolute (TRL, ms-swift, Liger)",
                       value);
    }
    for (size_t i = 0; i < sg_parameters_count; i++) {
        const sg_parameter_info *info = &sg_parameters[i].info;
        bool low = strcmp(info->name, "eps_low") == 0, high = strcmp(info->name, "eps_high") == 0;
        if ((low || high) &&
            (sg_name_in_list(key, info->name) || sg_name_in_list(key, info->aliases)))
            target = low ? &bounds->eps_low : &bounds->eps_high;
    }
    *used = target != NULL;
    if (target != NULL && (!sg_parse_real(value, target) || !(*target >= 0) || isinf(*target)))
        return sg_fail(error, SG_EARGUMENT, "cispo: %.60s=%.60s must be a number >= 0", key, value);
    return SG_OK;
}

static sg_status apply_cispo(sg_objective *objective, const cispo_bounds *bounds, sg_error *error)
{
    bool given = !isnan(bounds->eps_low) || !isnan(bounds->eps_high);
    if (given && !bounds->relative && !bounds->absolute)
        return sg_fail(error, SG_EARGUMENT,
                       "cispo: eps_low and eps_high mean different things in different trainers; "
                       "add bounds=relative (weight within 1-eps_low..1+eps_high) or "
                       "bounds=absolute (weight <= eps_high), or give low= and high=");
    sg_gate_parameters *p = &objective->parameter;
    if (bounds->relative) {
        double below = isnan(bounds->eps_low) ? 0.2 : bounds->eps_low;
        double above = isnan(bounds->eps_high) ? 0.2 : bounds->eps_high;
        p->low = below > 1 ? 0 : 1 - below;
        p->high = 1 + above;
    } else if (bounds->absolute) {
        if (!isnan(bounds->eps_low))
            p->low = bounds->eps_low;
        if (!isnan(bounds->eps_high))
            p->high = bounds->eps_high;
    }
    if (!(p->high >= 1) || !(p->low <= 1))
        return sg_fail(error, SG_EARGUMENT,
                       "cispo: bounds %g..%g do not contain 1, so every on-policy token would be "
                       "cut; a GRPO-style eps_high such as 0.28 needs bounds=relative",
                       p->low, p->high);
    return SG_OK;
}

/* Names that set both parameters of a pair; one that is given by itself wins. */
enum { PAIRS = 4 };
static const struct {
    const char *names, *member[2];
} pairs[PAIRS] = {
    {"epsilon,clip_ratio,eps_clip,cliprange,pg_clip,clip", {"eps_low", "eps_high"}},
    {"tau,temperature,sapo_temperature", {"tau_pos", "tau_neg"}},
    {"delta,clip_ratio,epsilon", {"delta_low", "delta_high"}},
    {"delta,clip_ratio,epsilon", {"kl_low", "kl_high"}},
};

static int pair_named(const char *key, const sg_method *method)
{
    for (int i = 0; i < PAIRS; i++) {
        if (sg_name_in_list(pairs[i].member[0], method->parameters) &&
            sg_name_in_list(key, pairs[i].names))
            return i;
    }
    return -1;
}

static sg_status parse_pairs(sg_objective *objective, const char *text, const char *spec,
                             bool defaults, sg_error *error)
{
    const sg_method *method = objective->method;
    cispo_bounds bounds = {false, false, NAN, NAN};
    const char *seen[NAMES_MAX] = {0};
    size_t seen_count = 0;
    char both[PAIRS][WORD_SIZE + 1] = {{0}};
    while (*text != '\0') {
        char key[WORD_SIZE], value[WORD_SIZE + 1];
        sg_status status = next_pair(&text, key, value, spec, error);
        if (status != SG_OK)
            return status;
        bool used = false;
        if (method->gate == SG_GATE_CISPO && !defaults) {
            status = read_cispo(&bounds, key, value, &used, error);
            if (status != SG_OK)
                return status;
        }
        if (used)
            continue;
        if (sg_name_in_list(key, "level,importance_sampling_level")) {
            status = set_level(objective, value, error);
            if (status != SG_OK)
                return status;
            continue;
        }
        int pair = pair_named(key, method);
        if (pair >= 0) {
            memcpy(both[pair], value, sizeof value);
            continue;
        }
        const sg_parameter_range *range = sg_parameter_range_find(key, method);
        if (range == NULL)
            return unknown_parameter(method, key, error);
        for (size_t i = 0; i < seen_count; i++) {
            if (seen[i] == range->info.name)
                return sg_fail(error, SG_EARGUMENT, "objective \"%.80s\" gives %s twice", spec,
                               range->info.name);
        }
        if (seen_count < NAMES_MAX)
            seen[seen_count++] = range->info.name;
        status = set_parameter(objective, range, value, error);
        if (status != SG_OK)
            return status;
    }
    for (int side = 0; side < 2 * PAIRS; side++) {
        const char *name = pairs[side / 2].member[side % 2];
        bool own = both[side / 2][0] == '\0';
        for (size_t i = 0; i < seen_count; i++)
            own = own || strcmp(seen[i], name) == 0;
        if (own)
            continue;
        sg_status status =
            set_parameter(objective, sg_parameter_range_find(name, method), both[side / 2], error);
        if (status != SG_OK)
            return status;
    }
    return method->gate == SG_GATE_CISPO && !defaults ? apply_cispo(objective, &bounds, error)
                                                      : SG_OK;
}

sg_status sg_objective_parse(sg_objective *objective, const char *spec, sg_error *error)
{
    char name[WORD_SIZE];
    size_t length = strcspn(spec, ":");
    if (length == 0 || length >= sizeof name)
        return sg_fail(error, SG_EARGUMENT,
                       "\"%.80s\" is not an objective; write name or name:key=value,..., for "
                       "example sapo:tau_pos=1,tau_neg=1.05",
                       spec);
    memcpy(name, spec, length);
    name[length] = '\0';
    const sg_method *method = sg_method_find(name);
    if (method == NULL)
        return unknown_method(name, error);

    sg_objective parsed = {.gate = method->gate,
                           .level = method->level,
                           .aggregate = method->aggregate,
                           .method = method};
    parsed.parameter.dual_clip = parsed.parameter.delta = HUGE_VAL;
    sg_status status = parse_pairs(&parsed, method->parameters, spec, true, error);
    const char *rest = spec[length] == ':' ? spec + length + 1 : "";
    if (status == SG_OK)
        status = parse_pairs(&parsed, rest, spec, false, error);
    if (status != SG_OK)
        return status;
    if (parsed.parameter.delta <= 1 + parsed.parameter.eps_high)
        return sg_fail(error, SG_EARGUMENT,
                       "%s: delta=%g must be larger than 1 + eps_high = %g, or it would cut the "
                       "clip's own band",
                       method->name, parsed.parameter.delta, 1 + parsed.parameter.eps_high);
    if (method->rule == SG_RULE_CLIP_COV && !(parsed.rule.cov_low < parsed.rule.cov_high))
        return sg_fail(error, SG_EARGUMENT, "%s: cov_low=%g must be below cov_high=%g",
                       method->name, parsed.rule.cov_low, parsed.rule.cov_high);
    *objective = parsed;
    return SG_OK;
}

int sg_objective_parameters(const sg_objective *objective, char *buffer, size_t size)
{
    sg_text text = {0};
    const sg_method *method = objective->method;
    for (size_t i = 0; i < sg_parameters_count; i++) {
        const sg_parameter_range *range = &sg_parameters[i];
        if (!sg_name_in_list(range->info.name, method->parameters))
            continue;
        double value = value_of(objective, range);
        char number[32];
        sg_text_printf(&text, "%s%s=%s", text.length > 0 ? "," : "", range->info.name,
                       range->may_be_off && isinf(value) ? "off" : sg_format_real(value, number));
    }
    if (objective->level != method->level)
        sg_text_printf(&text, "%slevel=%s", text.length > 0 ? "," : "",
                       sg_level_name(objective->level));
    int length = snprintf(buffer, size, "%s", text.data == NULL ? "" : text.data);
    sg_text_free(&text);
    return length;
}

int sg_objective_label(const sg_objective *objective, char *buffer, size_t size)
{
    sg_text text = {0};
    for (const char *c = objective->method->name; *c != '\0'; c++) {
        char upper[2] = {(char)toupper((unsigned char)*c), '\0'};
        sg_text_append(&text, upper);
    }
    char separator = ' ';
    for (size_t i = 0; i < sg_parameters_count; i++) {
        const sg_parameter_range *range = &sg_parameters[i];
        double value = value_of(objective, range);
        if (!sg_name_in_list(range->info.name, objective->method->parameters) || isinf(value))
            continue;
        sg_text_printf(&text, "%c%g", separator, value);
        separator = '/';
    }
    if (objective->level != objective->method->level)
        sg_text_printf(&text, " (%s)", sg_level_name(objective->level));
    int length = snprintf(buffer, size, "%s", text.data == NULL ? "" : text.data);
    sg_text_free(&text);
    return length;
}

sg_gate_value sg_objective_eval_at(const sg_objective *objective, sg_gate_point at,
                                   double advantage)
{
    sg_gate_value v = sg_gate_at(objective->gate, &objective->parameter, at, advantage);
    if (!sg_rule_charges(objective->method->rule) || advantage == 0 || isnan(v.coefficient))
        return v;
    sg_kl penalty = sg_objective_penalty(objective, at.log_ratio);
    double value = penalty.value / advantage, slope = penalty.derivative / advantage;
    v.coefficient -= slope;
    v.weight = at.ratio > 0 ? v.weight - slope / at.ratio : v.coefficient / at.ratio;
    v.surrogate = isinf(value) ? -value : v.surrogate - value;
    v.printed = isinf(value) ? -value : v.printed - value;
    return v;
}

sg_gate_value sg_objective_eval(const sg_objective *objective, double log_ratio, double advantage,
                                double logp_old)
{
    return sg_objective_eval_at(objective, sg_gate_point_from_log(log_ratio, logp_old), advantage);
}
