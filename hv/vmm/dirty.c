// SPDX-License-Identifier: Apache-2.0
// The VMM's side of dirty logging: asks for it, keeps per slot what was logged, counts.
#include "hv/hw/trace.h"
#include "hv/knobs.h"
#include "hv/lib/spans.h"
#include "hv/vmm/vmm.h"

#define VMM_EINVAL 22
// Values of knob vmm.dirty_ring_size: 4 KiB << value.
#define RING_BYTES_MIN 4096u
#define RING_SIZE_MAX 8u

static u64 knob_value(enum knob k)
{
    return (u64)hv_syscall(HV_SYS_KNOB, k, 0, 0, 0);
}
static bool method_is(enum knob_value method)
{
    return knob_value(KNOB_VMM_DIRTY_LOG) == method;
}
// Logs that begin with all bits set can be asked for by either knob.
static bool is_all_set(void)
{
    return method_is(VMM_DIRTY_LOG_MANUAL_ALL_SET) ||
           (method_is(VMM_DIRTY_LOG_BITMAP) &&
            knob_value(KNOB_MMU_DIRTY_START) == MMU_DIRTY_START_INITIALLY_SET);
}
static bool is_manual(void)
{
    return method_is(VMM_DIRTY_LOG_MANUAL) || is_all_set();
}

static s64 enable(struct vmm_vm *vm, u32 cap, u64 argument)
{
    struct hv_enable_cap c = {.cap = cap, .args = {argument}};

    return hv_ioctl_ptr(vm->handle, HV_ENABLE_CAP, &c);
}

// From the size that was asked for on, until the core has room for its reserve.
static void setup_rings(struct vmm_vm *vm)
{
    s64 result = -VMM_EINVAL;

    for (u32 size = (u32)knob_value(KNOB_VMM_DIRTY_RING_SIZE); result == -VMM_EINVAL && size <= RING_SIZE_MAX;
         size++) {
        vm->ring_entries = (RING_BYTES_MIN << size) / (u32)sizeof(struct hv_dirty_gfn);
        result = enable(vm, HV_CAP_DIRTY_LOG_RING, RING_BYTES_MIN << size);
    }
    vmm_require(result, "dirty rings were refused");
}

void vmm_dirty_setup(struct vmm_vm *vm)
{
    if (method_is(VMM_DIRTY_LOG_RING))
        setup_rings(vm);
    if (method_is(VMM_DIRTY_LOG_MANUAL))
        vmm_require(enable(vm, HV_CAP_MANUAL_DIRTY_LOG_PROTECT2, HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE),
                    "manual dirty log protection was refused");
    if (is_all_set())
        vmm_require(enable(vm, HV_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                           HV_DIRTY_LOG_MANUAL_PROTECT_ENABLE | HV_DIRTY_LOG_INITIALLY_SET),
                    "manual dirty log protection was refused");
}

static u64 words_of(const struct vmm_slot *s)
{
    return (s->bytes / 4096 + 63) / 64;
}

static s64 set_flags(struct vmm_vm *vm, const struct vmm_slot *s, u32 flags)
{
    struct hv_user_memory_region region = {.slot = s->slot,
                                           .flags = s->flags | flags,
                                           .guest_phys_addr = s->gpa,
                                           .memory_size = s->bytes,
                                           .userspace_addr = s->address};

    return hv_ioctl_ptr(vm->handle, HV_SET_USER_MEMORY_REGION, &region);
}

s64 vmm_dirty_start(struct vmm_vm *vm, u32 slot)
{
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (!s)
        return -VMM_EINVAL;
    if (method_is(VMM_DIRTY_LOG_NONE))
        return 0;
    if (!s->dirty) {
        hw_trace_span_begin(SPAN_DIRTY_BITMAP);
        s64 bitmap = hv_mmap((words_of(s) * 8 + 4095) & ~4095ull, 12, HV_MAP_DIRECT);

        hw_trace_span_end(SPAN_DIRTY_BITMAP);
        if (bitmap < 0)
            return bitmap;
        s->dirty = (u64 *)bitmap;
    }
    hw_trace_span_begin(SPAN_DIRTY_START);
    s64 result = set_flags(vm, s, HV_MEM_LOG_DIRTY_PAGES);

    hw_trace_span_end(SPAN_DIRTY_START);
    return result;
}

s64 vmm_dirty_stop(struct vmm_vm *vm, u32 slot)
{
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (!s)
        return -VMM_EINVAL;
    hw_trace_span_begin(SPAN_DIRTY_STOP);
    s64 result = set_flags(vm, s, 0);

    hw_trace_span_end(SPAN_DIRTY_STOP);
    return result;
}

// --- Rings.

