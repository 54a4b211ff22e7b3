// SPDX-License-Identifier: Apache-2.0
#include "hv/core/hostmm.h"

#include "hv/api.h"
#include "hv/core/arch.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

// Page table of the host process: four levels of 512 entries. A large page is an entry of level 2 (2 MiB) or
// 3 (1 GiB).
//
//  63                              12 11           2   1   0
// +----------------------------------+---------------+---+---+
// |   frame of page or next table    |       0       | L | P |
// +----------------------------------+---------------+---+---+
#define PTE_PRESENT 1ull
#define PTE_LARGE 2ull
#define PTE_FRAME (~0xfffull)
#define TABLE_ENTRIES 512u
#define TOP_LEVEL 4u

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
    list_init(&mm->user_faults);
    waitqueue_init(&mm->fault_readers);
    waitqueue_init(&mm->fault_waiters);
    return mm;
}

void hostmm_get(struct hostmm *mm)
{
    __atomic_fetch_add(&mm->users, 1, __ATOMIC_RELAXED);
}

static struct hostmm_area *find_area(struct hostmm *mm, hva_t hva)
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

// VMs of this process drop [start, end) first: their stage-2 entries name the pages that go away.
static void notify_vms(struct hostmm *mm, hva_t start, hva_t end)
{
    struct host *host = mm->host;
    mutex_lock(&host->handles_lock);
    list_for_each(vm, &host->vms, struct vm, node)
    {
        if (vm->mm != mm)
            continue;
        write_lock(&vm->mmu_lock);
        vm->mmu_invalidate_in_progress++;
        write_unlock(&vm->mmu_lock);
        arch_unmap_hva_range(vm, start, end);
        write_lock(&vm->mmu_lock);
        vm->mmu_invalidate_seq++;
        vm->mmu_invalidate_in_progress--;
        write_unlock(&vm->mmu_lock);
    }
    mutex_unlock(&host->handles_lock);
}

