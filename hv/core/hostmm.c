// SPDX-License-Identifier: Apache-2.0
#include "hv/core/hostmm.h"

#include "hv/api.h"
#include "hv/core/arch.h"
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/lib/string.h"

// Page table of the host process: four levels of 512 entries. A large page is an entry of level 2 (2 MiB) or
// 3 (1 GiB).
//
//  63                              12 11       3   2   1   0
// +----------------------------------+-----------+---+---+---+
// |   frame of page or next table    |     0     | F | L | P |
// +----------------------------------+-----------+---+---+---+
// F: the process does not need the page's content (HV_MADV_FREE).
#define PTE_PRESENT 1ull
#define PTE_LARGE 2ull
#define PTE_FREE 4ull
#define PTE_FRAME (~0xfffull)
#define TABLE_ENTRIES 512u
#define TOP_LEVEL 4u
// Pages that one reclaim takes at most (Linux: SWAP_CLUSTER_MAX).
#define RECLAIM_BATCH 32u

static unsigned level_of_shift(unsigned page_shift)
{
    return (page_shift - PAGE_SHIFT) / 9 + 1;
}
static unsigned table_index(hva_t hva, unsigned level)
{
    return (unsigned)(hva >> (PAGE_SHIFT + 9 * (level - 1))) & (TABLE_ENTRIES - 1);
}

struct hostmm *hostmm_create(struct host *host)
{
    struct hostmm *mm = kzalloc(host, sizeof(*mm));
    if (mm == NULL)
        return NULL;
    mm->pgd = page_alloc_zeroed(host, MEM_PAGE_TABLE);
    if (mm->pgd == NULL) {
        kfree(host, mm, sizeof(*mm));
        return NULL;
    }
    mm->host = host;
    mm->users = 1;
    mm->next_hva = HOSTMM_GUEST_BASE;
    mutex_init(&mm->lock, LOCK_RANK_HOSTMM);
    mutex_init(&mm->notifier_lock, LOCK_RANK_MMU_NOTIFIER);
    list_init(&mm->vms);
    list_init(&mm->user_faults);
    waitqueue_init(&mm->fault_readers);
    waitqueue_init(&mm->fault_waiters);
    return mm;
}

void hostmm_get(struct hostmm *mm)
{
    __atomic_fetch_add(&mm->users, 1, __ATOMIC_RELAXED);
}

struct hostmm_area *hostmm_find_area(struct hostmm *mm, hva_t hva)
{
    struct rb_node *n = mm->areas.node;
    while (n != NULL) {
        struct hostmm_area *a = rb_entry(n, struct hostmm_area, node);
        if (hva - a->start < a->size)
            return a;
        n = hva < a->start ? n->left : n->right;
    }
    return NULL;
}

static bool area_less(const struct rb_node *a, const struct rb_node *b)
{
    return rb_entry(a, const struct hostmm_area, node)->start <
           rb_entry(b, const struct hostmm_area, node)->start;
}

// The entry of `level` for hva; tables on the way are made if `make`. NULL: absent, or no memory.
static u64 *walk(struct hostmm *mm, hva_t hva, unsigned level, bool make)
{
    u64 *table = mm->pgd;
    for (unsigned l = TOP_LEVEL; l > level; l--) {
        u64 *entry = &table[table_index(hva, l)];
        u64 value = load_acquire(entry);
        if ((value & PTE_PRESENT) == 0) {
            void *next = make ? page_alloc_zeroed(mm->host, MEM_PAGE_TABLE) : NULL;
            if (next == NULL)
                return NULL;
            value = va_to_hpa(mm->host, next).v | PTE_PRESENT;
            store_release(entry, value);
        }
        if ((value & PTE_LARGE) != 0)
            return NULL;
        table = hpa_to_va(mm->host, hpa(value & PTE_FRAME));
    }
    return &table[table_index(hva, level)];
}

