/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_STATUS_H
#define SG_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Every fallible function returns an sg_status (SG_OK is 0) and takes a caller-owned
 * sg_error as its last argument. The error may be NULL; when it is not, a failing call
 * leaves one English sentence in it: what is wrong, where, and what to do about it.
 * A succeeding call does not touch it. Nothing here is global, so all of it is thread-safe.
 *
 * Codes and their general meaning come from this one list. */
#define SG_STATUS_LIST(X)                                                                    \
    X(SG_OK, "success")                                                                      \
    X(SG_EARGUMENT, "an argument or a configuration value is not valid")                     \
    X(SG_EDATA, "an input file or array holds data that cannot be used")                     \
    X(SG_EIO, "a file could not be read or written")                                         \
    X(SG_ENOMEM, "not enough memory")                                                        \
    X(SG_ETOOL, "an external program is missing or failed")                                  \
    X(SG_EUNSUPPORTED, "this build or machine cannot do that")                               \
    X(SG_EINTERRUPTED, "interrupted")                                                        \
    X(SG_EINTERNAL, "an internal check failed; this is a bug in softgate")

typedef enum sg_status {
#define SG_STATUS_ENUM(code, meaning) code,
    SG_STATUS_LIST(SG_STATUS_ENUM)
#undef SG_STATUS_ENUM
} sg_status;

enum { SG_MESSAGE_SIZE = 512 };

typedef struct sg_error {
    sg_status status;
    char message[SG_MESSAGE_SIZE]; /* one sentence, no newline, always terminated */
} sg_error;

/* General meaning of a code, for example "not enough memory" for SG_ENOMEM. Never NULL. */
const char *sg_status_meaning(sg_status status);

/* Store a status and a printf-formatted sentence in *error (which may be NULL) and return the
 * status, so that a function can end with `return sg_fail(error, SG_EDATA, "...")`.
 * Control characters of the message, such as newlines of a user's text, become '?'.
 * A message longer than SG_MESSAGE_SIZE - 1 bytes is cut and ends in "...". */
sg_status sg_fail(sg_error *error, sg_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
