// SPDX-License-Identifier: Apache-2.0
// Which pages are still to come over: a bit for each 4 KiB page of a slot, on the source what must be sent,
// on a post-copy target what has not arrived.
#include "hv/knobs.h"
#include "hv/lib/string.h"
#include "hv/vmm/migration.h"

#define WORD_BITS 64u

// Without a library of the compiler's: sums of pairs, nibbles, bytes.
static u64 popcount(u64 x)
{
    x -= x >> 1 & 0x5555555555555555ull;
    x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
    return ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full) * 0x0101010101010101ull >> 56;
}

static u64 page_count(const struct vmm_slot *s)
{
    return s->bytes >> 12;
}

static u64 bitmap_bytes(const struct vmm_slot *s)
{
    return ((page_count(s) + WORD_BITS - 1) / WORD_BITS * 8 + 4095) & ~4095ull;
}

void migration_unmark(struct vmm_vm *vm)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        struct vmm_slot *s = &vm->slots[i];

        if (s->marks)
            hv_syscall(HV_SYS_MUNMAP, (u64)s->marks, bitmap_bytes(s), 0, 0);
        s->marks = NULL;
    }
    vm->migration->pending_pages = 0;
}

s64 migration_mark_all(struct vmm_vm *vm)
{
    migration_unmark(vm);
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        struct vmm_slot *s = &vm->slots[i];
        u64 pages = page_count(s);

        if (!s->used)
            continue;
        s64 bitmap = hv_mmap(bitmap_bytes(s), 12, HV_MAP_DIRECT);

        if (bitmap < 0) {
            migration_unmark(vm);
            return bitmap;
        }
        s->marks = (u64 *)bitmap;
        memset(s->marks, 0xff, pages / WORD_BITS * 8);
        if (pages % WORD_BITS)
            s->marks[pages / WORD_BITS] = (1ull << pages % WORD_BITS) - 1;
        vm->migration->pending_pages += pages;
    }
    return 0;
}

u64 migration_mark(struct vmm_vm *vm, struct vmm_slot *s, u64 page, u64 count, bool set)
{
    u64 changed = 0;

    for (; s->marks && count > 0 && page < page_count(s); page++, count--) {
        u64 bit = 1ull << page % WORD_BITS, *word = &s->marks[page / WORD_BITS];

        if (!(*word & bit) != set)
            continue;
        *word ^= bit;
        changed++;
    }
    vm->migration->pending_pages += set ? changed : -changed;
    return changed;
}

bool migration_is_marked(const struct vmm_slot *s, u64 page)
{
    return s->marks && page < page_count(s) && (s->marks[page / WORD_BITS] >> page % WORD_BITS & 1);
}

// Length of the run of marked pages at `page`, at most `max`.
static u64 run_length(const struct vmm_slot *s, u64 page, u64 max)
{
    u64 pages = page_count(s), n = 0;

    if (max > pages - page)
        max = pages - page;
    while (n < max) {
        u64 clear = ~(s->marks[(page + n) / WORD_BITS] >> (page + n) % WORD_BITS);
        u64 in_word = WORD_BITS - (page + n) % WORD_BITS;
        u64 ones = clear ? (u64)__builtin_ctzll(clear) : WORD_BITS;

        if (ones < in_word)
            return n + ones < max ? n + ones : max;
        n += in_word;
    }
    return max;
}

// The first marked page from `page` on; the slot's number of pages if there is none.
static u64 next_marked(const struct vmm_slot *s, u64 page)
{
    u64 pages = page_count(s);

    while (page < pages) {
        u64 word = s->marks[page / WORD_BITS] >> page % WORD_BITS;

        if (word) {
            page += (u64)__builtin_ctzll(word);
            return page < pages ? page : pages;
        }
        page = (page / WORD_BITS + 1) * WORD_BITS;
    }
    return pages;
}

u64 migration_collect(struct vmm_vm *vm, struct vmm_slot *s, u64 *page, u64 pages_max,
                      struct migration_message *m)
{
    u64 pages = 0;
    u32 runs = 0;

    while (s->marks && runs < MIGRATION_RUNS_MAX && pages < pages_max) {
        *page = next_marked(s, *page);
        if (*page == page_count(s))
            break;
        u64 length = run_length(s, *page, pages_max - pages);

        m->runs[runs++] = (struct migration_run){(u32)*page, (u32)length};
        migration_mark(vm, s, *page, length, false);
        *page += length;
        pages += length;
    }
    m->slot = s->slot;
    m->run_count = runs;
    return pages;
}

// --- The core's dirty log.

static s64 clear_all(struct vmm_vm *vm)
{
    s64 result = 0;

    for (u32 i = 0; i < VMM_SLOTS_MAX && result >= 0; i++)
        if (vm->slots[i].used && vm->slots[i].dirty) {
            result = vmm_dirty_fetch(vm, &vm->slots[i]);
            if (result >= 0)
                result = vmm_dirty_clear(vm, vm->slots[i].slot, 0, 0);
        }
    return result;
}

s64 migration_log(struct vmm_vm *vm, bool on)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        const struct vmm_slot *s = &vm->slots[i];

        if (!s->used || (s->flags & HV_MEM_READONLY))
            continue;
        s64 result = on ? vmm_dirty_start(vm, s->slot) : vmm_dirty_stop(vm, s->slot);

        if (result < 0)
            return result;
    }
    vm->migration->logs_dirty = on;
    // A log that begins with every page says nothing that the first round does not do anyway.
    return on && hv_syscall(HV_SYS_KNOB, KNOB_VMM_DIRTY_LOG, 0, 0, 0) == VMM_DIRTY_LOG_MANUAL_ALL_SET
               ? clear_all(vm)
               : 0;
}

bool migration_is_logged(const struct vmm_vm *vm)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++)
        if (vm->slots[i].used && vm->slots[i].dirty)
            return true;
    return false;
}

static u64 add_bitmap(struct vmm_vm *vm, struct vmm_slot *s)
{
    u64 words = (page_count(s) + WORD_BITS - 1) / WORD_BITS, dirtied = 0, fresh = 0;

    for (u64 i = 0; i < words; i++) {
        u64 dirty = s->dirty[i];

        if (!dirty)
            continue;
        dirtied += popcount(dirty);
        fresh += popcount(dirty & ~s->marks[i]);
        s->marks[i] |= dirty;
    }
    vm->migration->pending_pages += fresh;
    return dirtied;
}

s64 migration_sync(struct vmm_vm *vm, u64 *dirtied)
{
    *dirtied = 0;
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        struct vmm_slot *s = &vm->slots[i];

        if (!s->marks || !s->dirty)
            continue;
        s64 result = vmm_dirty_fetch(vm, s);

        if (result < 0)
            return result;
        vmm_lock(&vm->migration->lock);
        vmm_lock(&vm->dirty_lock);
        *dirtied += add_bitmap(vm, s);
        vmm_dirty_forget(vm, s);
        vmm_unlock(&vm->dirty_lock);
        vmm_unlock(&vm->migration->lock);
        result = vmm_dirty_clear(vm, s->slot, 0, 0);
        if (result < 0)
            return result;
    }
    return 0;
}
