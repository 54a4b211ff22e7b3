// SPDX-License-Identifier: Apache-2.0
// Memory slots: the rules, and the two-phase update. Readers inside vm->srcu see one version or another,
// never half.
#include "hv/core/arch.h"
#include "hv/core/dirty_log.h"
#include "hv/core/vm.h"
#include "hv/hw/trace.h"
#include "hv/lib/assert.h"
#include "hv/lib/errno.h"
#include "hv/lib/spans.h"
#include "hv/lib/string.h"

#define VALID_FLAGS (HV_MEM_LOG_DIRTY_PAGES | HV_MEM_READONLY)
#define PAGES_MAX                                                                                            \
    ((1ull << 31) - 1) // Bits of a dirty bitmap are counted in ints, as in the kernel's interface.

struct memslots *vm_memslots(struct vm *vm, unsigned as_id)
{
    return srcu_dereference(vm->memslots[as_id]);
}

struct memslot *id_to_memslot(struct memslots *slots, u32 id)
{
    u16 index = slots->id_to_index[id];
    return index == MEMSLOT_NO_INDEX ? NULL : &slots->slots[index];
}

// Slots stand by falling base_gfn: the first whose base is not above gfn is the only candidate.
static u32 search(const struct memslots *slots, gfn_t gfn)
{
    u32 low = 0, high = slots->used;
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (gfn >= slots->slots[middle].base_gfn)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct memslot *gfn_to_memslot(struct memslots *slots, gfn_t gfn)
{
    u32 hint = READ_ONCE(slots->last_used);
    if (likely(hint < slots->used && memslot_contains(&slots->slots[hint], gfn)))
        return &slots->slots[hint];
    u32 i = search(slots, gfn);
    if (i >= slots->used || !memslot_contains(&slots->slots[i], gfn))
        return NULL;
    WRITE_ONCE(slots->last_used, i);
    return &slots->slots[i];
}

struct memslot *vcpu_gfn_to_memslot(struct vcpu *vcpu, gfn_t gfn)
{
    struct memslots *slots = vm_memslots(vcpu->vm, arch_vcpu_address_space(vcpu));
    // The hint belongs to one version: generations of different address spaces differ.
    u64 generation = READ_ONCE(slots->generation);
    if (unlikely(vcpu->slot_cache_generation != generation)) {
        vcpu->slot_cache_generation = generation;
        vcpu->slot_cache_index = 0;
    }
    u64 hint = vcpu->slot_cache_index;
    if (likely(hint < slots->used && memslot_contains(&slots->slots[hint], gfn)))
        return &slots->slots[hint];
    u32 i = search(slots, gfn);
    if (i >= slots->used || !memslot_contains(&slots->slots[i], gfn))
        return NULL;
    vcpu->slot_cache_index = i;
    return &slots->slots[i];
}

int memslots_init(struct vm *vm)
{
    for (unsigned as = 0; as < HV_ADDRESS_SPACES; as++) {
        struct memslots *slots = kmalloc(vm->host, sizeof(*slots));
        if (slots == NULL)
            return -ENOMEM;                                 // memslots_destroy() frees the other.
        memset(slots, 0, offsetof(struct memslots, slots)); // Slots beyond `used` are never looked at.
        memset(slots->id_to_index, 0xff, sizeof(slots->id_to_index));
        // Steps of 2, so that address spaces never share a generation.
        slots->generation = as;
        vm->memslots[as] = slots;
    }
    return 0;
}

void memslots_destroy(struct vm *vm)
{
    for (unsigned as = 0; as < HV_ADDRESS_SPACES; as++) {
        struct memslots *slots = vm->memslots[as];
        if (slots == NULL)
            continue;
        for (u32 i = 0; i < slots->used; i++) {
            arch_free_memslot(vm, &slots->slots[i], NULL);
            dirty_bitmap_free(vm, &slots->slots[i]);
        }
        kfree(vm->host, slots, sizeof(*slots));
        vm->memslots[as] = NULL;
    }
}

// --- One version from another. ---

// From the first look at the version in force until a copy of it is published nobody may put anything into
// its slots: it would be missing in the copy.
static bool copies_are_ordered(const struct vm *vm)
{
    return knob(&vm->host->knobs, KNOB_MMU_RMAPS) != MMU_RMAPS_LAZY_NOCOPYLOCK;
}
static void lock_copies(struct vm *vm)
{
    if (copies_are_ordered(vm))
        mutex_lock(&vm->slots_arch_lock);
}
static void unlock_copies(struct vm *vm)
{
    if (copies_are_ordered(vm))
        mutex_unlock(&vm->slots_arch_lock);
}

// The version in force, only as many slots as are used.
static void copy_version(struct memslots *copy, const struct memslots *old)
{
    memcpy(copy, old, offsetof(struct memslots, slots) + sizeof(old->slots[0]) * old->used);
}

static void reindex(struct memslots *slots, u32 from)
{
    for (u32 i = from; i < slots->used; i++)
        slots->id_to_index[slots->slots[i].id] = (u16)i;
}

static void remove_slot(struct memslots *slots, u32 id)
{
    u32 index = slots->id_to_index[id];
    slots->used--;
    memmove(&slots->slots[index], &slots->slots[index + 1], sizeof(slots->slots[0]) * (slots->used - index));
    slots->id_to_index[id] = MEMSLOT_NO_INDEX;
    reindex(slots, index);
}

static void insert_slot(struct memslots *slots, const struct memslot *slot)
{
    u32 index = search(slots, slot->base_gfn);
    memmove(&slots->slots[index + 1], &slots->slots[index], sizeof(slots->slots[0]) * (slots->used - index));
    slots->slots[index] = *slot;
    slots->used++;
    reindex(slots, index);
}

static void apply_change(struct memslots *slots, const struct memslot *slot, enum memslot_change change)
{
    if (change != MEMSLOT_CREATE)
        remove_slot(slots, slot->id);
    if (change != MEMSLOT_DELETE)
        insert_slot(slots, slot);
    slots->last_used = 0;
}

// Publishes `slots` and waits until nobody reads the version before, which is returned. While waiting the
// generation says so: whatever readers cache meanwhile is not trusted afterwards. Copies are locked before
// and not after: readers that are waited for may want that lock.
static struct memslots *install_version(struct vm *vm, unsigned as_id, struct memslots *slots)
{
    struct memslots *old = vm->memslots[as_id];
    u64 generation = old->generation & ~MEMSLOT_GEN_UPDATE_IN_PROGRESS;
    slots->generation = generation | MEMSLOT_GEN_UPDATE_IN_PROGRESS;
    srcu_assign_pointer(vm->memslots[as_id], slots);
    unlock_copies(vm);
    synchronize_srcu(&vm->srcu);
    generation += HV_ADDRESS_SPACES;
    arch_memslots_updated(vm, generation);
    WRITE_ONCE(slots->generation, generation);
    return old;
}

// --- The update. ---

static void publish_final(struct vm *vm, const struct memslot *old, struct memslot *new,
                          struct memslots *final, enum memslot_change change)
{
    struct memslots *before = install_version(vm, new->as_id, final);
    arch_commit_memory_region(vm, old, new, change);
    if (change != MEMSLOT_CREATE) {
        struct memslot gone = *old;
        arch_free_memslot(vm, &gone, change == MEMSLOT_DELETE ? NULL : new);
        if (gone.dirty_bitmap != new->dirty_bitmap)
            dirty_bitmap_free(vm, &gone);
    }
    kfree(vm->host, before, sizeof(*before));
}

// Delete or move, first phase: readers that come from now on find the slot invalid, those inside have left,
// and then its translations go. Nobody can install another one.
static void retire_slot(struct vm *vm, const struct memslot *old, struct memslots *invalid)
{
    copy_version(invalid, vm->memslots[old->as_id]);
    struct memslot *slot = id_to_memslot(invalid, old->id);
    slot->flags |= MEMSLOT_INVALID;
    struct memslots *before = install_version(vm, old->as_id, invalid);
    kfree(vm->host, before, sizeof(*before));
    arch_flush_shadow_memslot(vm, slot);
}

// The second phase begins: what was put into the slot since the first one's copy is the slot's, and a slot
// that moves needs the like. 0 or -ENOMEM.
static int look_again(struct vm *vm, struct memslot *old, struct memslot *new, enum memslot_change change)
{
    const struct memslot *retired = id_to_memslot(vm->memslots[old->as_id], old->id);

    memcpy(old->arch_rmap, retired->arch_rmap, sizeof(old->arch_rmap));
    memcpy(old->arch_lpage, retired->arch_lpage, sizeof(old->arch_lpage));
    return change == MEMSLOT_MOVE ? arch_prepare_memory_region(vm, old, new, change) : 0;
}

// Takes the first phase back.
static void reinstate_slot(struct vm *vm, const struct memslot *old, struct memslots *slots)
{
    copy_version(slots, vm->memslots[old->as_id]);
    id_to_memslot(slots, old->id)->flags &= ~MEMSLOT_INVALID;
    struct memslots *before = install_version(vm, old->as_id, slots);
    kfree(vm->host, before, sizeof(*before));
}

// Copies are locked; not any more afterwards.
static int update_slot(struct vm *vm, struct memslot *old, struct memslot *new, enum memslot_change change)
{
    bool retire = change == MEMSLOT_DELETE || change == MEMSLOT_MOVE;
    bool two_phase =
        retire && knob(&vm->host->knobs, KNOB_MEMSLOT_DELETE_MODE) == MEMSLOT_DELETE_MODE_TWO_PHASE;
    // All memory first: from the first publication on there is hardly a way back.
    struct memslots *final = kmalloc(vm->host, sizeof(*final));
    struct memslots *invalid = two_phase ? kmalloc(vm->host, sizeof(*invalid)) : NULL;
    int result = final == NULL || (two_phase && invalid == NULL) ? -ENOMEM : 0;
    if (result == 0)
        result = dirty_bitmap_prepare(vm, old, new);
    if (result == 0 && (result = arch_prepare_memory_region(vm, old, new, change)) != 0 &&
        new->dirty_bitmap != old->dirty_bitmap)
        dirty_bitmap_free(vm, new);
    if (result != 0) {
        unlock_copies(vm);
        kfree(vm->host, final, sizeof(*final));
        kfree(vm->host, invalid, sizeof(*invalid));
        return result;
    }
    if (two_phase) {
        retire_slot(vm, old, invalid);
        lock_copies(vm);
        result = look_again(vm, old, new, change);
        if (result != 0) {
            reinstate_slot(vm, old, final);
            if (new->dirty_bitmap != old->dirty_bitmap)
                dirty_bitmap_free(vm, new);
            return result;
        }
    } else if (retire) {
        // The historical order: a reader may still install what is zapped here.
        arch_flush_shadow_memslot(vm, old);
    }
    copy_version(final, vm->memslots[new->as_id]);
    apply_change(final, new, change);
    publish_final(vm, old, new, final, change);
    return 0;
}

static int check_region(const struct hv_user_memory_region *r)
{
    u32 as_id = r->slot >> 16, id = r->slot & 0xffff;
    if ((r->flags & ~VALID_FLAGS) != 0)
        return -EINVAL;
    if (((r->memory_size | r->guest_phys_addr | r->userspace_addr) & ~PAGE_MASK) != 0)
        return -EINVAL;
    // Slots of the kernel's own need no user address.
    if (id < HV_USER_MEMSLOTS &&
        (r->userspace_addr >> 47 != 0 || r->userspace_addr + r->memory_size < r->userspace_addr))
        return -EINVAL;
    if (as_id >= HV_ADDRESS_SPACES || id >= HV_MEMSLOTS)
        return -EINVAL;
    if (r->guest_phys_addr + r->memory_size < r->guest_phys_addr)
        return -EINVAL;
    if ((r->memory_size >> PAGE_SHIFT) > PAGES_MAX)
        return -EINVAL;
    return 0;
}

// What the request means given the slot as it is: a change, 1 for nothing to do, or -EINVAL.
static int classify(const struct memslot *old, const struct memslot *new, enum memslot_change *change)
{
    if (new->npages == 0) {
        *change = MEMSLOT_DELETE;
        return old->npages != 0 ? 0 : -EINVAL;
    }
    if (old->npages == 0) {
        *change = MEMSLOT_CREATE;
        return 0;
    }
    if (new->hva != old->hva || new->npages != old->npages ||
        ((new->flags ^ old->flags) & HV_MEM_READONLY) != 0)
        return -EINVAL;
    if (new->base_gfn != old->base_gfn) {
        *change = MEMSLOT_MOVE;
        return 0;
    }
    *change = MEMSLOT_FLAGS_ONLY;
    return new->flags == old->flags ? 1 : 0;
}

static bool overlaps(const struct memslots *slots, const struct memslot *new)
{
    for (u32 i = 0; i < slots->used; i++) {
        const struct memslot *s = &slots->slots[i];
        if (s->id != new->id &&new->base_gfn < s->base_gfn + s->npages &&
            s->base_gfn < new->base_gfn + new->npages)
            return true;
    }
    return false;
}

// The slot before and after. 0; 1: nothing to do; -EINVAL, -EEXIST.
static int describe_change(struct vm *vm, const struct hv_user_memory_region *r, struct memslot *old,
                           struct memslot *new, enum memslot_change *change)
{
    u32 as_id = r->slot >> 16, id = r->slot & 0xffff;
    struct memslots *slots = vm->memslots[as_id];
    const struct memslot *existing = id_to_memslot(slots, id);
    *old = existing != NULL ? *existing : (struct memslot){.id = (u16)id, .as_id = (u16)as_id};
    *new = *old;
    new->base_gfn = r->guest_phys_addr >> PAGE_SHIFT;
    new->npages = r->memory_size >> PAGE_SHIFT;
    new->hva = r->userspace_addr;
    new->flags = r->flags;
    int result = classify(old, new, change);
    if (result != 0)
        return result;
    if (*change == MEMSLOT_DELETE) {
        new->base_gfn = old->base_gfn;
        new->hva = old->hva;
    } else if (new->base_gfn + new->npages > arch_max_gfn(vm)) {
        return -EINVAL;
    }
    if (*change == MEMSLOT_MOVE) {
        // Indexed by gfn: made anew for the new place. The dirty bitmap counts from the slot's first page and
        // stays.
        memset(new->arch_rmap, 0, sizeof(new->arch_rmap));
        memset(new->arch_lpage, 0, sizeof(new->arch_lpage));
    }
    bool placed = *change == MEMSLOT_CREATE || *change == MEMSLOT_MOVE;
    return placed && overlaps(slots, new) ? -EEXIST : 0;
}

int set_memory_region_locked(struct vm *vm, const struct hv_user_memory_region *r)
{
    HV_ASSERT(mutex_is_held_by_me(&vm->slots_lock));
    int result = check_region(r);
    if (result != 0)
        return result;
    struct memslot old, new;
    enum memslot_change change;
    lock_copies(vm);
    result = describe_change(vm, r, &old, &new, &change);
    if (result != 0) {
        unlock_copies(vm);
        return result < 0 ? result : 0;
    }
    hw_trace_span_begin(SPAN_MEMSLOT_UPDATE);
    result = update_slot(vm, &old, &new, change);
    hw_trace_span_end(SPAN_MEMSLOT_UPDATE);
    hw_trace(TP_MEMSLOT_OP, change, r->slot, (u64)(s64)result, 0, 0, 0);
    return result;
}

int set_memory_region(struct vm *vm, const struct hv_user_memory_region *region)
{
    if ((region->slot & 0xffff) >= HV_USER_MEMSLOTS)
        return -EINVAL;
    mutex_lock(&vm->slots_lock);
    int result = set_memory_region_locked(vm, region);
    mutex_unlock(&vm->slots_lock);
    return result;
}
