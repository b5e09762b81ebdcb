/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CONFIG_KEYS_H
#define SG_CONFIG_KEYS_H

#include <stdbool.h>

#include "sim/config.h"

/* Inside lib/sim only: the schema as data. Every key once, in the order of the file. */
enum { SG_CONFIG_KEYS_MAX = 96 };

typedef enum sg_key_type {
    SG_KEY_INTEGER,
    SG_KEY_REAL,
    SG_KEY_CHOICE,
    SG_KEY_FAMILIES,  /* choices joined by +, in task.families */
    SG_KEY_OBJECTIVE, /* one of them, in control.reference */
    SG_KEY_OBJECTIVES
} sg_key_type;

typedef struct sg_config_key {
    const char *section, *name;
    sg_key_type type;
    size_t offset;                        /* of the value in sg_config */
    const char *fallback;                 /* its default, as text */
    double low, high;                     /* INTEGER, REAL: both ends belong to the range ... */
    bool open_low, open_high;             /* ... unless they are open */
    const char *(*choice)(int64_t index); /* CHOICE, FAMILIES: its names; NULL past the end */
    int64_t first;                        /* CHOICE: value of the first name */
    const char *meaning;
} sg_config_key;

extern const sg_config_key sg_config_keys[];
extern const size_t sg_config_key_count;

/* NULL when unknown. */
const sg_config_key *sg_config_find_key(const char *section, const char *name);

/* Set one key from its text; for objectives the list in brackets. `place` goes in front of the
 * message. */
sg_status sg_config_set_key(sg_config *config, const sg_config_key *key, const char *text,
                            const char *place, sg_error *error);
/* The list of objectives from its items. A piece such as tau_neg=1.05, cut off from its objective
 * by a comma, is joined to it again. */
sg_status sg_config_set_objectives(sg_config *config, const char *const *items, size_t count,
                                   const char *place, sg_error *error);

/* One item of that list. */
sg_status sg_config_parse_arm(const char *spec, sg_objective *objective, sg_arm_controls *controls,
                              const char *place, sg_error *error);
/* The value that a key of type CHOICE or FAMILIES has under this name. */
sg_status sg_config_set_choice(int64_t *value, const sg_config_key *key, const char *text,
                               const char *place, sg_error *error);

/* '-' as '_', and in small letters. */
char sg_config_plain(char c);

/* The key "section.name" that others call `name`, of this section if it has one; "section." stands for the section itself.
 * NULL: none. section NULL: `name` stands where a section does. */
const char *sg_config_synonym(const char *section, const char *name);
/* The keys and sections that have such names; NULL past the end. */
const char *sg_config_synonym_at(size_t index);

/* A sentence about a key that does not exist, with the nearest that does. section NULL: unknown
 * section `name`. */
sg_status sg_config_unknown_key(const char *section, const char *name, const char *place,
                                sg_error *error);

#endif
