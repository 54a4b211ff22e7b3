// SPDX-License-Identifier: Apache-2.0
#include "traces/text.h"

#include "traces/digest.h"
#include "traces/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct text_entry *texts_append(struct texts *texts)
{
    uint32_t id = texts->count;

    assert(id < TEXT_CHUNK * TEXT_CHUNKS);
    __atomic_store_n(&texts->count, id + 1, __ATOMIC_RELAXED);
    if (!texts->chunks[id / TEXT_CHUNK])
        texts->chunks[id / TEXT_CHUNK] = memory_zeroed(TEXT_CHUNK, sizeof(struct text_entry));
    return texts_entry(texts, id);
}

void texts_init(struct texts *texts)
{
    memset(texts, 0, sizeof *texts);
    texts->slot_count = 1024;
    texts->slots = memory_zeroed(texts->slot_count, sizeof *texts->slots);
    texts_append(texts);
}

void texts_free(struct texts *texts)
{
    for (uint32_t id = 0; id < texts->count; id++)
        free(texts_entry(texts, id)->text);
    for (uint32_t i = 0; i < TEXT_CHUNKS; i++)
        free(texts->chunks[i]);
    free(texts->slots);
}

static uint32_t *texts_slot(const struct texts *texts, const char *text, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (texts->slot_count - 1);

    for (; texts->slots[i]; i = (i + 1) & (texts->slot_count - 1)) {
        const struct text_entry *entry = texts_entry(texts, texts->slots[i]);

        if (entry->hash == hash && !strcmp(entry->text, text))
            break;
    }
    return &texts->slots[i];
}

static void texts_grow(struct texts *texts)
{
    free(texts->slots);
    texts->slot_count *= 2;
    texts->slots = memory_zeroed(texts->slot_count, sizeof *texts->slots);
    for (uint32_t id = 1; id < texts->count; id++) {
        const struct text_entry *entry = texts_entry(texts, id);

        *texts_slot(texts, entry->text, entry->hash) = id;
    }
}

uint32_t texts_id(struct texts *texts, const char *text)
{
    size_t size = strlen(text);
    uint64_t hash = digest_bytes(text, size, 0).lo;
    uint32_t *slot = texts_slot(texts, text, hash);

    if (*slot)
        return *slot;
    uint32_t id = texts->count;
    struct text_entry *entry = texts_append(texts);

    entry->text = memory_zeroed(size + 1, 1);
    memcpy(entry->text, text, size);
    entry->hash = hash;
    *slot = id;
    if (texts->count * 2 > texts->slot_count)
        texts_grow(texts);
    return id;
}