static void free_tables(struct hostmm *mm, u64 *table, unsigned level)
{
    for (unsigned i = 0; level > 1 && i < TABLE_ENTRIES; i++) {
        if ((table[i] & (PTE_PRESENT | PTE_LARGE)) == PTE_PRESENT)
            free_tables(mm, hpa_to_va(mm->host, hpa(table[i] & PTE_FRAME)), level - 1);
    }
    page_free(mm->host, table, MEM_PAGE_TABLE);
}

void hostmm_add_vm(struct hostmm *mm, struct vm *vm)
{
    mutex_lock(&mm->notifier_lock);
    list_add_tail(&vm->mm_node, &mm->vms);
    mutex_unlock(&mm->notifier_lock);
}

void hostmm_remove_vm(struct hostmm *mm, struct vm *vm)
{
    mutex_lock(&mm->notifier_lock);
    list_del(&vm->mm_node);
    mutex_unlock(&mm->notifier_lock);
}

// Knob mm.release_order: a bug on purpose.
static bool flush_comes_first(const struct hostmm *mm)
{
    return knob(&mm->host->knobs, KNOB_MM_RELEASE_ORDER) == MM_RELEASE_ORDER_FLUSH_FIRST;
}

// VMs of this process drop [start, end) before its pages go: their stage-2 entries and translations name
// them. Until invalidate_end() no fault maps any of it, so what was found before is not mapped after.
static void invalidate_begin(struct hostmm *mm, hva_t start, hva_t end)
{
    mutex_lock(&mm->notifier_lock);
    list_for_each(vm, &mm->vms, struct vm, mm_node)
    {
        write_lock(&vm->mmu_lock);
        WRITE_ONCE(vm->mmu_invalidate_in_progress, vm->mmu_invalidate_in_progress + 1);
        vm->mmu_invalidate_start = start;
        vm->mmu_invalidate_end = end;
        write_unlock(&vm->mmu_lock);
        arch_unmap_hva_range(vm, start, end, flush_comes_first(mm));
    }
}

static void invalidate_end(struct hostmm *mm)
{
    list_for_each(vm, &mm->vms, struct vm, mm_node)
    {
        if (unlikely(!flush_comes_first(mm)))
            flush_remote_tlbs(vm);
        write_lock(&vm->mmu_lock);
        WRITE_ONCE(vm->mmu_invalidate_seq, vm->mmu_invalidate_seq + 1);
        WRITE_ONCE(vm->mmu_invalidate_in_progress, vm->mmu_invalidate_in_progress - 1);
        write_unlock(&vm->mmu_lock);
    }
    mutex_unlock(&mm->notifier_lock);
}

static void count_free_page(struct hostmm *mm, bool more)
{
    __atomic_fetch_add(&mm->free_marks, more ? 1 : -1ull, __ATOMIC_RELAXED);
}

