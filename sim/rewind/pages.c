// SPDX-License-Identifier: Apache-2.0
// The pages that executions write to. A page that is protected is as it was in the photograph; all others
// have a place in `pages`. The kernel keeps a mapping for each run of pages of equal protection, and only
// 65530 of them: the more runs there are, the larger is what one fault opens.
#include "sim/rewind/inner.h"

#include <string.h>
#include <sys/mman.h>

// Up to `runs` runs of open pages, a fault opens an aligned block of `pages`.
static const struct {
    uint32_t runs, pages;
} block_sizes[] = {
    {4096, 1},
    {12288, 16},
    {UINT32_MAX, 256},
};

// A fault costs about as much as comparing a page that lies idle some hundred times; each time that the guess
// was wrong it doubles.
enum { PATIENCE = 512, PATIENCE_DOUBLINGS_MAX = 20 };
#define PATIENCE_ENDLESS UINT32_MAX

// --- The chunks: an open-addressed hash table; nothing is ever taken out. ---

static struct rewind_chunk *chunk_place(struct rewinder *r, uintptr_t address)
{
    uintptr_t number = address / (PAGE_BYTES * CHUNK_PAGES);
    uint64_t at = number * 0x9e3779b97f4a7c15u >> 48;

    for (;; at = (at + 1) % CHUNK_SLOTS) {
        struct rewind_chunk *chunk = &r->chunks[at % CHUNK_SLOTS];
        if (chunk->number == number || chunk->number == 0) {
            return chunk;
        }
    }
}

static struct rewind_chunk *chunk_of(struct rewinder *r, uintptr_t address)
{
    struct rewind_chunk *chunk = chunk_place(r, address);

    if (chunk->number == 0) {
        if (++r->chunk_count > CHUNK_SLOTS / 4 * 3) {
            rewind_die("hvsim: rewind: executions write all over too much memory\n");
        }
        chunk->number = address / (PAGE_BYTES * CHUNK_PAGES);
    }
    return chunk;
}

static unsigned index_in_chunk(uintptr_t address)
{
    return (unsigned)(address / PAGE_BYTES % CHUNK_PAGES);
}

static unsigned is_open(struct rewinder *r, uintptr_t address)
{
    const struct rewind_chunk *chunk = chunk_place(r, address);
    unsigned i = index_in_chunk(address);

    return chunk->number ? (unsigned)(chunk->open[i / 64] >> i % 64 & 1) : 0;
}

// --- Opening. ---

static bool is_zero(const char *page)
{
    uint64_t any = 0;

    for (size_t i = 0; i < PAGE_BYTES && !any; i += 64) {
        const uint64_t *line = (const uint64_t *)(page + i);
        any = line[0] | line[1] | line[2] | line[3] | line[4] | line[5] | line[6] | line[7];
    }
    return !any;
}

static char *slot_take(struct rewinder *r)
{
    char *slot = r->free_slot;

    if (slot) {
        memcpy(&r->free_slot, slot, sizeof r->free_slot);
        return slot;
    }
    if (r->slot_count == PAGES_MAX) {
        rewind_die("hvsim: rewind: executions write to too many pages\n");
    }
    return r->slots[r->slot_count++];
}

static void slot_give(struct rewinder *r, char *slot)
{
    if (slot != r->zero_page) {
        memcpy(slot, &r->free_slot, sizeof r->free_slot);
        r->free_slot = slot;
    }
}

static void add(struct rewinder *r, uintptr_t address)
{
    struct rewind_chunk *chunk = chunk_of(r, address);
    unsigned i = index_in_chunk(address);
    unsigned doublings = chunk->given_up[i];
    struct rewind_page page = {(char *)address, r->zero_page, 0, PATIENCE << doublings};

    if (r->page_count == PAGES_MAX) {
        rewind_die("hvsim: rewind: executions write to too many pages\n");
    }
    if (!is_zero(page.live)) {
        page.saved = slot_take(r);
        memcpy(page.saved, page.live, PAGE_BYTES);
    }
    // How many runs this makes of the neighbours'.
    r->run_count += 1 - is_open(r, address - PAGE_BYTES) - is_open(r, address + PAGE_BYTES);
    chunk->open[i / 64] |= 1ull << i % 64;
    r->pages[r->page_count++] = page;
}

