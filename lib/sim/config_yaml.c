/* SPDX-License-Identifier: GPL-3.0-or-later */
/* YAML into an sg_config. libcyaml fills C strings by the schema; what it cannot say well (which
 * line, which of two equal keys, what was meant) is found beforehand in the events of libyaml, on
 * which it stands. */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "sim/config_keys.h"

enum { KEYS = SG_CONFIG_KEYS_MAX, FILE_SIZE_MAX = 1 << 20, PLACE_SIZE = SG_CONFIG_SOURCE + 24 };

/* What libcyaml fills: the text of every key, or NULL. */
struct raw {
    char *value[KEYS];
    char **objectives;
    unsigned objective_count;
};

struct reader {
    const char *name; /* of the file */
    yaml_parser_t parser;
    yaml_event_t event;
    unsigned line[KEYS]; /* of each key, 0 when absent */
    sg_error *error;
};

static void place_at(char place[PLACE_SIZE], const char *name, size_t line)
{
    if (line > 0)
        snprintf(place, PLACE_SIZE, "%.*s:%zu: ", SG_CONFIG_SOURCE, name, line);
    else
        snprintf(place, PLACE_SIZE, "%.*s: ", SG_CONFIG_SOURCE, name);
}

static sg_status refuse(struct reader *r, const char *what, const char *detail)
{
    char place[PLACE_SIZE];
    place_at(place, r->name, r->event.start_mark.line + 1);
    return sg_fail(r->error, SG_EARGUMENT, "%s%s%.60s", place, what, detail);
}

static sg_status next(struct reader *r)
{
    yaml_event_delete(&r->event);
    memset(&r->event, 0, sizeof r->event);
    if (yaml_parser_parse(&r->parser, &r->event) == 0) {
        char place[PLACE_SIZE];
        place_at(place, r->name, r->parser.problem_mark.line + 1);
        memset(&r->event, 0, sizeof r->event);
        return sg_fail(r->error, r->parser.error == YAML_MEMORY_ERROR ? SG_ENOMEM : SG_EARGUMENT,
                       "%sthis is not YAML: %s; write `section:` and below it, indented, "
                       "`key: value` lines",
                       place, r->parser.problem != NULL ? r->parser.problem : "it cannot be read");
    }
    if (r->event.type == YAML_ALIAS_EVENT ||
        (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.anchor != NULL))
        return refuse(r, "anchors and aliases are not supported; write the value out", "");
    return SG_OK;
}

static const char *scalar(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

/* NUL bytes would cut a value short unseen. */
static bool has_nul(const struct reader *r)
{
    return strlen(scalar(r)) != r->event.data.scalar.length;
}

static sg_status check_objectives(struct reader *r)
{
    sg_status status;
    if (r->event.type != YAML_SEQUENCE_START_EVENT)
        return refuse(r, "update.objectives must be a list, such as [sapo, grpo]", "");
    while ((status = next(r)) == SG_OK && r->event.type != YAML_SEQUENCE_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT || has_nul(r))
            return refuse(r, "an objective must be a text such as sapo or \"sapo:tau_neg=1.05\"",
                          "");
    }
    return status;
}

static sg_status check_key(struct reader *r, const char *section)
{
    char place[PLACE_SIZE];
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, "a key of this section must be a plain name: ", section);
    const sg_config_key *key = sg_config_find_key(section, scalar(r));
    place_at(place, r->name, r->event.start_mark.line + 1);
    if (key == NULL)
        return sg_config_unknown_key(section, scalar(r), place, r->error);
    size_t index = (size_t)(key - sg_config_keys);
    if (r->line[index] != 0)
        return sg_fail(r->error, SG_EARGUMENT,
                       "%s%s.%s is given a second time (first in line %u); keep one of them", place,
                       section, key->name, r->line[index]);
    r->line[index] = (unsigned)r->event.start_mark.line + 1;
    sg_status status = next(r);
    if (status != SG_OK)
        return status;
    if (key->type == SG_KEY_OBJECTIVES)
        return check_objectives(r);
    if (r->event.type != YAML_SCALAR_EVENT || has_nul(r))
        return sg_fail(r->error, SG_EARGUMENT,
                       "%s%s.%s must be a single value, not a list or a section; its default is %s",
                       place, section, key->name, key->fallback);
    return SG_OK;
}