// Takes what stands in the entry; 0 if no page does, or, with `marked_only`, one that somebody uses again.
static u64 take_page(struct hostmm *mm, u64 *entry, bool marked_only)
{
    u64 old = READ_ONCE(*entry);
    do {
        if ((old & PTE_PRESENT) == 0 || (marked_only && (old & PTE_FREE) == 0))
            return 0;
    } while (!__atomic_compare_exchange_n(entry, &old, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    if ((old & PTE_FREE) != 0)
        count_free_page(mm, false);
    return old;
}

// Releases the pages of the range, or only those that are marked free. How many (4 KiB units).
static u64 drop_pages(struct hostmm *mm, const struct hostmm_area *a, hva_t start, hva_t end,
                      bool marked_only)
{
    unsigned order = a->page_shift - PAGE_SHIFT;
    u64 dropped = 0;
    for (hva_t hva = start; hva < end; hva += 1ull << a->page_shift) {
        u64 *entry = walk(mm, hva, level_of_shift(a->page_shift), false);
        u64 old = entry != NULL ? take_page(mm, entry, marked_only) : 0;
        if (old == 0)
            continue;
        pages_free(mm->host, old >> PAGE_SHIFT, order, MEM_GUEST);
        dropped += 1ull << order;
    }
    WRITE_ONCE(mm->resident_pages, mm->resident_pages - dropped);
    return dropped;
}

// The pages stay where they are; whoever touches one has it back.
static void mark_free(struct hostmm *mm, const struct hostmm_area *a, hva_t start, hva_t end)
{
    for (hva_t hva = start; hva < end; hva += 1ull << a->page_shift) {
        u64 *entry = walk(mm, hva, level_of_shift(a->page_shift), false);
        if (entry == NULL || (READ_ONCE(*entry) & (PTE_PRESENT | PTE_FREE)) != PTE_PRESENT)
            continue;
        __atomic_fetch_or(entry, PTE_FREE, __ATOMIC_RELAXED);
        count_free_page(mm, true);
    }
}

static unsigned direct_order(u64 size)
{
    unsigned order = 0;
    while ((PAGE_SIZE << order) < size)
        order++;
    return order;
}

static void drop_area(struct hostmm *mm, struct hostmm_area *a)
{
    if (a->direct)
        pages_free(mm->host, va_to_hpa(mm->host, (void *)a->start).v >> PAGE_SHIFT, direct_order(a->size),
                   MEM_USER);
    else
        (void)drop_pages(mm, a, a->start, a->start + a->size, false);
    rb_erase(&mm->areas, &a->node);
    kfree(mm->host, a, sizeof(*a));
}

void hostmm_put(struct hostmm *mm)
{
    struct host *host = mm->host;
    if (__atomic_sub_fetch(&mm->users, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    while (!rb_empty(&mm->areas))
        drop_area(mm, rb_entry(rb_first(&mm->areas), struct hostmm_area, node));
    free_tables(mm, mm->pgd, TOP_LEVEL);
    kfree(host, mm, sizeof(*mm));
}

// Address of a new area of its kind: a direct one is memory itself. 0: none left.
static hva_t place_area(struct hostmm *mm, u64 size, unsigned page_shift, bool direct)
{
    if (direct) {
        unsigned order = direct_order(size);
        pfn_t pfn = order < PAGE_ORDER_COUNT ? pages_alloc_zeroed(mm->host, order, MEM_USER) : PFN_NONE;
        return pfn == PFN_NONE ? 0 : (hva_t)pfn_to_va(mm->host, pfn);
    }
    // 2 MiB alignment at least, so that large stage-2 pages are possible when the backing allows them.
    hva_t start = align_up(mm->next_hva, 1ull << (page_shift < 21 ? 21 : page_shift));
    if (start >= HOSTMM_GUEST_END || size > HOSTMM_GUEST_END - start)
        return 0;
    mm->next_hva = start + size;
    return start;
}

static int populate(struct hostmm *mm, hva_t start, u64 size, unsigned page_shift)
{
    for (u64 at = 0; at < size; at += 1ull << page_shift) {
        struct user_page page;
        int result = get_user_page(mm, start + at, true, &page);
        if (result != 0)
            return result;
        cond_resched();
    }
    return 0;
}

s64 hostmm_mmap(struct hostmm *mm, u64 size, unsigned page_shift, u64 flags)
{
    bool direct = (flags & HV_MAP_DIRECT) != 0;
    if (page_shift != 12 && page_shift != 21 && page_shift != 30)
        return -EINVAL;
    if (size == 0 || !is_aligned(size, 1ull << page_shift) ||
        (flags & ~(u64)(HV_MAP_DIRECT | HV_MAP_POPULATE)) != 0)
        return -EINVAL;
    struct hostmm_area *a = kzalloc(mm->host, sizeof(*a));
    if (a == NULL)
        return -ENOMEM;
    mutex_lock(&mm->lock);
    a->start = place_area(mm, size, page_shift, direct);
    a->size = size;
    a->page_shift = (u8)page_shift;
    a->direct = direct;
    if (a->start != 0)
        rb_insert(&mm->areas, &a->node, area_less);
    mutex_unlock(&mm->lock);
    hva_t start = a->start;
    if (start == 0) {
        kfree(mm->host, a, sizeof(*a));
        return -ENOMEM;
    }
    int result = (flags & HV_MAP_POPULATE) != 0 && !direct ? populate(mm, start, size, page_shift) : 0;
    if (result != 0) {
        (void)hostmm_munmap(mm, start, size);
        return result;
    }
    return (s64)start;
}

int hostmm_munmap(struct hostmm *mm, hva_t start, u64 size)
{
    mutex_lock(&mm->lock);
    struct hostmm_area *a = hostmm_find_area(mm, start);
    bool whole = a != NULL && a->start == start && a->size == size;
    bool direct = whole && a->direct;
    mutex_unlock(&mm->lock);
    if (!whole)
        return -EINVAL;
    if (!direct)
        invalidate_begin(mm, start, start + size);
    mutex_lock(&mm->lock);
    a = hostmm_find_area(mm, start);
    if (a != NULL && a->start == start)
        drop_area(mm, a);
    mutex_unlock(&mm->lock);
    if (!direct)
        invalidate_end(mm);
    return 0;
}

int hostmm_discard(struct hostmm *mm, hva_t start, u64 size, bool lazy)
{
    mutex_lock(&mm->lock);
    struct hostmm_area *a = hostmm_find_area(mm, start);
    bool good = a != NULL && !a->direct && size != 0 && size <= a->size - (start - a->start) &&
                is_aligned(start | size, 1ull << a->page_shift);
    mutex_unlock(&mm->lock);
    if (!good)
        return -EINVAL;
    invalidate_begin(mm, start, start + size);
    mutex_lock(&mm->lock);
    a = hostmm_find_area(mm, start);
    bool there = a != NULL && !a->direct && size <= a->size - (start - a->start);
    if (there && lazy)
        mark_free(mm, a, start, start + size);
    else if (there)
        (void)drop_pages(mm, a, start, start + size, false);
    mutex_unlock(&mm->lock);
    invalidate_end(mm);
    return 0;
}

// --- Reclaim.

struct hva_range {
    hva_t start, end; // Empty: none.
};

// The first run of marked pages of the area from `from` on, at most RECLAIM_BATCH of them.
static struct hva_range next_run(struct hostmm *mm, const struct hostmm_area *a, hva_t from)
{
    u64 step = 1ull << a->page_shift;
    struct hva_range r = {0};
    for (hva_t hva = max_u64(from, a->start); hva < a->start + a->size; hva += step) {
        const u64 *entry = walk(mm, hva, level_of_shift(a->page_shift), false);
        bool marked = entry != NULL && (READ_ONCE(*entry) & PTE_FREE) != 0;
        if (marked && r.end == 0)
            r.start = hva;
        if (marked)
            r.end = hva + step;
        if (r.end != 0 && (!marked || r.end - r.start == RECLAIM_BATCH * step))
            break;
    }
    return r;
}

// From where the last one ended, round and round: which page was marked first nobody remembers.
static struct hva_range next_marked(struct hostmm *mm)
{
    for (unsigned turn = 0; turn < 2 && READ_ONCE(mm->free_marks) != 0; turn++) {
        for (struct rb_node *n = rb_first(&mm->areas); n != NULL; n = rb_next(n)) {
            const struct hostmm_area *a = rb_entry(n, struct hostmm_area, node);
            if (a->direct || a->start + a->size <= mm->reclaim_at)
                continue;
            struct hva_range r = next_run(mm, a, mm->reclaim_at);
            if (r.end != 0) {
                mm->reclaim_at = r.end;
                return r;
            }
        }
        mm->reclaim_at = 0;
    }
    return (struct hva_range){0};
}

// Memory is short: takes pages that are marked free. How many (4 KiB units); 0: there are none.
static u64 reclaim(struct hostmm *mm)
{
    u64 taken = 0;
    hw_trace_span_begin(SPAN_MM_RECLAIM);
    while (taken == 0) {
        mutex_lock(&mm->lock);
        struct hva_range r = next_marked(mm);
        mutex_unlock(&mm->lock);
        if (r.end == 0)
            break;
        invalidate_begin(mm, r.start, r.end);
        mutex_lock(&mm->lock);
        const struct hostmm_area *a = hostmm_find_area(mm, r.start);
        if (a != NULL && r.end <= a->start + a->size)
            taken = drop_pages(mm, a, r.start, r.end, true);
        mutex_unlock(&mm->lock);
        invalidate_end(mm);
    }
    hw_trace_count("reclaimed_pages", taken);
    hw_trace_span_end(SPAN_MM_RECLAIM);
    return taken;
}

// --- Finding pages.

// Who looks a page up may write to it, and without another fault: it is no longer free. Returns the entry
// now.
static u64 keep_page(struct hostmm *mm, u64 *entry, u64 value)
{
    while ((value & PTE_FREE) != 0) {
        if (__atomic_compare_exchange_n(entry, &value, value & ~PTE_FREE, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            count_free_page(mm, false);
            value &= ~PTE_FREE;
        }
    }
    return value;
}

bool get_user_page_fast(struct hostmm *mm, hva_t hva, bool write, struct user_page *out)
{
    (void)write; // Every page is writable by its process.
    u64 *table = mm->pgd;
    for (unsigned level = TOP_LEVEL; level >= 1; level--) {
        u64 *entry = &table[table_index(hva, level)];
        u64 value = load_acquire(entry);
        if (unlikely((value & PTE_FREE) != 0))
            value = keep_page(mm, entry, value);
        if ((value & PTE_PRESENT) == 0)
            return false;
        if (level == 1 || (value & PTE_LARGE) != 0) {
            unsigned shift = PAGE_SHIFT + 9 * (level - 1);
            out->pfn = (value >> PAGE_SHIFT) + ((hva & ((1ull << shift) - 1)) >> PAGE_SHIFT);
            out->page_shift = (u8)shift;
            out->writable = true;
            return true;
        }
        table = hpa_to_va(mm->host, hpa(value & PTE_FRAME));
    }
    return false;
}

// Maps a page of the area's size. mm->lock held. -EEXIST: somebody was faster.
static int map_page(struct hostmm *mm, const struct hostmm_area *a, hva_t hva, pfn_t pfn)
{
    u64 *entry = walk(mm, hva, level_of_shift(a->page_shift), true);
    if (entry == NULL)
        return -ENOMEM;
    if ((READ_ONCE(*entry) & PTE_PRESENT) != 0)
        return -EEXIST;
    store_release(entry, pfn << PAGE_SHIFT | PTE_PRESENT | (a->page_shift != PAGE_SHIFT ? PTE_LARGE : 0));
    WRITE_ONCE(mm->resident_pages, mm->resident_pages + (1ull << (a->page_shift - PAGE_SHIFT)));
    return 0;
}

// The host's page fault: a page of 2^order behind hva, cleared before the lock is taken, so that faults on
// other pages need not wait. 0: look again; somebody may have been faster, or the area is another one by now.
static int fault_in(struct hostmm *mm, hva_t hva, unsigned order)
{
    pfn_t pfn = pages_alloc_zeroed(mm->host, order, MEM_GUEST);
    if (pfn == PFN_NONE)
        return -ENOMEM;
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = hostmm_find_area(mm, hva);
    bool fits = a != NULL && !a->direct && !a->userfault && a->page_shift == PAGE_SHIFT + order;
    int result = fits ? map_page(mm, a, hva, pfn) : -EEXIST;
    mm->fault_count += result == 0 ? 1 : 0;
    mutex_unlock(&mm->lock);
    if (result != 0)
        pages_free(mm->host, pfn, order, MEM_GUEST);
    return result == -EEXIST ? 0 : result;
}

bool hostmm_guest_range(struct hostmm *mm, hva_t hva, u64 bytes)
{
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = hostmm_find_area(mm, hva);
    bool good = a != NULL && !a->direct && bytes <= a->size - (hva - a->start);
    mutex_unlock(&mm->lock);
    return good;
}

bool hostmm_missing(struct hostmm *mm, hva_t hva, unsigned *order)
{
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = hostmm_find_area(mm, hva);
    bool missing = a != NULL && a->userfault;
    *order = a != NULL ? a->page_shift - PAGE_SHIFT : 0;
    mutex_unlock(&mm->lock);
    return missing;
}

int hostmm_install(struct hostmm *mm, hva_t hva, pfn_t pfn, unsigned order)
{
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = hostmm_find_area(mm, hva);
    bool fits = a != NULL && !a->direct && a->page_shift == PAGE_SHIFT + order;
    int result = fits ? map_page(mm, a, hva, pfn) : -EFAULT;
    mutex_unlock(&mm->lock);
    (void)wake_up_all(&mm->fault_waiters);
    return result;
}

int get_user_page(struct hostmm *mm, hva_t hva, bool write, struct user_page *out)
{
    if (hva < HOSTMM_GUEST_BASE || hva >= HOSTMM_GUEST_END)
        return -EFAULT;
    while (!get_user_page_fast(mm, hva, write, out)) {
        mutex_lock(&mm->lock);
        const struct hostmm_area *a = hostmm_find_area(mm, hva);
        int result = a == NULL || a->direct ? -EFAULT : 0;
        bool resolved_by_process = result == 0 && a->userfault;
        unsigned order = result == 0 ? a->page_shift - PAGE_SHIFT : 0;
        if (resolved_by_process && !get_user_page_fast(mm, hva, write, out))
            userfault_wait(mm, a, hva);
        mutex_unlock(&mm->lock);
        if (result == 0 && !resolved_by_process)
            result = fault_in(mm, hva, order);
        if (result != 0 && (result != -ENOMEM || reclaim(mm) == 0))
            return result;
    }
    return 0;
}

// Its direct areas, and its threads' stacks, which stand outside the direct map, where user code cannot be
// told from the model's.
bool user_access_ok(struct hostmm *mm, u64 va, u64 bytes)
{
    const struct host *host = mm->host;
    if (bytes == 0)
        return true;
    if (va < 0x10000 || va + bytes < va || va + bytes > 1ull << 47)
        return false;
    if (va + bytes <= host->direct_map || va >= host->direct_map + HW_ARENA_STRIDE)
        return va + bytes <= HOSTMM_GUEST_BASE || va >= HOSTMM_GUEST_END;
    const struct hw_bootinfo *info = host->bootinfo;
    if (va >= info->vmm_config && va + bytes <= info->vmm_config + info->vmm_config_bytes)
        return true;
    mutex_lock(&mm->lock);
    struct hostmm_area *a = hostmm_find_area(mm, va);
    bool ok = a != NULL && a->direct && bytes <= a->size - (va - a->start);
    mutex_unlock(&mm->lock);
    return ok;
}

int copy_from_user(struct hostmm *mm, void *to, u64 from, u64 bytes)
{
    if (!user_access_ok(mm, from, bytes))
        return -EFAULT;
    memcpy(to, (const void *)from, bytes);
    return 0;
}

int copy_to_user(struct hostmm *mm, u64 to, const void *from, u64 bytes)
{
    if (!user_access_ok(mm, to, bytes))
        return -EFAULT;
    memcpy((void *)to, from, bytes);
    return 0;
}
