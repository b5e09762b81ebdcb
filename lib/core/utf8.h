/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_UTF8_H
#define SG_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { SG_UTF8_REPLACEMENT = 0xfffd };

/* Code point at the start of a terminated, non-empty string; returns the bytes it takes. A byte
 * that begins no well-formed sequence (overlong, surrogate, above U+10FFFF, cut) is one byte long
 * and gives U+FFFD. "\xe2\x82\xac" is U+20AC, the euro sign, 3 bytes. */
size_t sg_utf8_decode(const char *string, uint32_t *code);

/* The 1 to 4 bytes of a code point, not terminated; U+FFFD stands for what is none. */
size_t sg_utf8_encode(uint32_t code, char bytes[4]);

/* How many code points the string has, by sg_utf8_decode. */
size_t sg_utf8_length(const char *string);

#endif