static sg_status check_section(struct reader *r, bool *seen)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, "the name of a section must be plain text", "");
    char name[64];
    snprintf(name, sizeof name, "%.63s", scalar(r));
    size_t first = 0;
    while (first < sg_config_key_count && strcmp(sg_config_keys[first].section, name) != 0)
        first++;
    if (first == sg_config_key_count) {
        char place[PLACE_SIZE];
        place_at(place, r->name, r->event.start_mark.line + 1);
        return sg_config_unknown_key(NULL, name, place, r->error);
    }
    if (seen[first])
        return refuse(r, "this section is given a second time; put its keys together: ", name);
    seen[first] = true;
    sg_status status = next(r);
    if (status != SG_OK)
        return status;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, "this section must have indented `key: value` lines below it: ", name);
    while ((status = next(r)) == SG_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        if ((status = check_key(r, name)) != SG_OK)
            return status;
    }
    return status;
}

static sg_status check_document(struct reader *r)
{
    bool seen[KEYS] = {false};
    sg_status status;
    do { /* the start of stream and document */
        if ((status = next(r)) != SG_OK)
            return status;
    } while (r->event.type == YAML_STREAM_START_EVENT ||
             r->event.type == YAML_DOCUMENT_START_EVENT);
    if (r->event.type == YAML_STREAM_END_EVENT ||
        (r->event.type == YAML_SCALAR_EVENT && *scalar(r) == '\0'))
        return sg_fail(r->error, SG_EARGUMENT,
                       "%s is empty; an experiment needs at least one section, such as `run:` with "
                       "`  steps: 400` below it",
                       r->name);
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r,
                      "an experiment is made of sections (policy:, task:, rollout:, update:, "
                      "optimizer:, run:, start:)",
                      "");
    while ((status = next(r)) == SG_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        if ((status = check_section(r, seen)) != SG_OK)
            return status;
    }
    if (status != SG_OK || (status = next(r)) != SG_OK || (status = next(r)) != SG_OK)
        return status;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return refuse(r, "a second document starts here; one file holds one experiment", "");
    return SG_OK;
}

__attribute__((format(printf, 3, 0))) static void keep_log(cyaml_log_t level, void *context,
                                                           const char *format, va_list arguments)
{
    char *first = context; /* the first line says what, the others where */
    (void)level;
    if (*first == '\0')
        vsnprintf(first, 200, format, arguments);
}

/* The schema of libcyaml, made from ours: a mapping of optional mappings of optional strings. */
static sg_status load(struct raw **raw, const char *text, size_t length, const char *name,
                      sg_error *error)
{
    static const cyaml_schema_value_t spec = {
        .type = CYAML_STRING,
        .flags = CYAML_FLAG_POINTER,
        .data_size = sizeof(char),
        .string = {.min = 0, .max = FILE_SIZE_MAX},
    };
    cyaml_schema_field_t field[2 * KEYS], section[KEYS];
    size_t fields = 0, sections = 0;
    memset(field, 0, sizeof field);
    memset(section, 0, sizeof section);
    for (size_t i = 0; i < sg_config_key_count; i++) {
        const sg_config_key *key = &sg_config_keys[i];
        if (i == 0 || strcmp(key->section, key[-1].section) != 0) {
            if (i > 0)
                fields++; /* a zeroed field ends the list */
            section[sections++] = (cyaml_schema_field_t){
                .key = key->section,
                .value = {.type = CYAML_MAPPING,
                          .flags = CYAML_FLAG_OPTIONAL,
                          .data_size = sizeof(struct raw),
                          .mapping = {.fields = &field[fields]}},
            };
        }
        bool list = key->type == SG_KEY_OBJECTIVES;
        field[fields] = (cyaml_schema_field_t){
            .key = key->name,
            .value = {.type = list ? CYAML_SEQUENCE : CYAML_STRING,
                      .flags = CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER,
                      .data_size = list ? sizeof(char *) : sizeof(char)},
            .data_offset = (uint32_t)(offsetof(struct raw, value) + i * sizeof(char *)),
        };
        if (list) {
            field[fields].value.sequence.entry = &spec;
            field[fields].value.sequence.max = FILE_SIZE_MAX;
            field[fields].data_offset = offsetof(struct raw, objectives);
            field[fields].count_offset = offsetof(struct raw, objective_count);
            field[fields].count_size = sizeof(unsigned);
        } else {
            field[fields].value.string.max = FILE_SIZE_MAX;
        }
        fields++;
    }
    const cyaml_schema_value_t top = {
        .type = CYAML_MAPPING,
        .flags = CYAML_FLAG_POINTER,
        .data_size = sizeof(struct raw),
        .mapping = {.fields = section},
    };
    char log[200] = "";
    cyaml_config_t with = {
        .log_fn = keep_log,
        .log_ctx = log,
        .mem_fn = cyaml_mem,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS,
    };
    cyaml_err_t result =
        cyaml_load_data((const uint8_t *)text, length, &with, &top, (cyaml_data_t **)raw, NULL);
    if (result == CYAML_ERR_OOM)
        return sg_fail(error, SG_ENOMEM, "%s: not enough memory to read it", name);
    if (result != CYAML_OK)
        return sg_fail(error, SG_EARGUMENT, "%s: cannot be read as an experiment: %s (%s)", name,
                       cyaml_strerror(result), log);
    return SG_OK;
}

