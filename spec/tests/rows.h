// SPDX-License-Identifier: Apache-2.0
//
// A table flattened to names and numbers, and the checks that every table has to pass.

#ifndef SPEC_TESTS_ROWS_H
#define SPEC_TESTS_ROWS_H

#include "tests/shim/shim.h"

#include <string.h>

struct row {
    const char *name;
    uint64_t value;
};

#define ROWS(table) (table), sizeof(table) / sizeof((table)[0])

// Every number is larger than the one before it, so none is there twice and people find a row by its number.
static inline void expect_ascending(const struct row *rows, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        test_row("%s after %s", rows[i].name, rows[i - 1].name);
        EXPECT_LT(rows[i - 1].value, rows[i].value);
    }
}

// No name is there twice.
static inline void expect_distinct_names(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            test_row("rows %zu and %zu: %s", i, j, rows[i].name);
            EXPECT_TRUE(strcmp(rows[i].name, rows[j].name) != 0);
        }
    }
}

// The rows typed from the manual are in the table, with the manual's numbers.
static inline void expect_golden(const struct row *golden, size_t golden_count, const struct row *rows,
                                 size_t count)
{
    for (size_t i = 0; i < golden_count; i++) {
        const struct row *found = NULL;
        for (size_t j = 0; j < count && !found; j++) {
            found = strcmp(rows[j].name, golden[i].name) == 0 ? &rows[j] : NULL;
        }
        test_row("%s", golden[i].name);
        EXPECT_TRUE(found != NULL);
        if (found) {
            EXPECT_EQ(found->value, golden[i].value);
        }
    }
}

static inline bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static inline bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

#endif
