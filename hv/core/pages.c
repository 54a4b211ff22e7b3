// SPDX-License-Identifier: Apache-2.0
// Page allocator: a buddy system from 4 KiB to 1 GiB.
//
// A free block's list links stand in its first 16 bytes and are zeroed when it leaves its list, so that
// memory which was never handed out stays zero, as it came.
#include "hv/core/host.h"
#include "hv/hw/note.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/string.h"

#define FRAME_FREE_HEAD 0x80u // First frame of a free block.
#define FRAME_USED_ONCE 0x40u // The free block may hold anything.
#define FRAME_ORDER 0x1fu

static struct list *block_links(const struct host *host, pfn_t pfn)
{
    return pfn_to_va(host, pfn);
}

static u8 *frame_state(const struct page_allocator *pages, pfn_t pfn)
{
    return &pages->frame_state[pfn - pages->first_pfn];
}

static void push_block(struct host *host, pfn_t pfn, unsigned order, u8 used_once)
{
    struct page_allocator *pages = &host->pages;
    list_add(block_links(host, pfn), &pages->free[order]);
    *frame_state(pages, pfn) = (u8)(FRAME_FREE_HEAD | used_once | order);
    pages->nonempty_orders |= 1u << order;
}

// Takes a block off its list; returns its FRAME_USED_ONCE.
static u8 pull_block(struct host *host, pfn_t pfn, unsigned order)
{
    struct page_allocator *pages = &host->pages;
    struct list *links = block_links(host, pfn);
    list_unlink(links);
    links->next = NULL;
    links->prev = NULL;
    if (list_empty(&pages->free[order]))
        pages->nonempty_orders &= ~(1u << order);
    u8 *state = frame_state(pages, pfn);
    u8 used_once = *state & FRAME_USED_ONCE;
    *state = 0;
    return used_once;
}

pfn_t pages_alloc_block(struct host *host, unsigned order, enum mem_owner owner, bool *used_once)
{
    struct page_allocator *pages = &host->pages;
    HV_ASSERT(order < PAGE_ORDER_COUNT);
    spin_lock(&pages->lock);
    u32 orders = pages->nonempty_orders & ~((1u << order) - 1);
    if (orders == 0) {
        spin_unlock(&pages->lock);
        return PFN_NONE;
    }
    unsigned from = ffs64(orders);
    pfn_t pfn = ((u64)pages->free[from].next - host->direct_map) >> PAGE_SHIFT;
    u8 used = pull_block(host, pfn, from);
    while (from > order) {
        from--;
        push_block(host, pfn + (1ull << from), from, used);
    }
    WRITE_ONCE(pages->free_pages, pages->free_pages - (1ull << order));
    pages->owner_pages[owner] += 1ull << order;
    hw_note_pages(pfn_to_va(host, pfn), PAGE_SIZE << order, owner, owner == MEM_GUEST);
    spin_unlock(&pages->lock);
    *used_once = used != 0;
    return pfn;
}

pfn_t pages_alloc(struct host *host, unsigned order, enum mem_owner owner)
{
    bool used_once;
    return pages_alloc_block(host, order, owner, &used_once);
}

pfn_t pages_alloc_zeroed(struct host *host, unsigned order, enum mem_owner owner)
{
    bool used_once;
    pfn_t pfn = pages_alloc_block(host, order, owner, &used_once);
    // Memory is cleared as every kernel does. Large pages for a guest that were never used are zero already:
    // the arena's memory is, and clearing a guest's gigabytes would only slow the simulation down.
    if (pfn == PFN_NONE || (owner == MEM_GUEST && order >= PAGE_ORDER_2M && !used_once))
        return pfn;
    for (u64 i = 0; i < 1ull << order; i++)
        clear_page(pfn_to_va(host, pfn + i));
    return pfn;
}

void pages_free(struct host *host, pfn_t pfn, unsigned order, enum mem_owner owner)
{
    struct page_allocator *pages = &host->pages;
    u64 count = 1ull << order;
    HV_ASSERT(pfn >= pages->first_pfn && pfn + count <= pages->end_pfn && is_aligned(pfn, count));
    spin_lock(&pages->lock);
    hw_note_pages(pfn_to_va(host, pfn), PAGE_SIZE << order, MEM_FREE, false);
    HV_ASSERT((*frame_state(pages, pfn) & FRAME_FREE_HEAD) == 0 && pages->owner_pages[owner] >= count);
    WRITE_ONCE(pages->free_pages, pages->free_pages + (count));
    pages->owner_pages[owner] -= count;
    for (; order + 1 < PAGE_ORDER_COUNT; order++) {
        pfn_t buddy = pfn ^ (1ull << order);
        if (buddy < pages->first_pfn || buddy + (1ull << order) > pages->end_pfn)
            break;
        if ((*frame_state(pages, buddy) & ~FRAME_USED_ONCE) != (FRAME_FREE_HEAD | order))
            break;
        (void)pull_block(host, buddy, order);
        pfn = min_u64(pfn, buddy);
    }
    push_block(host, pfn, order, FRAME_USED_ONCE);
    spin_unlock(&pages->lock);
}

void *page_alloc_zeroed(struct host *host, enum mem_owner owner)
{
    pfn_t pfn = pages_alloc(host, 0, owner);
    if (pfn == PFN_NONE)
        return NULL;
    void *page = pfn_to_va(host, pfn);
    clear_page(page);
    return page;
}

void page_free(struct host *host, void *page, enum mem_owner owner)
{
    pages_free(host, va_to_hpa(host, page).v >> PAGE_SHIFT, 0, owner);
}

void pages_init(struct host *host, pfn_t first, pfn_t end, u8 *frame_state_array)
{
    struct page_allocator *pages = &host->pages;
    spin_lock_init(&pages->lock, LOCK_RANK_PAGES);
    for (unsigned o = 0; o < PAGE_ORDER_COUNT; o++)
        list_init(&pages->free[o]);
    pages->frame_state = frame_state_array;
    pages->first_pfn = first;
    pages->end_pfn = end;
}

void pages_add_range(struct host *host, pfn_t pfn, pfn_t end)
{
    struct page_allocator *pages = &host->pages;
    HV_ASSERT(pfn >= pages->first_pfn && end <= pages->end_pfn);
    while (pfn < end) {
        unsigned order = pfn == 0 ? PAGE_ORDER_1G : (unsigned)min_u64(ffs64(pfn), PAGE_ORDER_1G);
        while (pfn + (1ull << order) > end)
            order--;
        push_block(host, pfn, order, 0);
        WRITE_ONCE(pages->free_pages, pages->free_pages + (1ull << order));
        pfn += 1ull << order;
    }
}
