// SPDX-License-Identifier: Apache-2.0
#include "hv/core/dirty_ring.h"
#include "hv/core/tlb_change.h"

#include "hv/core/arch.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/bitmap.h"
#include "hv/lib/errno.h"

static unsigned ring_order(const struct vm *vm)
{
    return fls64(vm->dirty_ring_bytes >> PAGE_SHIFT);
}

static u32 reserved_entries(struct host *host)
{
    return DIRTY_RING_RESERVED_ENTRIES + arch_cpu_dirty_log_entries(host);
}

int dirty_ring_alloc(struct vm *vm, struct dirty_ring *ring)
{
    pfn_t pfn = pages_alloc(vm->host, ring_order(vm), MEM_USER);

    if (pfn == PFN_NONE)
        return -ENOMEM;
    ring->entries = pfn_to_va(vm->host, pfn);
    ring->entry_count = vm->dirty_ring_bytes / (u32)sizeof(*ring->entries);
    ring->soft_limit = ring->entry_count - reserved_entries(vm->host);
    for (u32 i = 0; i < ring->entry_count; i++)
        ring->entries[i] = (struct hv_dirty_gfn){0};
    return 0;
}

void dirty_ring_free(struct vm *vm, struct dirty_ring *ring)
{
    if (ring->entries == NULL)
        return;
    pages_free(vm->host, va_to_hpa(vm->host, ring->entries).v >> PAGE_SHIFT, ring_order(vm), MEM_USER);
    ring->entries = NULL;
}

static u32 used_entries(const struct dirty_ring *ring)
{
    return READ_ONCE(ring->dirty_index) - READ_ONCE(ring->reset_index);
}

bool dirty_ring_soft_full(const struct dirty_ring *ring)
{
    return used_entries(ring) >= ring->soft_limit;
}

void dirty_ring_push(struct vcpu *vcpu, u32 slot, u64 offset)
{
    struct dirty_ring *ring = &vcpu->dirty_ring;
    struct hv_dirty_gfn *e = &ring->entries[ring->dirty_index & (ring->entry_count - 1)];

    // The reserve holds whatever comes between the soft limit and the exit that it asks for.
    HV_ASSERT(used_entries(ring) < ring->entry_count);
    e->slot = slot;
    e->offset = offset;
    // Whoever sees the flag sees the page.
    store_release(&e->flags, HV_DIRTY_GFN_F_DIRTY);
    hw_trace(TP_KVM_DIRTY_RING_PUSH, slot, offset, ring->dirty_index, 0, 0, 0);
    WRITE_ONCE(ring->dirty_index, ring->dirty_index + 1);
    if (unlikely(dirty_ring_soft_full(ring)))
        make_request(REQ_DIRTY_RING_FULL, vcpu);
}

bool dirty_ring_must_exit(struct vcpu *vcpu)
{
    if (!dirty_ring_soft_full(&vcpu->dirty_ring))
        return false;
    make_request(REQ_DIRTY_RING_FULL, vcpu);
    hw_trace(TP_KVM_DIRTY_RING_EXIT, vcpu->index, 0, 0, 0, 0, 0);
    hw_trace_count("dirty_ring_full_exits", 1);
    vcpu->run->exit_reason = HV_EXIT_DIRTY_RING_FULL;
    return true;
}

int dirty_rings_enable(struct vm *vm, u64 bytes)
{
    const u64 entry = sizeof(struct hv_dirty_gfn);
    int result = 0;

    if (bytes == 0 || (bytes & (bytes - 1)) != 0 || bytes < PAGE_SIZE ||
        bytes < reserved_entries(vm->host) * entry)
        return -EINVAL;
    if (bytes > HV_DIRTY_RING_ENTRIES_MAX * entry)
        return -E2BIG;
    mutex_lock(&vm->lock); // Against the first vCPU.
    if (vm->dirty_ring_bytes != 0 || vm->created_vcpus != 0)
        result = -EINVAL;
    else
        WRITE_ONCE(vm->dirty_ring_bytes, (u32)bytes);
    mutex_unlock(&vm->lock);
    return result;
}

// --- Taking back.

// Pages of one slot within 64 of each other, whose protection is one pass.
struct batch {
    u32 slot;
    u64 offset;
    u64 mask; // Bit 0 is `offset`; 0: nothing collected.
};

static void protect_batch(struct vm *vm, struct batch *b)
{
    u32 as_id = b->slot >> 16, id = b->slot & 0xffff;

    // User space may have written anything into an entry, and the slot may be gone.
    if (b->mask != 0 && as_id < HV_ADDRESS_SPACES && id < HV_USER_MEMSLOTS) {
        const struct memslot *slot = id_to_memslot(vm->memslots[as_id], id);

        if (slot != NULL && b->offset < slot->npages && b->offset + fls64(b->mask) < slot->npages) {
            write_lock(&vm->mmu_lock);
            arch_dirty_log_protect(vm, slot, b->offset, b->mask);
            write_unlock(&vm->mmu_lock);
        }
    }
    b->mask = 0;
}

// Neighbours join the batch, forwards or backwards.
static bool join_batch(struct batch *b, u32 slot, u64 offset)
{
    if (b->mask == 0 || b->slot != slot)
        return false;
    u64 ahead = offset - b->offset, behind = b->offset - offset;

    if (ahead < 64) {
        b->mask |= 1ull << ahead;
        return true;
    }
    if (behind < 64 && b->mask << behind >> behind == b->mask) {
        b->mask = b->mask << behind | 1;
        b->offset = offset;
        return true;
    }
    return false;
}

static u64 reset_ring(struct vm *vm, struct vcpu *vcpu)
{
    struct dirty_ring *ring = &vcpu->dirty_ring;
    struct batch batch = {0};
    u64 count = 0;

    for (;;) {
        struct hv_dirty_gfn *e = &ring->entries[ring->reset_index & (ring->entry_count - 1)];

        // Acquire: the entry was read before it is given back.
        if ((load_acquire(&e->flags) & HV_DIRTY_GFN_F_RESET) == 0)
            break;
        u32 slot = READ_ONCE(e->slot);
        u64 offset = READ_ONCE(e->offset);

        store_release(&e->flags, 0);
        WRITE_ONCE(ring->reset_index, ring->reset_index + 1);
        count++;
        if (join_batch(&batch, slot, offset))
            continue;
        protect_batch(vm, &batch);
        batch = (struct batch){slot, offset, 1};
    }
    protect_batch(vm, &batch);
    hw_trace(TP_KVM_DIRTY_RING_RESET, vcpu->index, READ_ONCE(ring->dirty_index), ring->reset_index, 0, 0, 0);
    return count;
}

s64 dirty_rings_reset(struct vm *vm)
{
    struct vcpu *vcpu;
    u64 count = 0;

    if (READ_ONCE(vm->dirty_ring_bytes) == 0)
        return -EINVAL;
    mutex_lock(&vm->slots_lock);
    tlb_change_begin(vm);
    vm_for_each_vcpu(i, vcpu, vm) count += reset_ring(vm, vcpu);
    mutex_unlock(&vm->slots_lock);
    // Before user space copies a page that it has collected, no vCPU writes to it unnoticed.
    if (count != 0 && !tlb_flush_left_out(vm, MMU_SKIP_FLUSH_RESET_RINGS))
        flush_remote_tlbs(vm);
    tlb_change_end(vm);
    return (s64)count;
}
