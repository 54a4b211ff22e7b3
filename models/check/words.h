// SPDX-License-Identifier: Apache-2.0
// The validators by name, as options and scenarios list them.
#ifndef MODELS_CHECK_WORDS_H
#define MODELS_CHECK_WORDS_H

#include <stddef.h>
#include <stdint.h>

// Each looks for the kinds of violations that its line in checks.def names.
enum check_kind {
#define CHECK(id, name, about) CHECK_##id,
#include "models/check/checks.def"
#undef CHECK
    CHECK_KINDS
};
#define CHECK_ALL ((1u << CHECK_KINDS) - 1)
#define CHECK_LIST_BYTES 100u

// The set (bits by enum check_kind) that a list means: "races,heap", or "all". 0, and the word that means
// nothing in *unknown (which has *unknown_bytes): it cannot be read.
uint32_t check_parse(const char *list, const char **unknown, size_t *unknown_bytes);
// The other way round.
void check_list(uint32_t kinds, char text[CHECK_LIST_BYTES]);
// What can be in a list: "races, heap, locks or all".
const char *check_words(void);

#endif
