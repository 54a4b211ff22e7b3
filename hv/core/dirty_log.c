// SPDX-License-Identifier: Apache-2.0
#include "hv/core/dirty_log.h"
#include "hv/core/tlb_change.h"

#include "hv/core/arch.h"
#include "hv/core/requests.h"
#include "hv/hw/trace.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/lib/string.h"

// --- The bitmap: twice as long as the slot has pages; the second half is where a call collects what it
// returns.

u64 dirty_bitmap_bytes(const struct memslot *slot)
{
    return BITMAP_WORDS(slot->npages) * sizeof(u64);
}

static u64 *scratch_of(const struct memslot *slot)
{
    return slot->dirty_bitmap + BITMAP_WORDS(slot->npages);
}

bool dirty_log_initially_set(const struct vm *vm)
{
    return (READ_ONCE(vm->manual_dirty_log) & HV_DIRTY_LOG_INITIALLY_SET) != 0;
}

int dirty_bitmap_prepare(struct vm *vm, const struct memslot *old, struct memslot *new)
{
    new->dirty_bitmap = NULL;
    if (new->npages == 0 || !slot_logs_dirty(new))
        return 0;
    new->dirty_bitmap = old->dirty_bitmap;
    if (new->dirty_bitmap != NULL || READ_ONCE(vm->dirty_ring_bytes) != 0)
        return 0;
    hw_trace_span_begin(SPAN_DIRTY_BITMAP);
    new->dirty_bitmap = kzalloc(vm->host, 2 * dirty_bitmap_bytes(new));
    if (new->dirty_bitmap != NULL && dirty_log_initially_set(vm))
        bitmap_fill_range(new->dirty_bitmap, 0, new->npages);
    hw_trace_span_end(SPAN_DIRTY_BITMAP);
    return new->dirty_bitmap != NULL ? 0 : -ENOMEM;
}

void dirty_bitmap_free(struct vm *vm, struct memslot *slot)
{
    kfree(vm->host, slot->dirty_bitmap, 2 * dirty_bitmap_bytes(slot));
    slot->dirty_bitmap = NULL;
}

// --- Marking.

void mark_page_dirty_in_slot(struct vm *vm, struct vcpu *vcpu, const struct memslot *slot, gfn_t gfn,
                             enum hw_dirty_method method)
{
    if (!slot_logs_dirty(slot))
        return;
    u64 offset = gfn - slot->base_gfn;
    u32 number = (u32)slot->as_id << 16 | slot->id;

    if (slot->dirty_bitmap != NULL) {
        if (!test_and_set_bit(slot->dirty_bitmap, offset))
            hw_trace_dirty_page(vm->id, vcpu != NULL ? vcpu->index : ~0u, number, gfn, method, false);
    } else if (likely(vcpu != NULL && vcpu->vm == vm)) {
        dirty_ring_push(vcpu, number, offset);
        hw_trace_dirty_page(vm->id, vcpu->index, number, gfn, method, true);
    } else {
        hw_trace_violation("a page became dirty without a vCPU whose ring could tell", gfn, slot->id);
        return;
    }
    hw_trace_count("dirty_pages_logged", 1);
}

void mark_page_dirty(struct vm *vm, gfn_t gfn)
{
    const struct memslot *slot = gfn_to_memslot(vm_memslots(vm, 0), gfn);

    if (slot != NULL)
        mark_page_dirty_in_slot(vm, running_vcpu(), slot, gfn, HW_DIRTY_WRITE);
}

// --- Asking. slots_lock held.

static s64 find_logged_slot(struct vm *vm, u32 slot, const struct memslot **out)
{
    *out = id_to_memslot(vm->memslots[slot >> 16], slot & 0xffff);
    return *out != NULL && (*out)->dirty_bitmap != NULL ? 0 : -ENOENT;
}

static s64 check_slot_number(const struct vm *vm, u32 slot)
{
    if (READ_ONCE(vm->dirty_ring_bytes) != 0)
        return -ENXIO;
    return slot >> 16 < HV_ADDRESS_SPACES && (slot & 0xffff) < HV_USER_MEMSLOTS ? 0 : -EINVAL;
}

