// SPDX-License-Identifier: Apache-2.0
// The core's heap and pages: accesses to objects that were freed, to what an object's class has behind the
// object, to pages that are free; pages that get a second owner.
//
// An object of exactly its class's size has no room behind it: an access beyond goes to its neighbour and is
// only seen if that one is free.
#include "models/check/check_internal.h"

#include "models/check/owners.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_BYTES (1u << CHECK_PAGE_SHIFT)
#define LINK_BYTES 8u        // The allocator's chain through free objects
#define BLOCK_LINK_BYTES 16u // and through free blocks of pages

struct heap_object {
    uint32_t bytes;                     // That may be used; 0: free
    struct check_site allocated, freed; // thread 0: never seen
};
// A page's objects of one class; of a larger object the part that lies in it.
struct heap_page {
    uint32_t room_bytes;
    struct heap_object objects[];
};

struct heap_check {
    struct check *check;
    struct check_table pages;
};

static struct heap_page *page_of(struct heap_check *h, uint64_t address, uint64_t room_bytes)
{
    uint32_t room = room_bytes < PAGE_BYTES ? (uint32_t)room_bytes : PAGE_BYTES;
    void **slot = check_table_slot(&h->pages, address >> CHECK_PAGE_SHIFT);
    struct heap_page *page = *slot;

    if (page && page->room_bytes == room)
        return page;
    free(page);
    page = calloc(1, sizeof *page + PAGE_BYTES / room * sizeof *page->objects);
    if (!page)
        abort();
    page->room_bytes = room;
    *slot = page;
    return page;
}

static struct heap_object *object_at(struct heap_page *page, uint64_t address)
{
    return &page->objects[address % PAGE_BYTES / page->room_bytes];
}

static void object_note(struct heap_check *h, const struct native_note *n)
{
    struct check_site here = check_here(h->check, NULL);
    uint64_t at = (uint64_t)(uintptr_t)n->p, left = n->kind == NATIVE_NOTE_ALLOC ? n->bytes : 0;

    owners_mark_heap(&h->check->owners, at & ~(uint64_t)(PAGE_BYTES - 1),
                     n->room_bytes < PAGE_BYTES ? PAGE_BYTES : n->room_bytes);
    for (uint64_t done = 0; done < n->room_bytes; done += PAGE_BYTES) {
        struct heap_object *o = object_at(page_of(h, at + done, n->room_bytes), at + done);
        uint64_t bytes = left < PAGE_BYTES ? left : PAGE_BYTES;

        left -= bytes;
        if (n->kind == NATIVE_NOTE_FREE && o->freed.thread && !o->bytes)
            check_report(h->check, "freed_twice", at, "%1 frees what %2 freed before", &here, &o->freed);
        if (n->kind == NATIVE_NOTE_ALLOC)
            *o = (struct heap_object){.bytes = (uint32_t)bytes, .allocated = here};
        else
            *o = (struct heap_object){.allocated = o->allocated, .freed = here};
        if (o->bytes && o->bytes < LINK_BYTES)
            o->bytes = LINK_BYTES;
    }
}

static void forget_objects(struct heap_check *h, uint64_t address)
{
    void **slot = check_table_slot(&h->pages, address >> CHECK_PAGE_SHIFT);

    free(*slot);
    *slot = NULL;
}

static void page_note(struct heap_check *h, const struct native_note *n)
{
    uint64_t at = (uint64_t)(uintptr_t)n->p;
    struct check_site here = check_here(h->check, NULL);

    for (uint64_t done = 0; done < n->bytes; done += PAGE_BYTES) {
        uint8_t is = owners_of(&h->check->owners, at + done), before = is & OWNERS_OWNER;

        if (is & OWNERS_HEAP)
            forget_objects(h, at + done);
        if (n->owner && before > OWNERS_FREE)
            check_report(h->check, "page_of_two", at + done,
                         "a page that has an owner already is given out by %1", &here, NULL);
        if (!n->owner && before == OWNERS_FREE)
            check_report(h->check, "page_of_two", at + done, "a free page is given back again by %1", &here,
                         NULL);
    }
}

void heap_note(struct heap_check *h, const struct native_note *n)
{
    if (n->kind == NATIVE_NOTE_ALLOC || n->kind == NATIVE_NOTE_FREE)
        object_note(h, n);
    else if (n->kind == NATIVE_NOTE_PAGES)
        page_note(h, n);
}

// --- Accesses. ---

static void look_at_object(struct heap_check *h, uint64_t address, const struct native_access *a)
{
    struct heap_page *page = check_table_find(&h->pages, address >> CHECK_PAGE_SHIFT);
    struct check_site here;
    char about[400];

    if (!page)
        return;
    const struct heap_object *o = object_at(page, address);
    uint64_t end = address % page->room_bytes + a->size_bytes;

    if (end <= o->bytes || (!o->bytes && !o->freed.thread))
        return;
    here = check_here(h->check, a);
    if (!o->bytes) {
        check_report(h->check, "use_after_free", address, "%1 of an object that was freed by %2", &here,
                     &o->freed);
        return;
    }
    snprintf(about, sizeof about, "%%1 ends %" PRIu64 " bytes behind an object of %u bytes, allocated by %%2",
             end - o->bytes, o->bytes);
    check_report(h->check, "out_of_bounds", address, about, &here, &o->allocated);
}

void heap_access(struct heap_check *h, const struct native_access *a)
{
    uint64_t address = (uint64_t)(uintptr_t)a->p;
    uint8_t owner = owners_of(&h->check->owners, address);

    if (__builtin_expect(owner == OWNERS_FREE, 0) && address % PAGE_BYTES >= BLOCK_LINK_BYTES) {
        struct check_site here = check_here(h->check, a);

        check_report(h->check, "use_after_free", address, "%1 of a page that is free", &here, NULL);
    } else if (owner & OWNERS_HEAP) {
        look_at_object(h, address, a);
    }
}

// --- Life. ---

struct heap_check *heap_create(struct check *k)
{
    struct heap_check *h = calloc(1, sizeof *h);

    if (!h)
        abort();
    h->check = k;
    return h;
}

void heap_destroy(struct heap_check *h)
{
    if (!h)
        return;
    heap_begin(h);
    free(h);
}

void heap_begin(struct heap_check *h)
{
    check_table_clear(&h->pages, free);
}
