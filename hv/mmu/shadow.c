// SPDX-License-Identifier: Apache-2.0
// Shadow pages: found, linked, dropped, zapped; roots of vCPUs; what happens to L1's memory.
#include "hv/mmu/shadow.h"

#include "hv/core/dirty_log.h"
#include "hv/core/requests.h"
#include "hv/core/tlb_change.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/x86/vmcs.h"

int shadow_vm_create(struct vm *vm)
{
    struct shadow_vm *shadow = vm->mmu->shadow;

    if (shadow != NULL)
        return 0;
    shadow = kzalloc(vm->host, sizeof(*shadow));
    if (shadow == NULL)
        return -ENOMEM;
    list_init(&shadow->pages);
    xa_init(&shadow->page_of_pfn, vm->host);
    shadow->format = spte_format_of(false);
    vm->mmu->shadow = shadow;
    return 0;
}

void shadow_vm_destroy(struct vm *vm)
{
    struct shadow_vm *shadow = vm->mmu->shadow;

    if (shadow == NULL)
        return;
    HV_ASSERT(list_empty(&shadow->pages) && shadow->mapped == 0);
    xa_destroy(&shadow->page_of_pfn);
    kfree(vm->host, shadow, sizeof(*shadow));
    vm->mmu->shadow = NULL;
}

// --- Pages.

static void free_page(struct host *host, struct shadow_page *sp)
{
    if (sp->spt != NULL)
        page_free(host, sp->spt, MEM_PAGE_TABLE);
    if (sp->gfns != NULL)
        page_free(host, sp->gfns, MEM_PAGE_TABLE);
    kfree(host, sp, sizeof(*sp));
}

static struct shadow_page *alloc_page(struct host *host)
{
    struct shadow_page *sp = kzalloc(host, sizeof(*sp));

    if (sp == NULL)
        return NULL;
    list_init(&sp->node);
    sp->spt = page_alloc_zeroed(host, MEM_PAGE_TABLE);
    sp->gfns = page_alloc_zeroed(host, MEM_PAGE_TABLE);
    if (sp->spt != NULL && sp->gfns != NULL)
        return sp;
    free_page(host, sp);
    return NULL;
}

void shadow_free_list(struct host *host, struct list *doomed)
{
    list_for_each_safe(sp, doomed, struct shadow_page, node) free_page(host, sp);
}

int shadow_top_up(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct shadow_vcpu *s = v->vcpu.mmu->shadow;

    for (; s->page_count < SHADOW_CACHE_PAGES; s->page_count++)
        if ((s->pages[s->page_count] = alloc_page(host)) == NULL)
            return -ENOMEM;
    for (; s->desc_count < SHADOW_CACHE_DESCS; s->desc_count++)
        if ((s->descs[s->desc_count] = kmalloc(host, sizeof(struct rmap_desc))) == NULL)
            return -ENOMEM;
    return 0;
}

static struct shadow_page **bucket_of(struct shadow_vm *shadow, const struct shadow_role *role)
{
    return &shadow->hash[(role->gfn ^ role->gfn >> 8 ^ role->level) % SHADOW_BUCKETS];
}

static bool same_role(const struct shadow_role *a, const struct shadow_role *b)
{
    return a->gfn == b->gfn && a->root == b->root && a->level == b->level && a->rights == b->rights &&
           a->direct == b->direct;
}

bool shadow_is_valid(const struct shadow_vm *shadow, const struct shadow_page *sp)
{
    return !READ_ONCE(sp->invalid) && sp->valid_gen == READ_ONCE(shadow->valid_gen);
}

static struct shadow_page *find_page(struct shadow_vm *shadow, const struct shadow_role *role)
{
    for (struct shadow_page *sp = *bucket_of(shadow, role); sp != NULL; sp = sp->next)
        if (same_role(&sp->role, role) && shadow_is_valid(shadow, sp))
            return sp;
    return NULL;
}

struct shadow_page *shadow_get_page(struct vm *vm, struct shadow_vcpu *s, const struct shadow_role *role)
{
    struct shadow_vm *shadow = vm->mmu->shadow;
    struct shadow_page *sp = find_page(shadow, role), **bucket = bucket_of(shadow, role);