bool dirty_log_lock(struct vm *vm)
{
    if (!arch_dirty_log_exclusive(vm)) {
        read_lock(&vm->mmu_lock);
        // Asked again: what makes it exclusive does so before it takes the lock for writing.
        if (likely(!arch_dirty_log_exclusive(vm)))
            return false;
        read_unlock(&vm->mmu_lock);
    }
    write_lock(&vm->mmu_lock);
    hw_trace_count("dirty_log_write_locks", 1);
    return true;
}

void dirty_log_unlock(struct vm *vm, bool exclusive)
{
    if (exclusive)
        write_unlock(&vm->mmu_lock);
    else
        read_unlock(&vm->mmu_lock);
}

static u64 get_order(const struct vm *vm)
{
    return knob(&vm->host->knobs, KNOB_DIRTY_GET_ORDER);
}

// Takes one word's bits and protects their pages.
static u64 fetch_word(struct vm *vm, const struct memslot *slot, u64 *word, u64 offset)
{
    if (unlikely(get_order(vm) == DIRTY_GET_ORDER_PROTECT_FETCH_FLUSH)) {
        // The wrong way round: a write in between makes its page writable, and then the page's bit goes.
        arch_dirty_log_protect(vm, slot, offset, READ_ONCE(*word));
        return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
    }
    // First the bits, then the protection: a write in between sets its bit again, or faults and sets it.
    u64 fetched = __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);

    arch_dirty_log_protect(vm, slot, offset, fetched);
    return fetched;
}

// Takes all bits out of the bitmap into the scratch half and protects their pages. True: there was one.
static bool fetch_and_protect(struct vm *vm, const struct memslot *slot)
{
    u64 *bits = slot->dirty_bitmap, *fetched = scratch_of(slot);
    u64 words = BITMAP_WORDS(slot->npages);
    bool any = false;

    memset(fetched, 0, words * sizeof(u64));
    hw_trace_span_begin(SPAN_MMU_WRITE_PROTECT);
    bool exclusive = dirty_log_lock(vm);

    for (u64 i = 0; i < words; i++) {
        if (READ_ONCE(bits[i]) == 0)
            continue;
        fetched[i] = fetch_word(vm, slot, &bits[i], i * 64);
        any = true;
    }
    dirty_log_unlock(vm, exclusive);
    hw_trace_span_end(SPAN_MMU_WRITE_PROTECT);
    return any;
}

static void put_back(const struct memslot *slot, const u64 *fetched)
{
    for (u64 i = 0; i < BITMAP_WORDS(slot->npages); i++)
        __atomic_fetch_or(&slot->dirty_bitmap[i], fetched[i], __ATOMIC_RELAXED);
}

// Before the caller copies a page that was shown: nobody writes to it through an old translation any more.
static void flush_after_get(struct vm *vm, bool any)
{
    if (unlikely(get_order(vm) == DIRTY_GET_ORDER_FETCH_PROTECT)) {
        // Put off until the next round, when it is too late.
        if (tlb_flush_is_postponed(vm))
            flush_remote_tlbs(vm);
        if (any)
            __atomic_fetch_add(&vm->tlbs_dirty, 1, __ATOMIC_RELEASE);
        return;
    }
    if (any && !tlb_flush_left_out(vm, MMU_SKIP_FLUSH_GET_LOG))
        flush_remote_tlbs(vm);
}

// While others set bits. Checked: the user's memory may be written.
static s64 copy_bits(u64 to, const struct memslot *slot)
{
    for (u64 i = 0; i < BITMAP_WORDS(slot->npages); i++) {
        u64 word = READ_ONCE(slot->dirty_bitmap[i]);
        memcpy((u64 *)to + i, &word, sizeof(word));
    }
    return 0;
}

