// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_DICT_H
#define HVSIM_TRACES_DICT_H

/*
 * Small numbers for combinations that recur: a hash table from DICT_WORDS_MAX or fewer 64-bit words to 1, 2,
 * 3, ... in the order of their first appearance.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DICT_WORDS_MAX = 8 };

struct dict {
    size_t words;   // of a key
    uint64_t *keys; // words * capacity of them
    size_t key_capacity;
    uint32_t *slots; // numbers, 0 free
    uint32_t slot_count, count;
};

void dict_init(struct dict *dict, size_t words);
void dict_free(struct dict *dict);

// The number of key; *is_new says whether this call gave it.
uint32_t dict_number(struct dict *dict, const uint64_t *key, bool *is_new);

#endif
