// SPDX-License-Identifier: Apache-2.0
#include "hv/vmm/balloon.h"

#include "hv/hw/trace.h"
#include "hv/knobs.h"
#include "hv/lib/spans.h"
#include "hv/vmm/migration.h"
#include "hv/vmm/vmm.h"

#define VMM_EBUSY 16
#define VMM_EINVAL 22
#define VMM_ENOSPC 28

// Split virtqueue (Virtio 1.2, 2.7.5 to 2.7.8).
struct virtq_desc {
    u64 addr;
    u32 len;
    u16 flags, next;
};
struct virtq_used {
    u16 flags, idx;
    struct {
        u32 id, len;
    } ring[];
};
#define VIRTQ_DESC_F_NEXT 1u
#define VIRTQ_USED_ALIGN 4096u

static bool knob_is_on(enum knob k)
{
    return hv_syscall(HV_SYS_KNOB, k, 0, 0, 0) != 0;
}

static u32 offered(void)
{
    return (knob_is_on(KNOB_VMM_BALLOON_REPORTING) ? BALLOON_F_REPORTING : 0) |
           (knob_is_on(KNOB_VMM_BALLOON_POISON) ? BALLOON_F_PAGE_POISON : 0);
}

// The slot that holds all of the range, which does not wrap. NULL: there is none.
static struct vmm_slot *slot_of(struct vmm_vm *vm, u64 gpa, u64 bytes)
{
    for (u32 i = 0; i < VMM_SLOTS_MAX; i++) {
        struct vmm_slot *s = &vm->slots[i];

        if (s->used && gpa - s->gpa < s->bytes && bytes <= s->bytes - (gpa - s->gpa))
            return s;
    }
    return NULL;
}

// A pointer to guest memory that does not cross a 4 KiB page; NULL where the guest has none.
static void *guest_memory(struct vmm_vm *vm, u64 gpa, u64 bytes)
{
    const struct vmm_slot *s = slot_of(vm, gpa, bytes);
    s64 p = s ? hv_syscall(HV_SYS_TOUCH, s->address + (gpa - s->gpa), 1, 0, 0) : -VMM_EINVAL;

    return p < 0 ? NULL : (void *)p;
}

// After the change: a round of logging in between would send the range as it was.
static void mark_dirty(struct vmm_vm *vm, u64 gpa, u64 bytes)
{
    const struct vmm_slot *s = slot_of(vm, gpa, bytes);

    if (s)
        vmm_dirty_mark(vm, s->slot, gpa - s->gpa, bytes);
}

// --- The queue.

static u64 queue_gpa(const struct vmm_balloon *b)
{
    return (u64)b->queue_pfn << 12;
}
static u64 avail_gpa(const struct vmm_balloon *b)
{
    return queue_gpa(b) + b->queue_num * sizeof(struct virtq_desc);
}
static u64 used_gpa(const struct vmm_balloon *b)
{
    u64 end = avail_gpa(b) + (3 + b->queue_num) * sizeof(u16);

    return (end + VIRTQ_USED_ALIGN - 1) & ~(u64)(VIRTQ_USED_ALIGN - 1);
}

static bool queue_is_memory(struct vmm_vm *vm, const struct vmm_balloon *b)
{
    return slot_of(vm, queue_gpa(b), used_gpa(b) + VIRTQ_USED_ALIGN - queue_gpa(b)) != NULL;
}

static s32 start(struct vmm_vm *vm, struct vmm_balloon *b)
{
    if (b->ready)
        return -VMM_EBUSY;
    if (!(b->features & BALLOON_F_REPORTING))
        return -VMM_EINVAL;
    if (b->queue_num < BALLOON_CAPACITY)
        return -VMM_ENOSPC;
    if (!queue_is_memory(vm, b))
        return -VMM_EINVAL;
    b->last_avail = 0;
    b->ready = 1;
    return 0;
}

// Gives one range back. Zap, flush and release, in that order, are the core's (hostmm_discard). False: the
// guest named what it cannot give.
static bool discard(struct vmm_vm *vm, u64 gpa, u64 bytes)
{
    const struct vmm_slot *s = slot_of(vm, gpa, bytes);

    u64 advice = hv_syscall(HV_SYS_KNOB, KNOB_VMM_BALLOON_DISCARD, 0, 0, 0) == VMM_BALLOON_DISCARD_LAZYFREE
                     ? HV_MADV_FREE
                     : HV_MADV_DONTNEED;

    if (!s || hv_syscall(HV_SYS_MADVISE_FREE, s->address + (gpa - s->gpa), bytes, advice, 0) < 0)
        return false;
    mark_dirty(vm, gpa, bytes);
    return true;
}

struct report {
    u64 ranges, ignored, bytes;
    u64 inhibited; // Of the ignored ones.
};

// A chain of ranges; a guest's loop ends with the queue's size.
static void take_chain(struct vmm_vm *vm, struct vmm_balloon *b, u16 head, struct report *r)
{
    u32 index = head;

    for (u32 n = 0; n < b->queue_num; n++) {
        const struct virtq_desc *d =
            index < b->queue_num ? guest_memory(vm, queue_gpa(b) + index * sizeof(*d), sizeof(*d)) : NULL;

        if (!d) {
            r->ignored++;
            return;
        }
        struct virtq_desc copy = *d; // The guest may change it meanwhile.

        r->ranges++;
        bool inhibited = migration_is_missing_pages(vm);

        r->inhibited += inhibited;
        // Memory that the guest has filled with its pattern must keep it.
        if (inhibited || b->poison != 0 || !discard(vm, copy.addr, copy.len))
            r->ignored++;
        else
            r->bytes += copy.len;
        if (!(copy.flags & VIRTQ_DESC_F_NEXT))
            return;
        index = copy.next;
    }
}

