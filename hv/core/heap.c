// SPDX-License-Identifier: Apache-2.0
// Kernel objects: power-of-two size classes, each a chain of free objects cut from pages.
#include "hv/core/host.h"
#include "hv/hw/note.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/string.h"

#define CLASS_MIN_SHIFT 4u

static unsigned class_of(u64 bytes)
{
    return bytes <= 16 ? 0 : fls64(bytes - 1) + 1 - CLASS_MIN_SHIFT;
}

static unsigned order_of(u64 bytes)
{
    return fls64(bytes - 1) + 1 - PAGE_SHIFT;
}

// Cuts a page into objects. Under the heap's lock; false: no memory.
static bool refill(struct host *host, unsigned class)
{
    pfn_t pfn = pages_alloc(host, 0, MEM_KERNEL);
    if (pfn == PFN_NONE)
        return false;
    u64 size = 1ull << (class + CLASS_MIN_SHIFT);
    char *page = pfn_to_va(host, pfn);
    void *chain = host->heap.free[class];
    // From the end, so that objects are handed out by rising address.
    for (u64 at = PAGE_SIZE; at >= size; at -= size) {
        void **object = (void **)(void *)(page + at - size);
        *object = chain;
        chain = object;
    }
    host->heap.free[class] = chain;
    hw_note_free(page, PAGE_SIZE);
    return true;
}

void *kmalloc(struct host *host, u64 bytes)
{
    struct heap *heap = &host->heap;
    if (bytes > PAGE_SIZE) {
        unsigned order = order_of(bytes);
        pfn_t pfn = order < PAGE_ORDER_COUNT ? pages_alloc(host, order, MEM_KERNEL) : PFN_NONE;
        if (pfn == PFN_NONE)
            return NULL;
        hw_note_alloc(pfn_to_va(host, pfn), bytes, PAGE_SIZE << order);
        return pfn_to_va(host, pfn);
    }
    unsigned class = class_of(bytes);
    void **object = NULL;
    spin_lock(&heap->lock);
    if (likely(heap->free[class] != NULL) || refill(host, class)) {
        object = heap->free[class];
        hw_note_alloc(object, bytes, 1ull << (class + CLASS_MIN_SHIFT));
        heap->free[class] = *object;
        heap->objects_in_use++;
        heap->bytes_in_use += 1ull << (class + CLASS_MIN_SHIFT);
    }
    spin_unlock(&heap->lock);
    return object;
}

void *kzalloc(struct host *host, u64 bytes)
{
    if (bytes > PAGE_SIZE) {
        unsigned order = order_of(bytes);
        pfn_t pfn = order < PAGE_ORDER_COUNT ? pages_alloc_zeroed(host, order, MEM_KERNEL) : PFN_NONE;
        if (pfn == PFN_NONE)
            return NULL;
        hw_note_alloc(pfn_to_va(host, pfn), bytes, PAGE_SIZE << order);
        return pfn_to_va(host, pfn);
    }
    void *p = kmalloc(host, bytes);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

void kfree(struct host *host, void *p, u64 bytes)
{
    struct heap *heap = &host->heap;
    if (p == NULL)
        return;
    if (bytes > PAGE_SIZE) {
        hw_note_free(p, PAGE_SIZE << order_of(bytes));
        pages_free(host, va_to_hpa(host, p).v >> PAGE_SHIFT, order_of(bytes), MEM_KERNEL);
        return;
    }
    unsigned class = class_of(bytes);
    spin_lock(&heap->lock);
    HV_ASSERT(heap->objects_in_use > 0);
    *(void **)p = heap->free[class];
    heap->free[class] = p;
    hw_note_free(p, 1ull << (class + CLASS_MIN_SHIFT));
    heap->objects_in_use--;
    heap->bytes_in_use -= 1ull << (class + CLASS_MIN_SHIFT);
    spin_unlock(&heap->lock);
}
