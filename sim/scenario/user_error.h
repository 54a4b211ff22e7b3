// SPDX-License-Identifier: Apache-2.0
// An error of the user: one message that names file, line, field, what was expected, and a cure. Exit
// status 2.
#ifndef SIM_SCENARIO_USER_ERROR_H
#define SIM_SCENARIO_USER_ERROR_H

#include <stdarg.h>
#include <stddef.h>

struct user_error {
    char text[1024]; // "FILE:LINE: FIELD: what; hint", no trailing newline. Empty: no error.
};

// Formats an error. `line` 0 and `field` NULL are left out. Returns -1, so that callers can return it.
__attribute__((format(printf, 5, 6))) int user_error_at(struct user_error *e, const char *file, unsigned line,
                                                        const char *field, const char *format, ...);

// The word among `words` (count of them) nearest to `word` by edit distance, or NULL if none is near.
const char *nearest_word(const char *word, const char *const *words, size_t count);

#endif