static void drop_pages(struct hostmm *mm, const struct hostmm_area *a, hva_t start, hva_t end)
{
    u64 step = 1ull << a->page_shift;
    unsigned order = a->page_shift - PAGE_SHIFT;
    for (hva_t hva = start; hva < end; hva += step) {
        u64 *entry = walk(mm, hva, level_of_shift(a->page_shift), false);
        if (entry == NULL || (*entry & PTE_PRESENT) == 0)
            continue;
        pfn_t pfn = *entry >> PAGE_SHIFT;
        WRITE_ONCE(*entry, 0);
        pages_free(mm->host, pfn, order, MEM_GUEST);
        mm->resident_pages -= 1ull << order;
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
        drop_pages(mm, a, a->start, a->start + a->size);
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
    struct hostmm_area *a = find_area(mm, start);
    bool whole = a != NULL && a->start == start && a->size == size;
    bool direct = whole && a->direct;
    mutex_unlock(&mm->lock);
    if (!whole)
        return -EINVAL;
    if (!direct)
        notify_vms(mm, start, start + size);
    mutex_lock(&mm->lock);
    a = find_area(mm, start);
    if (a != NULL && a->start == start)
        drop_area(mm, a);
    mutex_unlock(&mm->lock);
    return 0;
}

int hostmm_discard(struct hostmm *mm, hva_t start, u64 size)
{
    mutex_lock(&mm->lock);
    struct hostmm_area *a = find_area(mm, start);
    bool good = a != NULL && !a->direct && size != 0 && size <= a->size - (start - a->start) &&
                is_aligned(start | size, 1ull << a->page_shift);
    mutex_unlock(&mm->lock);
    if (!good)
        return -EINVAL;
    notify_vms(mm, start, start + size);
    mutex_lock(&mm->lock);
    a = find_area(mm, start);
    if (a != NULL && !a->direct && size <= a->size - (start - a->start))
        drop_pages(mm, a, start, start + size);
    mutex_unlock(&mm->lock);
    return 0;
}

bool get_user_page_fast(struct hostmm *mm, hva_t hva, bool write, struct user_page *out)
{
    (void)write; // Every page is writable by its process.
    const u64 *table = mm->pgd;
    for (unsigned level = TOP_LEVEL; level >= 1; level--) {
        u64 value = load_acquire(&table[table_index(hva, level)]);
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
    if ((*entry & PTE_PRESENT) != 0)
        return -EEXIST;
    store_release(entry, pfn << PAGE_SHIFT | PTE_PRESENT | (a->page_shift != PAGE_SHIFT ? PTE_LARGE : 0));
    mm->resident_pages += 1ull << (a->page_shift - PAGE_SHIFT);
    return 0;
}

// The host's page fault: a page of the area's size behind hva. mm->lock held.
static int fault_in(struct hostmm *mm, const struct hostmm_area *a, hva_t hva)
{
    unsigned order = a->page_shift - PAGE_SHIFT;
    u64 *entry = walk(mm, hva, level_of_shift(a->page_shift), true);
    if (entry == NULL)
        return -ENOMEM;
    if ((*entry & PTE_PRESENT) != 0)
        return 0; // Somebody was faster.
    pfn_t pfn = pages_alloc_zeroed(mm->host, order, MEM_GUEST);
    if (pfn == PFN_NONE)
        return -ENOMEM;
    mm->fault_count++;
    return map_page(mm, a, hva, pfn);
}

bool hostmm_guest_range(struct hostmm *mm, hva_t hva, u64 bytes)
{
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = find_area(mm, hva);
    bool good = a != NULL && !a->direct && bytes <= a->size - (hva - a->start);
    mutex_unlock(&mm->lock);
    return good;
}

bool hostmm_missing(struct hostmm *mm, hva_t hva, unsigned *order)
{
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = find_area(mm, hva);
    bool missing = a != NULL && a->userfault;
    *order = a != NULL ? a->page_shift - PAGE_SHIFT : 0;
    mutex_unlock(&mm->lock);
    return missing;
}

int hostmm_install(struct hostmm *mm, hva_t hva, pfn_t pfn, unsigned order)
{
    mutex_lock(&mm->lock);
    const struct hostmm_area *a = find_area(mm, hva);
    bool fits = a != NULL && !a->direct && a->page_shift == PAGE_SHIFT + order;
    int result = fits ? map_page(mm, a, hva, pfn) : -EFAULT;
    mutex_unlock(&mm->lock);
    (void)wake_up_all(&mm->fault_waiters);
    return result;
}

// --- Faults that the process resolves.

struct user_fault {
    struct list node;
    hva_t hva;
    bool told;
};

// Waits for the page. mm->lock held; released meanwhile.
static void wait_for_page(struct hostmm *mm, const struct hostmm_area *a, hva_t hva)
{
    struct user_fault f = {.hva = hva & ~((1ull << a->page_shift) - 1)};
    struct user_page page;
    list_init(&f.node);
    list_add_tail(&f.node, &mm->user_faults);
    mm->untold_faults++;
    mutex_unlock(&mm->lock);
    (void)wake_up_all(&mm->fault_readers);
    wait_event(&mm->fault_waiters, get_user_page_fast(mm, hva, true, &page) || !READ_ONCE(a->userfault));
    mutex_lock(&mm->lock);
    list_del(&f.node);
    mm->untold_faults -= f.told ? 0 : 1;
}

int userfault_register(struct hostmm *mm, hva_t start, u64 size, bool on)
{
    mutex_lock(&mm->lock);
    struct hostmm_area *a = find_area(mm, start);
    bool whole = a != NULL && !a->direct && a->start == start && a->size == size;
    if (whole)
        WRITE_ONCE(a->userfault, on);
    mutex_unlock(&mm->lock);
    (void)wake_up_all(&mm->fault_waiters);
    return whole ? 0 : -EINVAL;
}

static bool next_fault(struct hostmm *mm, hva_t *out)
{
    bool found = false;
    mutex_lock(&mm->lock);
    list_for_each(f, &mm->user_faults, struct user_fault, node)
    {
        if (!found && !f->told) {
            found = f->told = true;
            mm->untold_faults--;
            *out = f->hva;
        }
    }
    mutex_unlock(&mm->lock);
    return found;
}

int userfault_read(struct hostmm *mm, hva_t *out)
{
    struct thread *self = current_thread();
    while (!next_fault(mm, out)) {
        wait_event(&mm->fault_readers,
                   READ_ONCE(mm->untold_faults) != 0 || READ_ONCE(self->signal_pending) != 0);
        if (READ_ONCE(self->signal_pending) != 0)
            return -EINTR;
    }
    return 0;
}

int get_user_page(struct hostmm *mm, hva_t hva, bool write, struct user_page *out)
{
    if (hva < HOSTMM_GUEST_BASE || hva >= HOSTMM_GUEST_END)
        return -EFAULT;
    while (!get_user_page_fast(mm, hva, write, out)) {
        int result = 0;
        mutex_lock(&mm->lock);
        const struct hostmm_area *a = find_area(mm, hva);
        if (a == NULL || a->direct)
            result = -EFAULT;
        else if (!a->userfault)
            result = fault_in(mm, a, hva);
        else if (!get_user_page_fast(mm, hva, write, out))
            wait_for_page(mm, a, hva);
        mutex_unlock(&mm->lock);
        if (result != 0)
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
    struct hostmm_area *a = find_area(mm, va);
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
