// SPDX-License-Identifier: Apache-2.0
// Locations, their stores in modification order, and which of them can still be read.
#include "models/memory/c11.h"
#include <assert.h>

uint64_t c11_read_memory(const volatile void *p, uint32_t size_bytes)
{
    switch (size_bytes) {
    case 1:
        return *(const volatile uint8_t *)p;
    case 2:
        return *(const volatile uint16_t *)p;
    case 4:
        return *(const volatile uint32_t *)p;
    default:
        return *(const volatile uint64_t *)p;
    }
}

void c11_write_memory(uint64_t address, uint32_t size_bytes, uint64_t value)
{
    volatile void *p = (volatile void *)(uintptr_t)address;

    switch (size_bytes) {
    case 1:
        *(volatile uint8_t *)p = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)p = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)p = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)p = value;
    }
}

// --- Stores. ---

static void forget_location(struct memory *m, struct c11_location *l);

// Gives up the location that was used longest ago in turn, except `keep` and those with promises.
static void give_up_one(struct memory *m, const struct c11_location *keep)
{
    for (uint32_t tries = 0; tries < 2 * C11_LOCATIONS; tries++) {
        struct c11_location *l = &m->location[m->next_victim++ % C11_LOCATIONS];

        if (l->used && l != keep && !l->promises) {
            forget_location(m, l);
            return;
        }
    }
    assert(!"the C11 memory model has no location to give up");
}

static struct c11_store *new_store(struct memory *m, const struct c11_location *of)
{
    while (!m->free_store && m->stores_used == C11_STORES)
        give_up_one(m, of);
    struct c11_store *s = m->free_store;

    if (s)
        m->free_store = s->newer;
    else
        s = (struct c11_store *)(void *)(m->stores + m->stores_used++ * m->store_bytes);
    memset(s, 0, sizeof *s);
    return s;
}

static void drop_oldest(struct memory *m, struct c11_location *l)
{
    struct c11_store *s = l->oldest;

    l->oldest = s->newer;
    l->oldest->older = NULL;
    l->count--;
    s->newer = m->free_store;
    m->free_store = s;
}

struct c11_store *c11_in_memory(const struct c11_location *l)
{
    struct c11_store *s = l->newest;

    while (s->promise)
        s = s->older;
    return s;
}

// Takes away the stores that no processor can read any more; a thread that is on none knows no less when it
// comes to one. Where there are too many, the oldest go although somebody could still read them.
static void shorten(struct memory *m, struct c11_location *l)
{
    bool shorter = true;

    while (shorter && l->oldest != c11_in_memory(l) && !l->oldest->promise) {
        for (uint32_t cpu = 0; cpu < m->cpus && shorter; cpu++)
            shorter = !m->cpu[cpu].active || c11_bound(m, cpu, l, false) != l->oldest;
        if (shorter)
            drop_oldest(m, l);
    }
    while (l->count >= C11_HISTORY_MAX && l->oldest != c11_in_memory(l) && !l->oldest->promise)
        drop_oldest(m, l);
    l->look_at = 2 * l->count > C11_HISTORY_LOOK ? 2 * l->count : C11_HISTORY_LOOK;
    if (l->look_at > C11_HISTORY_MAX)
        l->look_at = C11_HISTORY_MAX;
}

struct c11_store *c11_insert(struct memory *m, struct c11_location *l, struct c11_store *older,
                             uint64_t value)
{
    struct c11_store *s = new_store(m, l);

    s->of = l;
    s->value = value;
    s->older = older;
    s->newer = older->newer;
    older->newer = s;
    *(s->newer ? &s->newer->older : &l->newest) = s;
    l->count++;
    return s;
}

static inline bool known(const struct memory *m, struct c11_store *s, const uint64_t *happens)
{
    if (s->epoch <= happens[s->cpu])
        return true;
    for (uint64_t left = s->readers; left; left &= left - 1) {
        uint32_t reader = (uint32_t)__builtin_ctzll(left);

        if (c11_read_epochs(m, s)[reader] <= happens[reader])
            return true;
    }
    return false;
}

// What is ordered before the processor's next operation: by happens-before; by a seq_cst fence before it,
// which comes after others (and what happens before those) and after seq_cst operations; and where it is
// seq_cst itself, by coming after all of these.
struct c11_store *c11_bound(const struct memory *m, uint32_t cpu, const struct c11_location *l, bool sc)
{
    uint64_t *now = m->cpu[cpu].now, fence = sc ? UINT64_MAX : now[0];
    const uint64_t *happens = c11_happens(now), *fenced = sc ? m->fences : c11_fenced(m, now);
    struct c11_store *s = l->newest;