static s64 get_locked(struct vm *vm, const struct hv_dirty_log *log)
{
    struct hostmm *mm = current_thread()->mm;
    const struct memslot *slot;
    s64 result = find_logged_slot(vm, log->slot, &slot);

    if (result != 0)
        return result;
    u64 bytes = dirty_bitmap_bytes(slot);
    bool manual = vm->manual_dirty_log != 0;

    // Looked at now: bits that were fetched for nobody would be lost.
    if (!user_access_ok(mm, log->bitmap, bytes))
        return -EFAULT;
    arch_dirty_log_sync(vm);
    if (manual)
        return copy_bits(log->bitmap, slot);
    tlb_change_begin(vm);
    bool any = fetch_and_protect(vm, slot);

    result = copy_to_user(mm, log->bitmap, scratch_of(slot), bytes);
    if (result != 0)
        put_back(slot, scratch_of(slot));
    flush_after_get(vm, any);
    tlb_change_end(vm);
    return result;
}

s64 dirty_log_get(struct vm *vm, const struct hv_dirty_log *log)
{
    s64 result = check_slot_number(vm, log->slot);

    if (result != 0)
        return result;
    mutex_lock(&vm->slots_lock);
    result = get_locked(vm, log);
    mutex_unlock(&vm->slots_lock);
    return result;
}

// --- Clearing.

static bool range_ok(const struct memslot *slot, u64 first, u64 pages)
{
    if (first > slot->npages || pages > slot->npages - first)
        return false;
    return is_aligned(pages, 64) || first + pages == slot->npages;
}

static bool clear_and_protect(struct vm *vm, const struct memslot *slot, u64 first, u64 pages,
                              const u64 *clear)
{
    u64 *bits = slot->dirty_bitmap + first / 64;
    bool any = false;

    hw_trace_span_begin(SPAN_MMU_WRITE_PROTECT);
    bool exclusive = dirty_log_lock(vm);

    for (u64 i = 0; i < BITMAP_WORDS(pages); i++) {
        if (clear[i] == 0)
            continue;
        // Only bits that were set: none beyond the slot's end ever is.
        u64 cleared = __atomic_fetch_and(&bits[i], ~clear[i], __ATOMIC_SEQ_CST) & clear[i];

        if (cleared == 0)
            continue;
        arch_dirty_log_protect(vm, slot, first + i * 64, cleared);
        any = true;
    }
    dirty_log_unlock(vm, exclusive);
    hw_trace_span_end(SPAN_MMU_WRITE_PROTECT);
    return any;
}

static s64 clear_locked(struct vm *vm, const struct hv_clear_dirty_log *log)
{
    const struct memslot *slot;
    s64 result = find_logged_slot(vm, log->slot, &slot);

    if (result != 0)
        return result;
    if (!range_ok(slot, log->first_page, log->num_pages))
        return -EINVAL;
    if (copy_from_user(current_thread()->mm, scratch_of(slot), log->bitmap,
                       BITMAP_WORDS((u64)log->num_pages) * sizeof(u64)) != 0)
        return -EFAULT;
    arch_dirty_log_sync(vm);
    tlb_change_begin(vm);
    bool any = clear_and_protect(vm, slot, log->first_page, log->num_pages, scratch_of(slot));

    if (any && !tlb_flush_left_out(vm, MMU_SKIP_FLUSH_CLEAR_LOG))
        flush_remote_tlbs(vm);
    tlb_change_end(vm);
    return 0;
}

s64 dirty_log_clear(struct vm *vm, const struct hv_clear_dirty_log *log)
{
    s64 result = check_slot_number(vm, log->slot);

    if (result != 0)
        return result;
    if (!is_aligned(log->first_page, 64))
        return -EINVAL;
    mutex_lock(&vm->slots_lock);
    result = clear_locked(vm, log);
    mutex_unlock(&vm->slots_lock);
    return result;
}

int dirty_log_enable_manual(struct vm *vm, u64 options)
{
    u64 allowed = HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

    if (options & HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
        allowed |= HV_DIRTY_LOG_INITIALLY_SET;
    if (options & ~allowed)
        return -EINVAL;
    WRITE_ONCE(vm->manual_dirty_log, (u32)options);
    return 0;
}