    if (sp != NULL)
        return sp;
    HV_ASSERT(s->page_count > 0);
    sp = s->pages[--s->page_count];
    sp->role = *role;
    sp->valid_gen = shadow->valid_gen;
    if (role->direct) {
        page_free(vm->host, sp->gfns, MEM_PAGE_TABLE);
        sp->gfns = NULL;
    }
    sp->next = *bucket;
    *bucket = sp;
    list_add(&sp->node, &shadow->pages);
    shadow->page_count++;
    if (xa_store(&shadow->page_of_pfn, va_to_hpa(vm->host, sp->spt).v >> PAGE_SHIFT, sp) != 0)
        HV_PANIC("no memory for the index of shadow pages");
    hw_trace_count("shadow_pages", 1);
    return sp;
}

struct shadow_page *shadow_page_of(struct vm *vm, u64 spte)
{
    struct shadow_page *sp = xa_load(&vm->mmu->shadow->page_of_pfn, spte_pfn(spte));

    HV_ASSERT(sp != NULL);
    return sp;
}

static struct shadow_page *page_of_entry(struct vm *vm, const u64 *sptep)
{
    return shadow_page_of(vm, va_to_hpa(vm->host, sptep).v & PAGE_MASK);
}

// --- Taking away. mmu_lock held for writing.

gfn_t shadow_mapped_gfn(const struct shadow_page *sp, unsigned index)
{
    return sp->gfns != NULL ? sp->gfns[index] : sp->role.gfn + index * pages_of_level(sp->role.level);
}

// The slot may be gone: then so are its heads.
static void forget_leaf(struct vm *vm, struct shadow_page *sp, unsigned index)
{
    gfn_t gfn = shadow_mapped_gfn(sp, index);
    const struct memslot *slot = gfn_to_memslot(vm_memslots(vm, 0), gfn);
    struct rmap_head *head = slot != NULL ? gfn_to_rmap(slot, gfn, sp->role.level) : NULL;

    if (head != NULL && !rmap_empty(head))
        rmap_remove(vm->host, head, &sp->spt[index]);
    vm->mmu->shadow->mapped--;
}

bool shadow_drop(struct vm *vm, struct shadow_page *sp, unsigned index, struct list *doomed)
{
    u64 *sptep = &sp->spt[index], old = *sptep;

    if (!is_present(old))
        return false;
    __atomic_store_n(sptep, 0, __ATOMIC_RELAXED);
    if (is_leaf(old, sp->role.level)) {
        forget_leaf(vm, sp, index);
        return true;
    }
    struct shadow_page *child = shadow_page_of(vm, old);

    rmap_remove(vm->host, &child->parents, sptep);
    // What is in no tree is not reached by INVEPT either: it must not come back with what it holds.
    if (rmap_empty(&child->parents))
        shadow_zap_page(vm, child, doomed);
    return true;
}

static void unhash(struct shadow_vm *shadow, struct shadow_page *sp)
{
    struct shadow_page **at = bucket_of(shadow, &sp->role);

    while (*at != sp)
        at = &(*at)->next;
    *at = sp->next;
}

void shadow_zap_page(struct vm *vm, struct shadow_page *sp, struct list *doomed)
{
    struct shadow_vm *shadow = vm->mmu->shadow;

    if (sp->invalid)
        return;
    WRITE_ONCE(sp->invalid, true);
    unhash(shadow, sp);
    while (!rmap_empty(&sp->parents)) {
        u64 *sptep = rmap_any(&sp->parents);

        __atomic_store_n(sptep, 0, __ATOMIC_RELAXED);
        rmap_remove(vm->host, &sp->parents, sptep);
    }
    for (unsigned i = 0; i < PT64_ENTRIES; i++)
        (void)shadow_drop(vm, sp, i, doomed);
    (void)xa_store(&shadow->page_of_pfn, va_to_hpa(vm->host, sp->spt).v >> PAGE_SHIFT, NULL);
    list_del(&sp->node);
    if (sp->roots == 0) // Else whoever lets go of it last frees it.
        list_add(&sp->node, doomed);
    shadow->page_count--;
}

// How many pages are freed before others get the lock.
#define ZAP_BATCH 10u

// True: there are more.
static bool zap_obsolete(struct vm *vm, struct list *doomed)
{
    struct shadow_vm *shadow = vm->mmu->shadow;

    for (unsigned i = 0; i < ZAP_BATCH; i++) {
        // New ones stand in front.
        if (list_empty(&shadow->pages))
            return false;
        struct shadow_page *sp = list_last(&shadow->pages, struct shadow_page, node);

        if (sp->valid_gen == shadow->valid_gen)
            return false;
        shadow_zap_page(vm, sp, doomed);
    }
    return true;
}

