/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/config.h"

#include <stdio.h>
#include <string.h>

#include "sim/config_keys.h"

void sg_config_init(sg_config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < sg_config_key_count;
         i++) /* the defaults are valid: see check_config.c */
        sg_config_set_key(config, &sg_config_keys[i], sg_config_keys[i].fallback, "", NULL);
}

sg_status sg_config_set(sg_config *config, const char *assignment, sg_error *error)
{
    const char *equals = strchr(assignment, '=');
    const char *dot = strchr(assignment, '.');
    if (equals == NULL || (dot != NULL && dot > equals))
        dot = NULL;
    if (equals == NULL)
        return sg_fail(error, SG_EARGUMENT,
                       "\"%.60s\" is not an assignment; write section.key=value, such as "
                       "run.seeds=4",
                       assignment);
    char section[64] = "", name[64];
    const char *start = dot != NULL ? dot + 1 : assignment;
    if (dot != NULL)
        snprintf(section, sizeof section, "%.*s", (int)(dot - assignment), assignment);
    snprintf(name, sizeof name, "%.*s", (int)(equals - start), start);
    const sg_config_key *key = dot != NULL ? sg_config_find_key(section, name) : NULL;
    if (key == NULL)
        return sg_config_unknown_key(dot != NULL ? section : NULL, name, "", error);
    return sg_config_set_key(config, key, equals + 1, "", error);
}

/* Value of a key as text that reads back equal. */
static void value_text(const sg_config *config, const sg_config_key *key, sg_text *text)
{
    const char *value = (const char *)config + key->offset;
    char buffer[32];
    int64_t number = 0;
    double real = 0;
    if (key->type == SG_KEY_REAL)
        memcpy(&real, value, sizeof real);
    else if (key->type == SG_KEY_INTEGER || key->type == SG_KEY_CHOICE)
        memcpy(&number, value, sizeof number);
    switch (key->type) {
    case SG_KEY_INTEGER:
        sg_text_printf(text, "%lld", (long long)number);
        break;
    case SG_KEY_REAL:
        sg_text_append(text, sg_format_real(real, buffer));
        break;
    case SG_KEY_CHOICE:
        sg_text_append(text, key->choice(number - key->first));
        break;
    case SG_KEY_FAMILIES:
        for (int64_t i = 0; i < config->task.families.count; i++)
            sg_text_printf(text, "%s%s", i > 0 ? "+" : "",
                           key->choice(config->task.families.kind[i]));
        break;
    case SG_KEY_OBJECTIVE: {
        const sg_objective *objective = &config->control.reference;
        char parameters[512];
        sg_objective_parameters(objective, parameters, sizeof parameters);
        sg_text_printf(text, "%s%s%s", objective->method->name, *parameters != '\0' ? ":" : "",
                       parameters);
        break;
    }
    case SG_KEY_OBJECTIVES:
        sg_text_append(text, "[");
        for (size_t i = 0; i < config->update.objective_count; i++) {
            const sg_objective *objective = &config->update.objectives[i];
            char parameters[512];
            sg_config_arm_parameters(config, i, false, parameters, sizeof parameters);
            sg_text_printf(text, "%s\"%s%s%s\"", i > 0 ? ", " : "", objective->method->name,
                           *parameters != '\0' ? ":" : "", parameters);
        }
        sg_text_append(text, "]");
        break;
    }
}

void sg_config_print(const sg_config *config, sg_text *yaml)
{
    const char *section = "";
    for (size_t i = 0; i < sg_config_key_count; i++) {
        const sg_config_key *key = &sg_config_keys[i];
        if (strcmp(section, key->section) != 0)
            sg_text_printf(yaml, "%s:\n", section = key->section);
        size_t start = yaml->length;
        sg_text_printf(yaml, "  %s: ", key->name);
        value_text(config, key, yaml);
        int width = (int)(yaml->length - start);
        sg_text_printf(yaml, "%*s # %s", width < 30 ? 30 - width : 0, "", key->meaning);
        for (int64_t c = 0; key->type == SG_KEY_CHOICE && key->choice(c) != NULL; c++)
            sg_text_printf(yaml, "%s%s", c == 0 ? ": " : " | ", key->choice(c));
        sg_text_append(yaml, "\n");
    }
}

void sg_config_visit(const sg_config *config,
                     void (*visit)(void *context, const char *key, const char *value),
                     void *context)
{
    sg_text value = {0};
    for (size_t i = 0; i < sg_config_key_count; i++) {
        const sg_config_key *key = &sg_config_keys[i];
        char path[128];
        snprintf(path, sizeof path, "%s.%s", key->section, key->name);
        sg_text_clear(&value);
        value_text(config, key, &value);
        visit(context, path, value.failed ? "" : value.data);
    }
    sg_text_free(&value);
}

sg_prior sg_config_prior(const sg_config *config)
{
    return (sg_prior){
        .vocabulary = (size_t)config->policy.vocabulary,
        .head = (size_t)config->policy.head,
        .head_shape = (sg_head_shape)config->policy.head_shape,
        .head_ratio = config->policy.head_ratio,
        .head_exponent = config->policy.head_exponent,
        .tail_mass = config->policy.tail_mass,
        .tail_shape = (sg_tail_shape)config->policy.tail,
        .tail_exponent = config->policy.tail_exponent,
    };
}