// Never smaller again: blocks join runs, and single pages would bring the number back up.
static uintptr_t block_bytes(struct rewinder *r)
{
    while (r->run_count >= block_sizes[r->block_size].runs) {
        r->block_size++;
    }
    return (uintptr_t)block_sizes[r->block_size].pages * PAGE_BYTES;
}

bool rewind_pages_open(struct rewinder *r, const struct rewind_range *range, uintptr_t address)
{
    uintptr_t bytes = block_bytes(r);
    uintptr_t begin = address / bytes * bytes, end = begin + bytes;

    if (is_open(r, address)) {
        return false;
    }
    begin = begin < range->begin ? range->begin : begin;
    end = end > range->end ? range->end : end;
    for (uintptr_t page = begin; page < end; page += PAGE_BYTES) {
        if (!is_open(r, page)) {
            add(r, page);
        }
    }
    if (!rewind_protect(begin, end, range->prot)) {
        rewind_die("hvsim: rewind: a page cannot be made writable (see vm.max_map_count)\n");
    }
    return true;
}

void rewind_pages_keep_open(struct rewinder *r, char *live)
{
    uintptr_t address = (uintptr_t)live / PAGE_BYTES * PAGE_BYTES;
    const struct rewind_range *range = rewind_maps_find(r, address);

    if (!range || !rewind_pages_open(r, range, address)) {
        rewind_die("hvsim: bug: rewind: the page that the kernel writes to is not ours\n");
    }
    struct rewind_page *page = &r->pages[r->page_count - 1];
    if (page->saved == r->zero_page) {
        page->saved = slot_take(r);
        memcpy(page->saved, page->live, PAGE_BYTES);
    }
    page->patience = PATIENCE_ENDLESS;
    r->kernel_live = live;
    r->kernel_saved = page->saved + (live - page->live);
}

// --- Putting back. ---

// Protects page `index` again, which is as it was. Signals: a handler that writes to memory opens pages.
static void give_up(struct rewinder *r, uint32_t index)
{
    struct rewind_page page = r->pages[index];
    uintptr_t address = (uintptr_t)page.live;
    const struct rewind_range *range = rewind_maps_find(r, address);
    struct rewind_chunk *chunk = chunk_of(r, address);
    unsigned i = index_in_chunk(address);

    if (!rewind_protect(address, address + PAGE_BYTES, range->prot & ~PROT_WRITE)) {
        r->pages[index].patience = PATIENCE_ENDLESS;
        return;
    }
    chunk->open[i / 64] &= ~(1ull << i % 64);
    if (chunk->given_up[i] < PATIENCE_DOUBLINGS_MAX) {
        chunk->given_up[i]++;
    }
    r->run_count += is_open(r, address - PAGE_BYTES) + is_open(r, address + PAGE_BYTES) - 1;
    slot_give(r, page.saved);
    r->pages[index] = r->pages[--r->page_count];
    r->stats.pages_given_up++;
}

static void give_up_quiet(struct rewinder *r)
{
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    for (uint32_t i = r->page_count; i-- > 0;) {
        struct rewind_page *page = &r->pages[i];
        if (page->quiet < page->patience) {
            continue;
        }
        page->quiet = 0;
        // With many runs there is no room for the holes, which are mappings too.
        if (page->patience != PATIENCE_ENDLESS && r->run_count < block_sizes[0].runs) {
            give_up(r, i);
        }
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void rewind_pages_put_back(struct rewinder *r)
{
    uint32_t quiet = 0;

    if (r->kernel_live) {
        memcpy(r->kernel_saved, r->kernel_live, KERNEL_BYTES);
    }
    // Not a fixed count: what this loop calls may itself open pages.
    for (uint32_t i = 0; i < r->page_count; i++) {
        struct rewind_page *page = &r->pages[i];

        __builtin_prefetch(page[1].live);
        __builtin_prefetch(page[1].saved);
        if (rewind_copy(page->live, page->saved)) {
            page->quiet = 0;
            r->stats.pages_put_back++;
        } else if (++page->quiet >= page->patience) {
            quiet++;
        }
    }
    if (quiet) {
        give_up_quiet(r);
    }
}