void shadow_zap_all(struct vm *vm)
{
    bool more = true;

    if (!vm_have_rmaps(vm))
        return;
    hw_trace_span_begin(SPAN_MMU_ZAP);
    write_lock(&vm->mmu_lock);
    WRITE_ONCE(vm->mmu->shadow->valid_gen, vm->mmu->shadow->valid_gen + 1);
    (void)make_all_cpus_request(vm, REQ_MMU_RELOAD);
    mmu_flush_remote(vm); // From here on no processor walks an old root.
    tlb_change_settled(vm);
    while (more) {
        struct list doomed;

        list_init(&doomed);
        more = zap_obsolete(vm, &doomed);
        write_unlock(&vm->mmu_lock);
        shadow_free_list(vm->host, &doomed);
        cond_resched();
        write_lock(&vm->mmu_lock);
    }
    write_unlock(&vm->mmu_lock);
    hw_trace_span_end(SPAN_MMU_ZAP);
}

// --- Roots.

static void put_root(struct vm *vm, struct shadow_vcpu *s)
{
    struct shadow_page *root = s->root;

    s->root = NULL;
    if (root != NULL && --root->roots == 0 && root->invalid)
        free_page(vm->host, root);
}

static int make_root(struct x86_vcpu *v, const struct shadow_role *role)
{
    struct vm *vm = v->vcpu.vm;
    struct shadow_vcpu *s = v->vcpu.mmu->shadow;

    if (shadow_top_up(v) != 0)
        return -ENOMEM;
    write_lock(&vm->mmu_lock);
    put_root(vm, s);
    s->root = shadow_get_page(vm, s, role);
    s->root->roots++;
    write_unlock(&vm->mmu_lock);
    hw_trace_count("shadow_roots", 1);
    return 0;
}

// The lock's owner is outside of every section that it protects: nobody will ever unlock it.
static void check_lock_left(struct vm *vm)
{
    if (mutex_is_held_by_me(&vm->slots_arch_lock))
        hw_trace_violation("lock_leaked", LOCK_RANK_SLOTS_ARCH, 0);
}

static int prepare_first(struct x86_vcpu *v)
{
    struct mmu_vcpu *m = v->vcpu.mmu;
    int result = mmu_alloc_rmaps(v->vcpu.vm);

    check_lock_left(v->vcpu.vm);
    if (result == 0 && m->shadow == NULL) {
        m->shadow = kzalloc(v->vcpu.vm->host, sizeof(*m->shadow));
        if (m->shadow == NULL)
            result = -ENOMEM;
    }
    return result;
}

int shadow_load_root(struct x86_vcpu *v)
{
    struct vm *vm = v->vcpu.vm;
    struct mmu_vcpu *m = v->vcpu.mmu;
    gfn_t gfn = (m->shadow_eptp12 & EPTP_ADDR_MASK) >> PAGE_SHIFT;
    struct shadow_role role = {.gfn = gfn, .root = gfn, .level = SHADOW_ROOT_LEVEL, .rights = (u8)EPT_RWX};
    bool changed = false;
    int result = m->shadow != NULL ? 0 : prepare_first(v);

    if (result != 0)
        return result;
    struct shadow_vcpu *s = m->shadow;

    if (s->root == NULL || s->root->role.gfn != gfn || !shadow_is_valid(vm->mmu->shadow, s->root)) {
        changed = true;
        result = make_root(v, &role);
        if (result != 0)
            return result;
    }
    u64 eptp = va_to_hpa(vm->host, s->root->spt).v | MEMTYPE_WB | EPTP_WALK_4;

    vmcs_write(EPT_POINTER, eptp);
    m->root_loaded = true;
    // Its page may have been another root before, whose translations this processor still has.
    if (changed || tlb_flush_is_postponed(vm))
        mmu_flush_all(v);
    return 1;
}

void shadow_vcpu_destroy(struct x86_vcpu *v)
{
    struct host *host = v->vcpu.vm->host;
    struct shadow_vcpu *s = v->vcpu.mmu->shadow;

    if (s == NULL)
        return;
    put_root(v->vcpu.vm, s);
    while (s->page_count > 0)
        free_page(host, s->pages[--s->page_count]);
    while (s->desc_count > 0)
        kfree(host, s->descs[--s->desc_count], sizeof(struct rmap_desc));
    kfree(host, s, sizeof(*s));
    v->vcpu.mmu->shadow = NULL;
}

// --- What happens to L1's memory.

static u64 protect_head(const struct rmap_head *head)
{
    struct rmap_iterator it;
    u64 changed = 0;

    for (u64 *sptep = rmap_first(head, &it); sptep != NULL; sptep = rmap_next(&it))
        changed += (__atomic_fetch_and(sptep, ~EPT_WRITE, __ATOMIC_RELAXED) & EPT_WRITE) != 0;
    return changed;
}

