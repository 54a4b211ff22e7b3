// SPDX-License-Identifier: Apache-2.0
#include "models/check/words.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {
#define CHECK(id, name, about) name,
#include "models/check/checks.def"
#undef CHECK
};

static uint32_t kinds_of(const char *word, size_t bytes)
{
    if (bytes == 3 && memcmp(word, "all", 3) == 0)
        return CHECK_ALL;
    for (unsigned i = 0; i < CHECK_KINDS; i++)
        if (strlen(names[i]) == bytes && memcmp(word, names[i], bytes) == 0)
            return 1u << i;
    return 0;
}

uint32_t check_parse(const char *list, const char **unknown, size_t *unknown_bytes)
{
    uint32_t all = 0;

    for (const char *word = list;; word++) {
        size_t bytes = strcspn(word, ",");
        uint32_t kinds = kinds_of(word, bytes);

        *unknown = word;
        *unknown_bytes = bytes;
        if (!kinds)
            return 0;
        all |= kinds;
        word += bytes;
        if (!*word)
            return all;
    }
}

void check_list(uint32_t kinds, char text[CHECK_LIST_BYTES])
{
    size_t used = 0;

    *text = 0;
    for (unsigned i = 0; i < CHECK_KINDS; i++)
        if (kinds >> i & 1)
            used += (size_t)snprintf(text + used, CHECK_LIST_BYTES - used, "%s%s", used ? "," : "", names[i]);
}

const char *check_words(void)
{
    return
#define CHECK(id, name, about) name ", "
#include "models/check/checks.def"
#undef CHECK
        "or all";
}