static void collect_ring(struct vmm_vcpu *vcpu)
{
    u32 mask = vcpu->vm->ring_entries - 1;

    for (;; vcpu->ring_index++) {
        struct hv_dirty_gfn *e = &vcpu->ring[vcpu->ring_index & mask];

        if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != HV_DIRTY_GFN_F_DIRTY)
            return;
        struct vmm_slot *s = vmm_find_slot(vcpu->vm, e->slot);

        if (s && s->dirty)
            s->dirty[e->offset / 64] |= 1ull << (e->offset % 64);
        __atomic_store_n(&e->flags, HV_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
}

s64 vmm_dirty_collect(struct vmm_vm *vm)
{
    vmm_lock(&vm->dirty_lock);
    for (u32 i = 0; i < vm->config->vcpu_count; i++)
        collect_ring(&vm->vcpus[i]);
    s64 result = hv_ioctl(vm->handle, HV_RESET_DIRTY_RINGS, 0);

    vmm_unlock(&vm->dirty_lock);
    return result;
}

// --- Rounds.

void vmm_dirty_forget(struct vmm_vm *vm, struct vmm_slot *s)
{
    // What a ring has shown is kept here alone.
    for (u64 i = 0; vm->vcpus[0].ring && i < words_of(s); i++)
        s->dirty[i] = 0;
}

static u64 count_pages(const struct vmm_slot *s)
{
    u64 pages = 0;

    for (u64 i = 0; i < words_of(s); i++)
        for (u64 word = s->dirty[i]; word; word &= word - 1)
            pages++;
    return pages;
}

void vmm_dirty_mark(struct vmm_vm *vm, u32 slot, u64 offset, u64 bytes)
{
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (!s || !s->dirty || bytes == 0)
        return;
    vmm_lock(&vm->dirty_lock);
    if (!s->own_dirty) {
        s64 bitmap = hv_mmap((words_of(s) * 8 + 4095) & ~4095ull, 12, HV_MAP_DIRECT);

        vmm_require(bitmap, "memory for what the VMM has written itself");
        s->own_dirty = (u64 *)bitmap;
    }
    for (u64 page = offset / 4096; page <= (offset + bytes - 1) / 4096; page++) {
        u64 *word = &s->own_dirty[page / 64], bit = 1ull << (page % 64);

        if (!(*word & bit))
            hw_trace_dirty_page(vm->config->number, ~0u, slot, s->gpa / 4096 + page, HW_DIRTY_VMM, false);
        *word |= bit;
    }
    vmm_unlock(&vm->dirty_lock);
}

// To what the core has shown.
static void add_own(struct vmm_vm *vm, const struct vmm_slot *s)
{
    if (!s->own_dirty)
        return;
    vmm_lock(&vm->dirty_lock);
    for (u64 i = 0; i < words_of(s); i++) {
        s->dirty[i] |= s->own_dirty[i];
        s->own_dirty[i] = 0;
    }
    vmm_unlock(&vm->dirty_lock);
}

static s64 fetch_from_core(struct vmm_vm *vm, struct vmm_slot *s)
{
    struct hv_dirty_log log = {.slot = s->slot, .bitmap = (u64)s->dirty};

    if (!vm->vcpus[0].ring)
        return hv_ioctl_ptr(vm->handle, HV_GET_DIRTY_LOG, &log);
    // The core empties processors' logs into rings only when they leave the guest.
    vmm_kick_all(vm);
    return vmm_dirty_collect(vm);
}

s64 vmm_dirty_fetch(struct vmm_vm *vm, struct vmm_slot *s)
{
    s64 result = fetch_from_core(vm, s);

    if (result >= 0)
        add_own(vm, s);
    return result;
}

s64 vmm_dirty_get(struct vmm_vm *vm, u32 slot)
{
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (method_is(VMM_DIRTY_LOG_NONE))
        return 0;
    if (!s || !s->dirty)
        return -VMM_EINVAL;
    hw_trace_span_begin(SPAN_DIRTY_GET);
    s64 result = vmm_dirty_fetch(vm, s);

    hw_trace_span_end(SPAN_DIRTY_GET);
    if (result < 0)
        return result;
    vmm_lock(&vm->dirty_lock);
    u64 pages = count_pages(s);

    vmm_dirty_forget(vm, s);
    vmm_unlock(&vm->dirty_lock);
    hw_trace_count("dirty_pages_collected", pages);
    return (s64)pages;
}

s64 vmm_dirty_clear(struct vmm_vm *vm, u32 slot, u64 offset, u64 bytes)
{
    struct vmm_slot *s = vmm_find_slot(vm, slot);

    if (!is_manual())
        return 0;
    if (!s || !s->dirty || offset % 4096 || offset > s->bytes || bytes > s->bytes - offset)
        return -VMM_EINVAL;
    // Ranges that are not whole words of the bitmap are the core's to refuse.
    struct hv_clear_dirty_log log = {.slot = slot,
                                     .num_pages = (u32)((bytes ? bytes : s->bytes - offset) / 4096),
                                     .first_page = offset / 4096,
                                     .bitmap = (u64)(s->dirty + offset / 4096 / 64)};

    hw_trace_span_begin(SPAN_DIRTY_CLEAR);
    s64 result = hv_ioctl_ptr(vm->handle, HV_CLEAR_DIRTY_LOG, &log);

    hw_trace_span_end(SPAN_DIRTY_CLEAR);
    return result;
}
