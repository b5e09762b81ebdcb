/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers from and to text, whatever the locale of the program that uses the library. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include "core/text.h"

/* A locale may write the point as other bytes, even as several. */
static void restore_point(char *buffer)
{
    char *separator = buffer + strspn(buffer, "+-0123456789e");
    if (*separator == '\0' || *separator == '.')
        return;
    size_t length = strcspn(separator, "+-0123456789e");
    *separator = '.';
    memmove(separator + 1, separator + length, strlen(separator + length) + 1);
}

char *sg_format_real(double value, char buffer[32])
{
    if (isnan(value))
        return strcpy(buffer, "nan");
    if (isinf(value))
        return strcpy(buffer, value > 0 ? "inf" : "-inf");
    if (fabs(value) < 1e15 && value == trunc(value)) {
        snprintf(buffer, 32, "%.0f", value);
        return buffer;
    }
    for (int digits = 15; digits <= 17; digits++) {
        double back;
        snprintf(buffer, 32, "%.*g", digits, value);
        restore_point(buffer);
        if (digits == 17 || (sg_parse_real(buffer, &back) && back == value))
            break;
    }
    return buffer;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

/* Reads the lower-case `word` in any case; returns what follows it, or NULL. */
static const char *read_word(const char *at, const char *word)
{
    for (; *word != '\0'; at++, word++) {
        if ((*at | 0x20) != *word)
            return NULL;
    }
    return at;
}

/* An exponent part, if there is one. Far outside the range of a double it is cut to +-10^8, which
 * changes no result: no text in memory has that many digits. Returns NULL for "e" without digits.
 */
static const char *read_exponent(const char *at, long *exponent)
{
    *exponent = 0;
    if (*at != 'e' && *at != 'E')
        return at;
    at++;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    if (!is_digit(*at))
        return NULL;
    for (; is_digit(*at); at++)
        *exponent = *exponent < 10000000 ? *exponent * 10 + (*at - '0') : 100000000;
    if (negative)
        *exponent = -*exponent;
    return at;
}

static double strtod_c(const char *string)
{
    /* For the whole "C" locale this is a constant of the C library, not an allocation. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value = strtod_l(string, NULL, c_locale);
    freelocale(c_locale);
    return value;
}

/* Reads "nan", "inf" or "infinity"; returns what follows, or NULL. */
static const char *read_nonfinite(const char *at, double *magnitude)
{
    const char *end = read_word(at, "nan");
    *magnitude = end != NULL ? NAN : INFINITY;
    if (end == NULL)
        end = read_word(at, "infinity");
    return end != NULL ? end : read_word(at, "inf");
}

/* A number mantissa * 10^shift; not exact when digits of the mantissa were left out. */
struct decimal {
    uint64_t mantissa;
    long shift;
    bool exact;
};

static const char *read_decimal(const char *at, struct decimal *decimal)
{
    *decimal = (struct decimal){.exact = true};
    bool any = false, fraction = false;
    for (; is_digit(*at) || (*at == '.' && !fraction); at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        any = true;
        decimal->shift -= fraction;
        if (decimal->mantissa < 100000000000000000) /* 10^17: the next digit fits in 64 bits */
            decimal->mantissa = decimal->mantissa * 10 + (uint64_t)(*at - '0');
        else
            decimal->exact = false;
    }
    long exponent;
    at = any ? read_exponent(at, &exponent) : NULL;
    if (at != NULL)
        decimal->shift += exponent;
    return at;
}

/* Two exact doubles and one rounding are correctly rounded (Clinger 1990). That covers what people
 * write; false for the rest. */
static bool convert_short(const struct decimal *decimal, double *magnitude)
{
    static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double mantissa = (double)decimal->mantissa;
    long shift = decimal->shift;
    if (!decimal->exact || decimal->mantissa > (uint64_t)1 << 53 || shift < -22 || shift > 22)
        return false;
    *magnitude = shift < 0 ? mantissa / ten[-shift] : mantissa * ten[shift];
    return true;
}

bool sg_parse_real(const char *string, double *value)
{
    const char *start = skip_blanks(string), *at = start;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    double magnitude;
    struct decimal decimal = {0};
    const char *end = read_nonfinite(at, &magnitude);
    bool nonfinite = end != NULL;
    if (!nonfinite)
        end = read_decimal(at, &decimal);
    if (end == NULL || *skip_blanks(end) != '\0')
        return false;
    if (nonfinite || convert_short(&decimal, &magnitude))
        *value = negative ? -magnitude : magnitude;
    else
        *value = strtod_c(start);
    return true;
}

/* value = value * 10 + digit; false when that leaves 64 bits. */
static bool push_digit(uint64_t *value, unsigned digit)
{
    if (*value > (UINT64_MAX - digit) / 10)
        return false;
    *value = *value * 10 + digit;
    return true;
}

bool sg_parse_integer(const char *string, int64_t *value)
{
    const char *at = skip_blanks(string);
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    /* number = magnitude * 10^(zeros + exponent - decimals); zeros are held back until a digit
     * follows them, so that "1000e-3" is seen to be 1. */
    uint64_t magnitude = 0;
    long zeros = 0, decimals = 0, exponent;
    bool any = false, fraction = false;
    for (; is_digit(*at) || (*at == '.' && !fraction); at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        any = true;
        decimals += fraction;
        if (*at == '0') {
            zeros += magnitude != 0;
            continue;
        }
        for (; zeros > 0; zeros--) {
            if (!push_digit(&magnitude, 0))
                return false;
        }
        if (!push_digit(&magnitude, (unsigned)(*at - '0')))
            return false;
    }
    const char *end = any ? read_exponent(at, &exponent) : NULL;
    if (end == NULL || *skip_blanks(end) != '\0' || (fraction && end == at))
        return false;
    long shift = zeros + exponent - decimals;
    if (magnitude != 0 && shift < 0)
        return false;
    for (; magnitude != 0 && shift > 0; shift--) {
        if (!push_digit(&magnitude, 0))
            return false;
    }
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}