    for (; s != l->oldest; s = s->older) {
        if (known(m, s, happens))
            break;
        if (fence && ((s->sc && s->sc < fence) || (s->sc_read && s->sc_read < fence) || known(m, s, fenced)))
            break;
    }
    return s;
}

// --- Locations. ---

static uint32_t bucket_of(uint64_t address)
{
    return (uint32_t)((address >> 3) * 0x9e3779b97f4a7c15ull >> 52) % C11_BUCKETS;
}

static void forget_location(struct memory *m, struct c11_location *l)
{
    struct c11_location **at = &m->bucket[l->bucket];

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    if (m->bucket_count[l->bucket] < UINT8_MAX)
        m->bucket_count[l->bucket]--;
    // Who acquires from the place later must not know less.
    if (l->newest->releases) {
        c11_join(m, m->forgotten, l->newest->words);
        m->has_forgotten = true;
    }
    while (l->oldest != l->newest)
        drop_oldest(m, l);
    l->oldest->newer = m->free_store;
    m->free_store = l->oldest;
    l->used = false;
    m->holes++;
}

static struct c11_location *free_location(struct memory *m)
{
    if (m->locations < C11_LOCATIONS)
        return &m->location[m->locations++];
    if (m->holes == 0)
        give_up_one(m, NULL);
    m->holes--;
    // The one given up last, or an earlier one.
    for (uint32_t i = m->next_victim - 1;; i--)
        if (!m->location[i % C11_LOCATIONS].used)
            return &m->location[i % C11_LOCATIONS];
}

static struct c11_location *new_location(struct memory *m, uint64_t address, uint32_t size_bytes)
{
    struct c11_location *l = free_location(m);
    uint32_t bucket = bucket_of(address);

    *l = (struct c11_location){.address = address,
                               .bucket = bucket,
                               .look_at = C11_HISTORY_LOOK,
                               .size_bytes = (uint8_t)size_bytes,
                               .used = true};
    struct c11_store *s = new_store(m, l);

    s->of = l;
    s->value = c11_read_memory((const volatile void *)(uintptr_t)address, size_bytes);
    if (m->has_forgotten) {
        s->releases = true;
        memcpy(s->words, m->forgotten, m->view_bytes);
    }
    l->oldest = l->newest = s;
    l->count = 1;
    l->next = m->bucket[bucket];
    m->bucket[bucket] = l;
    if (m->bucket_count[bucket] < UINT8_MAX)
        m->bucket_count[bucket]++;
    return l;
}

// Looks at memory: a plain store's value is there; another one than the newest was written by somebody who
// does not tell, and is taken for what was there before everything.
static void look_at_memory(struct memory *m, struct c11_location *l)
{
    uint64_t value = c11_read_memory((const volatile void *)(uintptr_t)l->address, l->size_bytes);
    struct c11_store *s = l->promises ? c11_in_memory(l) : l->newest;

    if (s->from_memory) {
        s->value = value;
        s->from_memory = false;
    } else if (s->value != value) {
        c11_insert(m, l, l->newest, value);
    }
    if (l->count >= l->look_at)
        shorten(m, l);
}

struct c11_location *c11_find(struct memory *m, const volatile void *p, uint32_t size_bytes)
{
    uint64_t address = (uint64_t)(uintptr_t)p;
    bool in_the_way = false;

    for (struct c11_location *l = m->bucket[bucket_of(address)]; l; l = l->next) {
        if (l->address == address && l->size_bytes == size_bytes) {
            look_at_memory(m, l);
            return l;
        }
        in_the_way |= l->address < address + size_bytes && address < l->address + l->size_bytes;
    }
    return in_the_way ? NULL : new_location(m, address, size_bytes);
}

void c11_overlapping(struct memory *m, const volatile void *p, uint32_t size_bytes,
                     void (*fn)(struct memory *m, struct c11_location *l, void *ctx), void *ctx)
{
    uint64_t first = (uint64_t)(uintptr_t)p, end = first + size_bytes;

    for (uint64_t word = first & ~7ull; word < end; word += 8) {
        uint32_t bucket = bucket_of(word);

        if (!m->bucket_count[bucket])
            continue;
        for (struct c11_location *l = m->bucket[bucket]; l; l = l->next)
            if ((l->address & ~7ull) == word && l->address < end && first < l->address + l->size_bytes) {
                look_at_memory(m, l);
                fn(m, l, ctx);
            }
    }
}