static void raw_free(struct raw *raw)
{
    if (raw == NULL)
        return;
    for (size_t i = 0; i < KEYS; i++)
        free(raw->value[i]);
    for (unsigned i = 0; i < raw->objective_count; i++)
        free(raw->objectives[i]);
    free(raw->objectives);
    free(raw);
}

static sg_status apply(sg_config *config, const struct raw *raw, const struct reader *r,
                       sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t i = 0; i < sg_config_key_count && status == SG_OK; i++) {
        const sg_config_key *key = &sg_config_keys[i];
        char place[PLACE_SIZE];
        place_at(place, r->name, r->line[i]);
        if (r->line[i] == 0)
            continue;
        if (key->type == SG_KEY_OBJECTIVES)
            status = sg_config_set_objectives(config, (const char *const *)raw->objectives,
                                              raw->objective_count, place, error);
        else
            status = sg_config_set_key(config, key, raw->value[i], place, error);
    }
    return status;
}

sg_status sg_config_parse(sg_config *config, const char *name, const char *text, size_t length,
                          sg_error *error)
{
    sg_config_init(config);
    snprintf(config->source, sizeof config->source, "%s", name);
    struct reader r = {.name = config->source, .error = error};
    if (yaml_parser_initialize(&r.parser) == 0)
        return sg_fail(error, SG_ENOMEM, "%s: not enough memory to read it", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    sg_status status = check_document(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (status != SG_OK)
        return status;
    struct raw *raw = NULL;
    status = load(&raw, text, length, r.name, error);
    if (status == SG_OK)
        status = apply(config, raw, &r, error);
    raw_free(raw);
    return status;
}

sg_status sg_config_read(sg_config *config, const char *path, sg_error *error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    if (standard)
        path = "standard input";
    if (file == NULL)
        return sg_fail(error, SG_EIO, "cannot open the experiment %s: %s", path, strerror(errno));
    char *text = malloc(FILE_SIZE_MAX + 1);
    size_t length = text != NULL ? fread(text, 1, FILE_SIZE_MAX + 1, file) : 0;
    int failed = ferror(file) ? errno : 0;
    if (!standard)
        fclose(file);
    sg_status status;
    if (text == NULL)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to read %s", path);
    else if (failed != 0)
        status =
            sg_fail(error, SG_EIO, "cannot read the experiment %s: %s", path, strerror(failed));
    else if (length > FILE_SIZE_MAX)
        status =
            sg_fail(error, SG_EARGUMENT,
                    "%s is longer than 1 MiB, which no experiment is; is it the right file?", path);
    else
        status = sg_config_parse(config, path, text, length, error);
    free(text);
    return status;
}
