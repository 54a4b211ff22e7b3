// SPDX-License-Identifier: Apache-2.0
#ifndef HVSIM_TRACES_TEXT_H
#define HVSIM_TRACES_TEXT_H

/*
 * Texts by id. The producer's thread adds; the consumer's thread reads entries whose ids it was handed in a
 * block, so entries never move: they live in fixed chunks behind a directory of fixed size.
 */

#include <stdint.h>

struct text_entry {
    char *text;
    uint64_t hash; // what the digest sees instead of the id
    int64_t db_id; // texts.id, 0 unknown; the consumer's
};

enum { TEXT_CHUNK = 4096, TEXT_CHUNKS = 4096 };

struct texts {
    struct text_entry *chunks[TEXT_CHUNKS];
    uint32_t count;  // entry 0 is "none"
    uint32_t *slots; // open addressing over ids, 0 free
    uint32_t slot_count;
};

void texts_init(struct texts *texts);
void texts_free(struct texts *texts);

// The id of text, added if it is new. More than 2^24 texts, or no memory, end the program (a bug in us).
uint32_t texts_id(struct texts *texts, const char *text);

static inline struct text_entry *texts_entry(const struct texts *texts, uint32_t id)
{
    return &texts->chunks[id / TEXT_CHUNK][id % TEXT_CHUNK];
}

// How many ids are given out, from either thread.
static inline uint32_t texts_count(const struct texts *texts)
{
    return __atomic_load_n(&texts->count, __ATOMIC_RELAXED);
}

#endif
