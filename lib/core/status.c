/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *sg_status_meaning(sg_status status)
{
    switch (status) {
#define SG_STATUS_CASE(code, meaning)                                                            \
    case code:                                                                                   \
        return meaning;
        SG_STATUS_LIST(SG_STATUS_CASE)
#undef SG_STATUS_CASE
    }
    return "unknown status";
}

sg_status sg_fail(sg_error *error, sg_status status, const char *format, ...)
{
    if (error == NULL)
        return status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof error->message)
        memcpy(error->message + sizeof error->message - 4, "...", 4);
    for (char *c = error->message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    return status;
}