// Entries lost pages or rights, or others did whose flush was put off: the caller relies on it from now on
// that nobody uses them.
static void flush_if_needed(struct vm *vm, bool changed)
{
    if (changed || tlb_flush_is_postponed(vm))
        mmu_flush_remote(vm);
    tlb_change_settled(vm);
}

// Others get mmu_lock, if they want it; after a flush if one is due.
static void yield_write(struct vm *vm, bool *flush)
{
    if (likely(!need_resched() && !rwlock_is_contended(&vm->mmu_lock)))
        return;
    if (*flush)
        mmu_flush_remote(vm);
    *flush = false;
    write_unlock(&vm->mmu_lock);
    cond_resched();
    write_lock(&vm->mmu_lock);
}

// The heads of [first, end) of one size stand one after the other.
struct head_range {
    const struct rmap_head *at, *end;
};
static struct head_range heads_of(const struct memslot *slot, gfn_t first, gfn_t end, unsigned level)
{
    const struct rmap_head *last = gfn_to_rmap(slot, end - 1, level);

    return (struct head_range){gfn_to_rmap(slot, first, level), last != NULL ? last + 1 : NULL};
}
// How many heads are looked at before others get the lock.
#define WALK_BATCH 512u

void shadow_write_protect_slot(struct vm *vm, const struct memslot *slot)
{
    u64 changed = 0, looked_at = 0;
    bool flush = false; // Only at the end: until then nobody relies on it.

    if (!vm_have_rmaps(vm))
        return;
    write_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    for (unsigned level = PG_LEVEL_4K; level <= MEMSLOT_LEVELS; level++) {
        struct head_range r = heads_of(slot, slot->base_gfn, slot->base_gfn + slot->npages, level);

        for (; r.at < r.end; r.at++) {
            if (!rmap_empty(r.at))
                changed += protect_head(r.at);
            if (++looked_at % WALK_BATCH == 0)
                yield_write(vm, &flush);
        }
    }
    flush_if_needed(vm, changed != 0);
    tlb_change_end(vm);
    write_unlock(&vm->mmu_lock);
    hw_trace_count("dirty_log_write_locks", 1);
    hw_trace_count("shadow_sptes_write_protected", changed);
}

void shadow_write_protect_mask(struct vm *vm, const struct memslot *slot, gfn_t base, u64 mask)
{
    // A log that began with all bits set has left large pages alone.
    unsigned levels = dirty_log_initially_set(vm) ? MEMSLOT_LEVELS : PG_LEVEL_4K;
    u64 changed = 0;

    if (!vm_have_rmaps(vm))
        return;
    for (; mask != 0; mask &= mask - 1)
        for (unsigned level = PG_LEVEL_4K; level <= levels; level++) {
            const struct rmap_head *head = gfn_to_rmap(slot, base + ffs64(mask), level);

            changed += head != NULL ? protect_head(head) : 0;
        }
    hw_trace_count("shadow_sptes_write_protected", changed);
}

// True: there was one.
static bool unmap_head(struct vm *vm, const struct rmap_head *head, struct list *doomed)
{
    bool any = false;

    for (; !rmap_empty(head); any = true) {
        u64 *sptep = rmap_any(head);
        struct shadow_page *sp = page_of_entry(vm, sptep);

        (void)shadow_drop(vm, sp, (unsigned)(sptep - sp->spt), doomed);
    }
    return any;
}

void shadow_unmap(struct vm *vm, const struct memslot *slot, gfn_t first, gfn_t end)
{
    struct list doomed; // Leaves have no pages below them: it stays empty.
    bool flush = false;
    u64 looked_at = 0;

    if (!vm_have_rmaps(vm))
        return;
    list_init(&doomed);
    write_lock(&vm->mmu_lock);
    tlb_change_begin(vm);
    for (unsigned level = PG_LEVEL_4K; level <= MEMSLOT_LEVELS; level++) {
        struct head_range r = heads_of(slot, first, end, level);

        for (; r.at < r.end; r.at++) {
            if (!rmap_empty(r.at))
                flush |= unmap_head(vm, r.at, &doomed);
            if (++looked_at % WALK_BATCH == 0)
                yield_write(vm, &flush);
        }
    }
    flush_if_needed(vm, flush);
    tlb_change_end(vm);
    write_unlock(&vm->mmu_lock);
}
