/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/utf8.h"

#include <stdbool.h>

static bool is_code_point(uint32_t code)
{
    return code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

size_t sg_utf8_decode(const char *string, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *byte = (const unsigned char *)string;
    *code = byte[0];
    if (byte[0] < 0x80)
        return 1;
    size_t length = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    bool good = byte[0] >= 0xc0 && byte[0] < 0xf8;
    *code = byte[0] & (0xffu >> (length + 1));
    for (size_t i = 1; good && i < length; i++) { /* the terminator is no continuation */
        good = (byte[i] & 0xc0) == 0x80;
        *code = *code << 6 | (byte[i] & 0x3f);
    }
    if (good && *code >= smallest[length] && is_code_point(*code))
        return length;
    *code = SG_UTF8_REPLACEMENT;
    return 1;
}

size_t sg_utf8_encode(uint32_t code, char bytes[4])
{
    if (!is_code_point(code))
        code = SG_UTF8_REPLACEMENT;
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)((0xf00u >> length) | code);
    return length;
}

size_t sg_utf8_length(const char *string)
{
    size_t length = 0;
    for (uint32_t code; *string != '\0'; length++)
        string += sg_utf8_decode(string, &code);
    return length;
}