static bool next_chain(struct vmm_vm *vm, struct vmm_balloon *b, u16 *head)
{
    const u16 *idx = guest_memory(vm, avail_gpa(b) + 2, 2);

    if (!idx || __atomic_load_n(idx, __ATOMIC_ACQUIRE) == b->last_avail)
        return false;
    const u16 *entry = guest_memory(vm, avail_gpa(b) + 4 + 2ull * (b->last_avail & (b->queue_num - 1)), 2);

    *head = entry ? *entry : 0;
    return entry != NULL;
}

static void complete(struct vmm_vm *vm, struct vmm_balloon *b, u16 head)
{
    u64 at = used_gpa(b) + sizeof(struct virtq_used) + 8ull * (b->last_avail & (b->queue_num - 1));
    u32 *element = guest_memory(vm, at, 8);
    u16 *idx = guest_memory(vm, used_gpa(b) + 2, 2);

    b->last_avail++;
    if (!element || !idx)
        return;
    element[0] = head;
    element[1] = 0; // Nothing is written to what the descriptors name.
    __atomic_store_n(idx, b->last_avail, __ATOMIC_RELEASE);
    mark_dirty(vm, at, 8);
    mark_dirty(vm, used_gpa(b), 4);
}

static void notify(struct vmm_vm *vm, struct vmm_balloon *b)
{
    u16 head;

    // At most a queue's worth: one that the guest fills on and on does not keep us.
    for (u32 n = 0; b->ready && n < b->queue_num && next_chain(vm, b, &head); n++) {
        struct report r = {0};

        hw_trace_span_begin(SPAN_BALLOON_REPORT);
        take_chain(vm, b, head, &r);
        complete(vm, b, head);
        hw_trace_span_end(SPAN_BALLOON_REPORT);
        hw_trace(TP_BALLOON_REPORT, vm->index, r.ranges, r.ignored, r.bytes,
                 (u64)hv_syscall(HV_SYS_RESIDENT, 0, 0, 0, 0), 0);
        hw_trace_count("balloon_ranges_reported", r.ranges);
        hw_trace_count("balloon_ranges_ignored", r.ignored);
        hw_trace_count("balloon_ranges_inhibited", r.inhibited);
    }
}

// --- Registers.

static u32 read_register(const struct vmm_balloon *b, u32 reg)
{
    switch ((enum balloon_register)reg) {
    case BALLOON_DEVICE_FEATURES:
        return offered();
    case BALLOON_QUEUE_NUM:
        return b->queue_num ? b->queue_num : BALLOON_QUEUE_MAX;
    case BALLOON_QUEUE_PFN:
        return b->queue_pfn;
    case BALLOON_QUEUE_READY:
        return b->error ? (u32)b->error : b->ready;
    case BALLOON_POISON_VAL:
        return b->poison;
    default:
        return 0;
    }
}

static void write_register(struct vmm_vm *vm, struct vmm_balloon *b, u32 reg, u32 value)
{
    switch ((enum balloon_register)reg) {
    case BALLOON_DRIVER_FEATURES:
        b->features = value & offered();
        break;
    case BALLOON_QUEUE_NUM: // As it was unless it is a size that a queue can have; not under a reporter.
        if (!b->ready && value != 0 && value <= BALLOON_QUEUE_MAX && (value & (value - 1)) == 0)
            b->queue_num = value;
        break;
    case BALLOON_QUEUE_PFN:
        b->queue_pfn = b->ready ? b->queue_pfn : value;
        break;
    case BALLOON_QUEUE_READY:
        b->error = value ? start(vm, b) : 0;
        b->ready = value ? b->ready : 0;
        break;
    case BALLOON_QUEUE_NOTIFY:
        notify(vm, b);
        break;
    case BALLOON_POISON_VAL:
        b->poison = (b->features & BALLOON_F_PAGE_POISON) ? value : 0;
        break;
    default:
        break;
    }
}

void vmm_balloon_save(struct vmm_vm *vm, struct vmm_balloon *out)
{
    vmm_lock(&vm->balloon_lock);
    *out = vm->balloon;
    vmm_unlock(&vm->balloon_lock);
}

s64 vmm_balloon_load(struct vmm_vm *vm, const struct vmm_balloon *in)
{
    bool size_ok = in->queue_num <= BALLOON_QUEUE_MAX && (in->queue_num & (in->queue_num - 1)) == 0 &&
                   (!in->ready || in->queue_num >= BALLOON_CAPACITY);

    if ((in->features & ~offered()) || !size_ok || (in->ready && !queue_is_memory(vm, in)))
        return -VMM_EINVAL;
    vmm_lock(&vm->balloon_lock);
    vm->balloon = *in;
    vmm_unlock(&vm->balloon_lock);
    return 0;
}

bool vmm_balloon_port(struct vmm_vm *vm, u16 port, bool write, u8 *data, u32 size)
{
    u32 reg = (u32)port - BALLOON_PORT, value = 0;
    struct vmm_balloon *b = &vm->balloon;

    if (reg >= BALLOON_PORTS || size != sizeof value)
        return false;
    vmm_lock(&vm->balloon_lock);
    if (write) {
        for (u32 i = 0; i < size; i++)
            value |= (u32)data[i] << (8 * i);
        write_register(vm, b, reg, value);
    } else {
        value = read_register(b, reg);
        for (u32 i = 0; i < size; i++)
            data[i] = (u8)(value >> (8 * i));
    }
    vmm_unlock(&vm->balloon_lock);
    return true;
}
