// SPDX-License-Identifier: Apache-2.0
#include "sim/scenario/quantity.h"
#include <stddef.h>
#include <string.h>

struct unit {
    const char *word;
    uint64_t factor;
};

static int digit_value(char c, unsigned base)
{
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;

    return v < (int)base ? v : -1;
}

// Reads digits (and underscores between them); returns where they end, NULL if there are none or too many.
static const char *read_digits(const char *text, unsigned base, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = text;

    for (; *p; p++) {
        if (*p == '_' && p > text && digit_value(p[1], base) >= 0)
            continue;
        int d = digit_value(*p, base);

        if (d < 0)
            break;
        if (value > (UINT64_MAX - (uint64_t)d) / base)
            return NULL;
        value = value * base + (uint64_t)d;
    }
    *out = value;
    return p > text ? p : NULL;
}

static bool is_hex(const char *text)
{
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

bool quantity_number(const char *text, uint64_t *out)
{
    uint64_t value;
    const char *end = is_hex(text) ? read_digits(text + 2, 16, &value) : read_digits(text, 10, &value);

    if (!end || *end)
        return false;
    *out = value;
    return true;
}

static bool with_unit(const char *text, const struct unit *units, size_t count, bool fraction, uint64_t *out)
{
    uint64_t whole, part = 0, scale = 1;
    const char *p = read_digits(text, 10, &whole);

    if (!p)
        return false;
    if (fraction && *p == '.') {
        const char *start = ++p;

        p = read_digits(start, 10, &part);
        if (!p || p - start > 9)
            return false;
        for (; start < p; start++)
            scale *= 10;
    }
    while (*p == ' ')
        p++;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(p, units[i].word) != 0)
            continue;
        if (whole > UINT64_MAX / units[i].factor || part * units[i].factor % scale)
            return false;
        uint64_t value = whole * units[i].factor, rest = part * units[i].factor / scale;

        if (value > UINT64_MAX - rest)
            return false;
        *out = value + rest;
        return true;
    }
    return false;
}

bool quantity_bytes(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}};

    return is_hex(text) ? quantity_number(text, out)
                        : with_unit(text, units, sizeof units / sizeof *units, false, out);
}

bool quantity_ns(const char *text, uint64_t *out)
{
    static const struct unit units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};

    return with_unit(text, units, sizeof units / sizeof *units, true, out);
}

bool quantity_rate(const char *text, uint64_t *out)
{
    static const struct unit units[] = {{"bit/s", 1},
                                        {"kbit/s", 1000},
                                        {"Mbit/s", 1000000},
                                        {"Gbit/s", 1000000000},
                                        {"Tbit/s", 1000000000000}};

    return with_unit(text, units, sizeof units / sizeof *units, true, out);
}

bool quantity_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}
